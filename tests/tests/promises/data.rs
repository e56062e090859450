//! A whole session as a struct: `data` and `set_data`.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use session_core::{ErrorKind, Session, Storage};

use crate::app::App;

#[derive(Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
struct Visit {
    user: Option<String>,
    theme: String,
    count: f64,
    #[serde(rename = "seen-at", skip_serializing_if = "Option::is_none")]
    seen_at: Option<f64>,
    tags: Value,
}

/// A session with bytes that nothing in Rust would write so.
async fn planted() -> (App, String) {
    let app = App::new();
    let cookie = app.client().await;
    app.plant(
        &cookie,
        b"{\"created\": 1700000000, \"session\": {\"theme\": \"d\\u0061rk\", \"count\":  7e0, \
          \"seen-at\": 1.50, \"tags\": {\"b\":1,  \"a\": [1,2]}, \"other\": 1.0e2}}",
    )
    .await;
    (app, cookie)
}

async fn text(app: &App, cookie: &str) -> String {
    String::from_utf8(app.stored(cookie).await.unwrap().to_vec()).unwrap()
}

#[tokio::test]
async fn set_data_writes_only_the_fields_that_changed() {
    let (app, cookie) = planted().await;
    let session = app.storage.load(&[&cookie]).await.unwrap();
    let mut visit: Visit = session.data().unwrap();
    assert_eq!(
        (&*visit.theme, visit.count, visit.seen_at),
        ("dark", 7.0, Some(1.5))
    );
    visit.user = Some("Ada".into());
    session.set_data(&visit).unwrap();
    app.storage.save(&session).await.unwrap();
    let text = text(&app, &cookie).await;
    for kept in [
        "\"theme\": \"d\\u0061rk\"",
        "\"count\": 7e0",
        "\"seen-at\": 1.50",
        "\"tags\": {\"b\":1,  \"a\": [1,2]}",
        "\"other\": 1.0e2",
        "\"user\": \"Ada\"",
    ] {
        assert!(text.contains(kept), "{kept} is not in {text}");
    }
}

#[tokio::test]
async fn set_data_of_what_data_returned_changes_nothing() {
    let (app, cookie) = planted().await;
    let session = app.storage.load(&[&cookie]).await.unwrap();
    session.set_data(&session.data::<Visit>().unwrap()).unwrap();
    assert!(!session.is_changed());
    assert_eq!(
        session.keys(),
        ["theme", "count", "seen-at", "tags", "other"]
    );
    // Nor in a new session: a field that has its default value is not there.
    let new = Session::detached();
    new.set_data(&Visit::default()).unwrap();
    assert!(new.is_empty() && !new.is_changed());
}

#[tokio::test]
async fn p2_two_requests_that_set_different_fields_both_keep_their_change() {
    let (app, cookie) = planted().await;
    let one = app.storage.load(&[&cookie]).await.unwrap();
    let two = app.storage.load(&[&cookie]).await.unwrap();
    let mut visit: Visit = one.data().unwrap();
    visit.count = 8.0;
    one.set_data(&visit).unwrap();
    let mut visit: Visit = two.data().unwrap();
    visit.theme = "light".into();
    visit.seen_at = None;
    two.set_data(&visit).unwrap();
    app.storage.save(&one).await.unwrap();
    app.storage.save(&two).await.unwrap();
    let end = app.storage.load(&[&cookie]).await.unwrap();
    let visit: Visit = end.data().unwrap();
    assert_eq!(
        (&*visit.theme, visit.count, visit.seen_at),
        ("light", 8.0, None)
    );
    assert_eq!(end.keys(), ["theme", "count", "tags", "other"]);
}

#[tokio::test]
async fn set_data_removes_a_field_that_it_skips_and_keeps_keys_that_the_struct_lacks() {
    let (app, cookie) = planted().await;
    let session = app.storage.load(&[&cookie]).await.unwrap();
    let mut visit: Visit = session.data().unwrap();
    visit.seen_at = None;
    session.set_data(&visit).unwrap();
    assert_eq!(session.keys(), ["theme", "count", "tags", "other"]);
    app.storage.save(&session).await.unwrap();
    let keys = app.keys(&cookie).await.unwrap();
    assert_eq!(keys, ["theme", "count", "tags", "other"]);
    assert!(text(&app, &cookie).await.contains("\"other\": 1.0e2"));
}

/// A change back to the value that was loaded is written as well, because another save came
/// between.
#[tokio::test]
async fn set_data_compares_with_what_data_would_return_now() {
    let (app, cookie) = planted().await;
    let session = app.storage.load(&[&cookie]).await.unwrap();
    let first: Visit = session.data().unwrap();
    session.insert("count", 9).unwrap();
    session.insert("theme", "light").unwrap();
    session.set_data(&first).unwrap();
    let now: Visit = session.data().unwrap();
    assert_eq!(now, first);
}

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Required {
    user: String,
    age: f64,
}

#[tokio::test]
async fn set_data_fills_a_session_that_lacks_required_fields() {
    let ada = Required {
        user: "Ada".into(),
        age: 36.0,
    };
    let new = Session::detached();
    let missing = new.data::<Required>().unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::Value);
    new.set_data(&ada).unwrap();
    assert_eq!(new.keys(), ["user", "age"]);
    assert_eq!(new.data::<Required>().unwrap(), ada);
    // One of them is there: it is equal, and keeps its bytes.
    let app = App::new();
    let cookie = app.client().await;
    app.plant(
        &cookie,
        b"{\"created\": 1700000000, \"session\": {\"age\": 36e0, \"x\": 1}}",
    )
    .await;
    let session = app.storage.load(&[&cookie]).await.unwrap();
    assert_eq!(
        session.data::<Required>().unwrap_err().kind(),
        ErrorKind::Value
    );
    session.set_data(&ada).unwrap();
    assert_eq!(session.keys(), ["age", "x", "user"]);
}

#[test]
fn set_data_takes_only_what_is_written_as_an_object() {
    let session = Session::detached();
    session.insert("a", 1).unwrap();
    for refused in [
        session.set_data(&vec![1, 2]),
        session.set_data(&"text".to_owned()),
        session.set_data(&7),
        session.set_data(&None::<Visit>),
        session.set_data(&Value::Null),
        session.set_data(&vec![("a".to_owned(), 2)]),
    ] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Value);
    }
    assert_eq!(session.get::<u32>("a").unwrap(), Some(1));
    // An object of any kind: a map's keys are the session's.
    session
        .set_data(&serde_json::json!({"a": 1, "b": {"c": "\u{e9}\u{1f600}"}}))
        .unwrap();
    assert_eq!(session.keys(), ["a", "b"]);
}

#[test]
fn data_reads_names_and_values_with_escapes() {
    let session = Session::detached();
    for name in ["é", "a\"b\\c", "\u{1f600}", "line\nbreak", ""] {
        session.insert(name, name).unwrap();
    }
    let all: std::collections::BTreeMap<String, String> = session.data().unwrap();
    assert_eq!(all.len(), 5);
    assert!(all.iter().all(|(name, value)| name == value));
    session.set_data(&all).unwrap();
    assert_eq!(session.len(), 5);
}
