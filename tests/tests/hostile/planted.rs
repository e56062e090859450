//! What a sibling domain, or a client that names what is not its own, gets out of the library. Each
//! test is an attack that once got through.

use session_core::CookieSettings;
use session_tests::server::{Server, TestResponse, pair, set_cookies};

use crate::subject::{Kind, Subject};
use crate::suite::{FOUND, HOUR, assert_found, assert_new, login_to};

/// A sibling domain cannot set a cookie of this name.
const HOST: &str = "__Host-sid";

async fn serve(kind: Kind) -> Server {
    let settings = CookieSettings::builder(HOST).max_age(HOUR);
    let subject = Subject::with(kind, settings.build().unwrap()).await;
    subject.serve().await
}

async fn ask(server: &Server, path: &str, cookies: &str) -> TestResponse {
    server.get(path, &[cookies.as_bytes()]).await
}

/// Returns the cookie of the attacker's own session, which has one key more than the victim's.
async fn log_in_attacker(server: &Server) -> String {
    let cookie = login_to(server, HOST).await;
    let response = ask(server, "/write", &cookie).await;
    pair(&set_cookies(&response, HOST)[0]).to_owned()
}

/// White space ends no value: what a sibling set as one cookie of another name is one.
#[tokio::test]
async fn a_host_cookie_is_not_found_inside_the_value_of_another_cookie() {
    for kind in Kind::ALL {
        let server = serve(kind).await;
        let evil = log_in_attacker(&server).await;
        // Set by evil.example.com: `lang=en __Host-sid=..; Domain=example.com`, one cookie called
        // `lang`.
        for planted in [
            format!("lang=en {evil}"),
            format!("lang=\"en\" {evil}"),
            format!("lang {evil}"),
        ] {
            assert_new(&ask(&server, "/read", &planted).await, &planted);
        }
    }
}

#[tokio::test]
async fn a_host_cookie_that_was_planted_inside_another_does_not_win_over_the_real_one() {
    for kind in Kind::ALL {
        let server = serve(kind).await;
        let evil = log_in_attacker(&server).await;
        let response = ask(&server, "/read", &evil).await;
        assert!(!response.body().starts_with(FOUND.as_bytes()), "{kind:?}");
        let real = login_to(&server, HOST).await;
        // A cookie of a longer path comes first.
        let both = format!("lang=en {evil}; {real}");
        assert_found(&ask(&server, "/account", &both).await, &both);
    }
}

/// Two cookies of a sibling, `a="` and `z="`, around the session's: RFC 6265 knows no such quotes.
#[tokio::test]
async fn quotes_in_other_cookies_do_not_hide_the_session() {
    for kind in Kind::ALL {
        let server = serve(kind).await;
        let real = login_to(&server, HOST).await;
        let quoted = format!("a=\"; {real}; z=\"");
        assert_found(&ask(&server, "/read", &quoted).await, &quoted);
    }
}

#[tokio::test]
async fn p3_quotes_in_other_cookies_do_not_keep_a_session_from_its_logout() {
    for kind in Kind::ALL {
        let server = serve(kind).await;
        let real = login_to(&server, HOST).await;
        let response = ask(&server, "/logout", &format!("a=\"; {real}; z=\"")).await;
        assert!(set_cookies(&response, HOST)[0].contains("Max-Age=0"));
        // Only a store can end a session that the client has a copy of.
        if kind.is_keyed() {
            assert_new(&ask(&server, "/read", &real).await, "it was logged out");
        }
    }
}

/// A client may name any key that begins like a session's.
#[tokio::test]
async fn p4_a_value_of_another_program_stays_at_a_login_and_at_a_logout() {
    const ARTICLES: &str = "articles-by-country";
    for kind in Kind::KEYED {
        let settings = CookieSettings::builder("shop").build().unwrap();
        let subject = Subject::with(kind, settings).await;
        let server = subject.serve().await;
        subject.plant(ARTICLES, b"12345").await;
        let foreign = format!("shop={ARTICLES}");
        let own = login_to(&server, "shop").await;
        for path in ["/logout", "/login"] {
            for cookies in [foreign.clone(), format!("{own}; {foreign}")] {
                assert_eq!(ask(&server, path, &cookies).await.status(), 200, "{path}");
                let after = subject.stored(ARTICLES).await;
                assert_eq!(after.as_deref(), Some(&b"12345"[..]), "{kind:?}, {path}");
            }
        }
    }
}
