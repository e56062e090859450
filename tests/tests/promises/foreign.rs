//! F4: a cookie that names another program's key. Its value is left alone.

use session_core::{Codec, Result};
use session_tests::stores::{Call, When};

use crate::app::{App, settings};

const FOREIGN: [&[u8]; 8] = [
    b"",
    b"0",
    b"[]",
    b"\"text\"",
    b"null",
    b"{\"created\": 1, \"session\": [1]}",
    b"{\"created\": 1, \"session\": {}",
    b"\x00\xff\xfe\x80binary\r\n",
];

const KEY: &str = "articles-by-country";

const PATHS: [&str; 10] = [
    "/logout",
    "/login",
    "/anonymous",
    "/restart",
    "/relogin",
    "/set/mine/1",
    "/renewed",
    "/clear",
    "/touch",
    "/read",
];

/// JSON behind a byte, so that plain JSON is another program's.
#[derive(Debug)]
struct Marked;

impl Codec for Marked {
    fn encode(&self, record: Vec<u8>) -> Result<Vec<u8>> {
        Ok([b"1".as_slice(), &record].concat())
    }

    fn decode(&self, stored: &[u8]) -> Option<Vec<u8>> {
        stored.strip_prefix(b"1").map(<[u8]>::to_vec)
    }
}

fn app(marked: bool) -> App {
    App::with(settings(), move |storage| {
        if marked {
            storage.with_codec(Marked)
        } else {
            storage
        }
    })
}

#[tokio::test]
async fn p4_no_request_touches_a_foreign_value_that_its_cookie_names() {
    for marked in [false, true] {
        let refused: &[&[u8]] = if marked {
            // What a codec refuses is foreign too, an ended session in plain JSON as well.
            &[
                b"{ }",
                b"{}",
                b"{\"created\": 1, \"session\": {\"k\": 1}}",
                b"1",
            ]
        } else {
            &[]
        };
        for foreign in FOREIGN.into_iter().chain(refused.iter().copied()) {
            for path in PATHS {
                for with_own in [false, true] {
                    let app = app(marked);
                    app.plant(KEY, foreign).await;
                    let own = app.client().await;
                    let cookies = if with_own {
                        format!("{own}; sid={KEY}")
                    } else {
                        KEY.to_owned()
                    };
                    let response = app.ask(Some(&cookies), path).await;
                    let what = format!("{path} with {:?}", String::from_utf8_lossy(foreign));
                    assert_eq!(response.status, 200, "{what}");
                    let after = app.stored(KEY).await;
                    assert_eq!(after.as_deref(), Some(foreign), "{what}");
                    assert_ne!(response.cookie().as_deref(), Some(KEY), "{what}");
                }
            }
        }
    }
}

/// Neither Python nor this library writes an object without `created` and `session`.
#[tokio::test]
async fn p4_an_object_that_is_no_record_is_left_alone() {
    for foreign in [
        &b"{\"cart\": [1, 2]}"[..],
        b"{\"user\": {\"name\": \"Ada\"}}",
    ] {
        for path in PATHS {
            let app = App::new();
            app.plant(KEY, foreign).await;
            let response = app.ask(Some(KEY), path).await;
            assert_eq!(response.status, 200, "{path}");
            let after = app.stored(KEY).await;
            assert_eq!(after.as_deref(), Some(foreign), "{path}");
        }
    }
}

/// The one exception: a logout ends what another program put in the place of the very session that
/// the request had loaded. A change does not.
#[tokio::test]
async fn p3_a_logout_ends_what_took_the_place_of_the_session_that_it_loaded() {
    for foreign in FOREIGN {
        for (path, status) in [
            ("/logout", 200),
            ("/restart", 200),
            ("/relogin", 200),
            ("/set/mine/1", 409),
            ("/touch", 409),
            ("/renew", 409),
            ("/clear", 409),
        ] {
            let app = App::new();
            let cookie = app.client().await;
            let load = app.gate().hold(Call::Read, When::After);
            let request = app.start(&cookie, path);
            load.reached().await;
            app.plant(&cookie, foreign).await;
            load.open();
            let response = request.await.unwrap();
            let what = format!("{path} with {:?}", String::from_utf8_lossy(foreign));
            assert_eq!(response.status.as_u16(), status, "{what}");
            let expected: &[u8] = match path {
                "/logout" | "/restart" => b"{ }",
                _ => foreign,
            };
            assert_eq!(
                app.stored(&cookie).await.as_deref(),
                Some(expected),
                "{what}"
            );
            assert_eq!(
                app.live().await,
                Vec::from_iter(response.cookie()),
                "{what}"
            );
        }
    }
}
