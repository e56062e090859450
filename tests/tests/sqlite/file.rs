//! What is in the file, and that it stays there.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use session_core::keyed::{Backend as _, Found, OnlyIf, Outcome, Stored, Write};
use session_core::{CookieChange, CookieSettings, ErrorKind, KeyedStorage, Storage as _};
use session_examples::sqlite::SqliteBackend;
use session_tests::logs::all_texts;

use crate::{count, create, look, new_file, open, replace, written};

async fn storage(path: &Path) -> KeyedStorage<SqliteBackend> {
    let cookie = CookieSettings::builder("sid").max_age(Duration::from_secs(3600));
    let backend = SqliteBackend::open(path).await.unwrap();
    KeyedStorage::new(backend).with_cookie(cookie.build().unwrap())
}

#[tokio::test]
async fn sessions_survive_a_reopening_of_the_file() {
    let path = new_file();
    let cookie = {
        let storage = storage(&path).await;
        let session = storage.load(&[]).await.unwrap();
        session.insert("user", "ada").unwrap();
        match storage.save(&session).await.unwrap() {
            CookieChange::Set { value, .. } => value,
            other => panic!("{other:?}"),
        }
    };
    let storage = storage(&path).await;
    let session = storage.load(&[&cookie]).await.unwrap();
    assert_eq!(session.get::<String>("user").unwrap().unwrap(), "ada");
}

#[tokio::test]
async fn the_file_holds_the_wire_format() {
    let path = new_file();
    let storage = storage(&path).await;
    let session = storage.load(&[]).await.unwrap();
    session.insert("user", "ada").unwrap();
    let CookieChange::Set { value, .. } = storage.save(&session).await.unwrap() else {
        panic!("no cookie")
    };
    let row = look(&path).query_row("SELECT key, value, expires FROM sessions", (), |row| {
        let (key, value, expires): (String, Vec<u8>, i64) = row.try_into()?;
        Ok((
            key,
            serde_json::from_slice::<Value>(&value).unwrap(),
            expires,
        ))
    });
    let (key, record, expires) = row.unwrap();
    assert_eq!(key, format!("sid_{value}"));
    assert_eq!(record["session"], serde_json::json!({"user": "ada"}));
    let created = record["created"].as_u64().unwrap();
    assert_eq!(record.as_object().unwrap().len(), 2);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    assert!(now.as_secs() - created < 60);
    let left = Duration::from_millis(u64::try_from(expires).unwrap())
        .checked_sub(now)
        .unwrap();
    // The lifetime, and the grace for requests that have loaded the session before its end.
    assert!((3840..3900).contains(&left.as_secs()), "{left:?}");
}

#[tokio::test]
async fn a_record_that_has_expired_is_missing_and_is_swept_in_bounded_pieces() {
    let path = new_file();
    let backend = open(&path).await;
    let hour = Some(Duration::from_secs(3600));
    for number in 0..100 {
        let key = format!("sid_of_a_session_{number}");
        let write = Write::record("v", hour);
        backend.write(&key, write, OnlyIf::Missing).await.unwrap();
    }
    let look = look(&path);
    look.execute("UPDATE sessions SET expires = 1", ()).unwrap();
    let (key, v) = ("sid_of_a_session_99", Stored::new("v"));
    assert_eq!(backend.read(key).await.unwrap(), Found::Missing);
    for write in [
        Write::record("x", None),
        Write::tombstone("{ }", Duration::from_secs(60)),
    ] {
        let outcome = backend.write(key, write, OnlyIf::Unchanged(&v)).await;
        assert_eq!(outcome.unwrap(), Outcome::Found(Found::Missing));
    }
    let expired = || count(&look, "expires = 1");
    assert_eq!(expired(), 100, "only a create sweeps");
    let mut left = 100;
    while left > 0 {
        // The first of them under a key that has expired and is not swept yet.
        let key = format!("sid_of_a_session_{}", 99 - left % 2);
        let write = Write::record("new", hour);
        let created = backend.write(&key, write, OnlyIf::Missing).await.unwrap();
        let expected = if left > 68 {
            written("new")
        } else {
            Outcome::Found(crate::record("new"))
        };
        assert_eq!(created, expected);
        let swept = left - expired();
        assert!((1..=17).contains(&swept), "{swept}");
        left -= swept;
    }
    assert_eq!(count(&look, "value = CAST('new' AS BLOB)"), 2);
    assert_eq!(count(&look, "true"), 2);
}

#[tokio::test]
async fn only_its_owner_reads_the_file() {
    let path = new_file();
    let backend = open(&path).await;
    create(&backend, "sid_of_a_session", "{}").await.unwrap();
    for suffix in ["", "-wal", "-shm"] {
        let name = format!("{}{suffix}", path.display());
        let mode = fs::metadata(&name).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

/// A backup may have been restored with another mode.
#[tokio::test]
async fn a_file_that_other_users_can_read_or_write_is_refused() {
    let path = new_file();
    let backend = open(&path).await;
    create(&backend, "sid_of_a_session", "{}").await.unwrap();
    drop(backend);
    let set_mode = |mode| fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    for mode in [0o644, 0o604, 0o640, 0o620, 0o602] {
        set_mode(mode);
        let error = SqliteBackend::open(&path).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Settings, "{mode:o}");
        assert!(error.to_string().ends_with("chmod 600"), "{error}");
    }
    set_mode(0o600);
    let backend = open(&path).await;
    let found = backend.read("sid_of_a_session").await.unwrap();
    assert_eq!(found, crate::record("{}"));
}

#[tokio::test]
async fn what_is_no_file_of_ours_is_refused() {
    let refused = async |path: PathBuf| SqliteBackend::open(path).await.unwrap_err();
    for no_file in ["", "/", "/nowhere/at/all.db"] {
        assert_eq!(refused(no_file.into()).await.kind(), ErrorKind::Unavailable);
    }
    let text = new_file();
    fs::write(&text, "Dear diary, today I wrote a backend. ".repeat(100)).unwrap();
    fs::set_permissions(&text, Permissions::from_mode(0o600)).unwrap();
    assert_eq!(refused(text.clone()).await.kind(), ErrorKind::Unavailable);
    assert!(
        fs::read_to_string(&text)
            .unwrap()
            .starts_with("Dear diary, ")
    );
    let later = new_file();
    open(&later).await;
    look(&later).pragma_update(None, "user_version", 2).unwrap();
    let error = refused(later).await;
    assert_eq!(error.kind(), ErrorKind::Settings);
    assert_eq!(
        error.to_string(),
        "the file's tables are of version 2, not 1"
    );
}

/// SQLite's message can hold what a row holds, here through a trigger.
#[tokio::test]
async fn an_error_holds_no_key_and_no_value() {
    let path = new_file();
    let backend = open(&path).await;
    let key = "sid_sekrit_identity";
    create(&backend, key, "sekrit").await.unwrap();
    let trigger = "CREATE TRIGGER refuse BEFORE UPDATE ON sessions
        BEGIN SELECT RAISE(ABORT, NEW.key || NEW.value); END";
    look(&path).execute_batch(trigger).unwrap();
    let replaced = replace(&backend, key, "sekrit", "sekrit 2").await;
    let error = replaced.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let printed = format!("{} {backend:?}", all_texts(&error));
    assert!(!printed.contains("sekrit"), "{printed}");
    assert!(printed.contains("constraint failed"), "{printed}");
}
