//! P12: a login stays. What each request does with a cookie whose session has ended: the table of
//! the design, cell by cell.

use bytes::Bytes;
use session_tests::stores::{Call, When};

use crate::app::{App, HOUR, SECOND, TestResponse};

/// What the key of the request's cookie holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Column {
    /// A renewal moved the session.
    Moved,
    /// A login replaced it.
    Replaced,
    /// A logout ended it.
    Ended,
    /// Somebody else ended it.
    Revoked,
    /// Nothing.
    Missing,
    /// The `{}` that Python leaves.
    Python,
}

const COLUMNS: [Column; 6] = [
    Column::Moved,
    Column::Replaced,
    Column::Ended,
    Column::Revoked,
    Column::Missing,
    Column::Python,
];

/// What a request gets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Gets {
    /// 200, an empty session and no cookie. Nothing changes.
    Empty,
    /// 409 and no cookie. Nothing changes.
    Conflict,
    /// 200 and no cookie. Nothing changes.
    Done,
    /// 200, and the cookie is removed.
    Removed,
    /// 200, and the cookie of a new session.
    New,
    /// As `Removed`. The session that a renewal moved ends.
    EndsAndRemoved,
    /// As `New`. The session that a renewal moved ends.
    EndsAndNew,
}

use Gets::{Conflict, Done, Empty, EndsAndNew, EndsAndRemoved, New, Removed};

/// The table for requests that find the tombstone when they load.
const TABLE: [(&str, [Gets; 6]); 12] = [
    ("/read", [Empty; 6]),
    ("/touch", [Empty; 6]),
    ("/lifetime", [Empty; 6]),
    ("/passing", [Empty; 6]),
    ("/set/mine/1", [Conflict, Conflict, Conflict, New, New, New]),
    ("/renewed", [Conflict, Conflict, Conflict, New, New, New]),
    // A new session that stays empty is not stored.
    (
        "/renew",
        [Conflict, Conflict, Conflict, Empty, Empty, Empty],
    ),
    (
        "/logout",
        [EndsAndRemoved, Done, Removed, Removed, Removed, Removed],
    ),
    ("/restart", [EndsAndNew, Conflict, Conflict, New, New, New]),
    ("/login", [EndsAndNew, New, New, New, New, New]),
    ("/relogin", [EndsAndNew, New, New, New, New, New]),
    // A login that sets nothing is a logout.
    (
        "/anonymous",
        [EndsAndRemoved, Done, Removed, Removed, Removed, Removed],
    ),
];

/// The table for requests that loaded the live session and find the tombstone when they save.
const TABLE_OF_THE_RULE: [(&str, [Gets; 6]); 10] = [
    ("/touch", [Conflict; 6]),
    ("/lifetime", [Conflict; 6]),
    ("/passing", [Conflict; 6]),
    ("/set/mine/1", [Conflict; 6]),
    ("/renewed", [Conflict; 6]),
    ("/clear", [Conflict; 6]),
    ("/cleared", [Conflict; 6]),
    (
        "/logout",
        [EndsAndRemoved, Done, Removed, Removed, Removed, Removed],
    ),
    ("/restart", [EndsAndNew, Conflict, Conflict, New, New, New]),
    ("/relogin", [EndsAndNew, New, New, New, New, New]),
];

/// Ends the session of `cookie`. Returns the cookie of the session that took its place.
async fn end(app: &App, cookie: &str, column: Column) -> Option<String> {
    let path = match column {
        Column::Moved => "/renew",
        Column::Replaced => "/login",
        Column::Ended => "/logout",
        Column::Revoked => {
            app.plant(cookie, b"{\n}").await;
            return None;
        }
        Column::Missing => {
            app.remove(cookie).await;
            return None;
        }
        Column::Python => {
            app.plant(cookie, b"{}").await;
            return None;
        }
    };
    let response = app.ask(Some(cookie), path).await;
    assert_eq!(response.status, 200);
    response.cookie()
}

/// The keys of the session that a request on `path` starts.
fn keys_after(path: &str) -> &'static [&'static str] {
    match path {
        "/login" | "/relogin" => &["user"],
        "/restart" => &["restarted"],
        _ => &["mine"],
    }
}

/// Checks the response of a request on `path`, and what is left in the store.
async fn check(
    app: &App,
    path: &str,
    gets: Gets,
    response: &TestResponse,
    successor: Option<&str>,
) {
    let what = format!("{path} gets {gets:?}: {response:?}");
    let mut alive = Vec::from_iter(successor.map(str::to_owned));
    match gets {
        Empty | Done => {
            assert_eq!(
                (response.status.as_u16(), &*response.body),
                (200, ""),
                "{what}"
            );
            assert_eq!(response.set_cookie(), None, "{what}");
        }
        Conflict => response.assert_refused(409),
        Removed | EndsAndRemoved => {
            assert_eq!(response.status, 200, "{what}");
            let header = response.set_cookie().expect(&what);
            assert!(header.contains("Max-Age=0"), "{what}");
            assert_eq!(response.cookie(), None, "{what}");
        }
        New | EndsAndNew => {
            assert_eq!(response.status, 200, "{what}");
            let new = response.cookie().expect(&what);
            assert_eq!(app.keys(&new).await.expect(&what), keys_after(path));
            alive.push(new);
        }
    }
    if matches!(gets, EndsAndRemoved | EndsAndNew) {
        let ended = alive.remove(0);
        assert_eq!(app.keys(&ended).await, None, "{what}");
    }
    assert_eq!(app.live().await, alive, "{what}");
}

/// Returns what a login leaves at each key that it comes across.
fn left_by(path: &str) -> Option<&'static [u8]> {
    matches!(path, "/login" | "/relogin").then_some(b"{\t}")
}

#[tokio::test]
async fn p12_every_request_that_loads_a_tombstone_gets_what_the_table_says() {
    for (path, row) in TABLE {
        for (column, gets) in COLUMNS.into_iter().zip(row) {
            println!("{path}, {column:?}: {gets:?}");
            let app = App::new();
            let cookie = app.client().await;
            let successor = end(&app, &cookie, column).await;
            let before = app.stored(&cookie).await;
            // Another process, as well as this one: what is known is in the store.
            let response = app.another().ask(Some(&cookie), path).await;
            check(&app, path, gets, &response, successor.as_deref()).await;
            let left = left_by(path).map(Bytes::from_static);
            assert_eq!(app.stored(&cookie).await, left.or(before));
        }
    }
}

#[tokio::test]
async fn p12_every_request_that_finds_a_tombstone_at_its_save_gets_what_the_rule_says() {
    for (path, row) in TABLE_OF_THE_RULE {
        for (column, gets) in COLUMNS.into_iter().zip(row) {
            println!("{path}, {column:?}: {gets:?}");
            let app = App::new();
            let cookie = app.client().await;
            let load = app.gate().hold(Call::Read, When::After);
            let request = app.another().start(&cookie, path);
            load.reached().await;
            let successor = end(&app, &cookie, column).await;
            let before = app.stored(&cookie).await;
            load.open();
            let response = request.await.unwrap();
            check(&app, path, gets, &response, successor.as_deref()).await;
            let left = left_by(path).map(Bytes::from_static);
            assert_eq!(app.stored(&cookie).await, left.or(before));
        }
    }
}

#[tokio::test]
async fn p12_a_reader_that_loaded_the_live_session_gets_it() {
    for column in COLUMNS {
        let app = App::new();
        let cookie = app.client().await;
        let load = app.gate().hold(Call::Read, When::After);
        let request = app.start(&cookie, "/read");
        load.reached().await;
        end(&app, &cookie, column).await;
        load.open();
        let response = request.await.unwrap();
        assert_eq!((response.status.as_u16(), &*response.body), (200, "k"));
        assert_eq!(response.set_cookie(), None);
    }
}

/// A guard must not send such a client to the login page.
#[tokio::test]
async fn p12_was_replaced_tells_a_login_and_a_renewal_from_every_other_end() {
    for column in COLUMNS {
        let app = App::new();
        let cookie = app.client().await;
        assert_eq!(app.ask(Some(&cookie), "/replaced").await.body, "false");
        let successor = end(&app, &cookie, column).await;
        let was_replaced = matches!(column, Column::Moved | Column::Replaced);
        let told = app.ask(Some(&cookie), "/replaced").await.body;
        assert_eq!(told, was_replaced.to_string(), "{column:?}");
        if let Some(successor) = successor {
            assert_eq!(app.ask(Some(&successor), "/replaced").await.body, "false");
        }
        assert_eq!(app.ask(None, "/replaced").await.body, "false");
    }
}

/// An expired record that the store still keeps counts as missing, and only an end touches it.
#[tokio::test]
async fn p12_an_expired_record_counts_as_missing_and_only_an_end_touches_it() {
    for (path, row) in TABLE {
        let app = App::new();
        let cookie = app.client().await;
        app.clock.advance(HOUR + SECOND);
        let before = app.stored(&cookie).await.unwrap();
        let response = app.ask(Some(&cookie), path).await;
        check(&app, path, row[4], &response, None).await;
        let after: &[u8] = match path {
            "/login" | "/relogin" => b"{\t}",
            "/logout" | "/restart" | "/anonymous" => b"{ }",
            _ => &before,
        };
        assert_eq!(app.stored(&cookie).await.unwrap(), after, "{path}");
    }
}

/// Where the second tombstone of a chain leads.
const CHAINS: [(Column, [Gets; 5]); 6] = [
    (
        Column::Moved,
        [Empty, Conflict, EndsAndRemoved, EndsAndNew, EndsAndNew],
    ),
    (Column::Replaced, [Empty, Conflict, Done, Conflict, New]),
    (Column::Ended, [Empty, Conflict, Removed, Conflict, New]),
    (Column::Revoked, [Empty, Conflict, Removed, New, New]),
    (Column::Missing, [Empty, Conflict, Removed, New, New]),
    (Column::Python, [Empty, Conflict, Removed, New, New]),
];

#[tokio::test]
async fn p12_a_chain_of_renewals_is_followed_to_its_end() {
    for (column, gets) in CHAINS {
        let paths = ["/read", "/set/mine/1", "/logout", "/restart", "/login"];
        for (path, gets) in paths.into_iter().zip(gets) {
            println!("{path}, moved to {column:?}: {gets:?}");
            let app = App::new();
            let cookie = app.client().await;
            let next = end(&app, &cookie, Column::Moved).await.unwrap();
            let successor = end(&app, &next, column).await;
            let moved = app.stored(&cookie).await;
            let response = app.ask(Some(&cookie), path).await;
            check(&app, path, gets, &response, successor.as_deref()).await;
            match left_by(path) {
                Some(tombstone) => {
                    assert_eq!(app.stored(&cookie).await.unwrap(), tombstone);
                    let last = match column {
                        Column::Moved => successor.unwrap(),
                        _ => next,
                    };
                    assert_eq!(app.stored(&last).await.unwrap(), tombstone);
                }
                None => assert_eq!(app.stored(&cookie).await, moved),
            }
        }
    }
}

/// A browser: it sends what it has, and keeps what it is sent last.
#[derive(Clone, Debug, Default)]
struct Jar(Option<String>);

impl Jar {
    fn receive(&mut self, response: &TestResponse) {
        self.0 = response.next_cookie(self.0.as_deref());
    }
}

/// The page polls with the old cookie. The response of its poll comes last.
#[tokio::test]
async fn p12_a_poll_that_arrives_after_a_login_or_a_renewal_does_not_replace_its_cookie() {
    for path in ["/login", "/renew", "/restart"] {
        for elsewhere in [false, true] {
            let app = App::new();
            let mut jar = Jar(Some(app.client().await));
            let old = jar.0.clone();
            jar.receive(&app.ask(old.as_deref(), path).await);
            let own = jar.0.clone().unwrap();
            let poll = if elsewhere {
                app.another()
            } else {
                app.clone()
            };
            for poll_path in ["/set/polled/1", "/renewed", "/touch", "/read"] {
                let response = poll.ask(old.as_deref(), poll_path).await;
                assert_eq!(response.set_cookie(), None, "{path}, then {poll_path}");
                jar.receive(&response);
            }
            assert_eq!(jar.0.as_ref(), Some(&own));
            assert!(app.keys(&own).await.is_some(), "the login is lost");
            assert_eq!(app.live().await, [own]);
        }
    }
}

/// A tombstone in front of a live session hides nothing.
#[tokio::test]
async fn p12_a_client_that_sends_the_old_and_the_new_cookie_has_the_new_session() {
    for path in ["/login", "/renew"] {
        let app = App::new();
        let old = app.client().await;
        let new = app.ask(Some(&old), path).await.cookie().unwrap();
        for both in [format!("{old}; sid={new}"), format!("{new}; sid={old}")] {
            let response = app.ask(Some(&both), "/set/mine/1").await;
            assert_eq!(response.status, 200);
            assert_eq!(response.cookie(), Some(new.clone()));
        }
        assert!(app.keys(&new).await.unwrap().contains(&"mine".to_owned()));
        assert_eq!(app.live().await, [new]);
    }
}

/// The tombstone has a life of one minute.
#[tokio::test]
async fn p12_a_minute_later_the_old_cookie_stands_for_nothing() {
    for (path, status) in [("/login", 409), ("/renew", 409), ("/logout", 409)] {
        let app = App::new();
        let old = app.client().await;
        app.ask(Some(&old), path).await;
        app.clock.advance(SECOND * 59);
        let response = app.ask(Some(&old), "/set/mine/1").await;
        response.assert_refused(status);
        app.clock.advance(SECOND);
        let response = app.ask(Some(&old), "/set/mine/1").await;
        assert_eq!(response.status, 200);
        assert_ne!(response.cookie(), Some(old));
    }
}
