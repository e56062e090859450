//! A request behind a server, and what a browser makes of the response.

use std::convert::Infallible;

use http::header::{COOKIE, SET_COOKIE, VARY};
use http::{HeaderMap, HeaderValue, Request as Head, Response, StatusCode};
use session_core::adapter::Storages;
use session_core::{Error, ErrorKind};
use session_tests::server::pair;
use tokio::sync::oneshot;

use crate::request::{ClientCookie, Reply, Served};
use crate::steps::End;
use crate::world::NAME;

/// Gives a request to a handler that responds when it is told to.
pub(crate) fn serve(storages: &Storages, cookies: &[String]) -> Served {
    let mut head = Head::new(());
    for cookie in cookies {
        let line = HeaderValue::from_str(&format!("{NAME}={cookie}")).unwrap();
        head.headers_mut().append(COOKIE, line);
    }
    let (respond, responds) = oneshot::channel();
    let mut came = None;
    let error_response = |error: &Error| {
        let mut response = Response::new(());
        response.extensions_mut().insert(error.kind());
        response
    };
    let future = storages.serve(head, error_response, |head| {
        came = Some(head);
        async move {
            let mut response = Response::new(());
            match responds.await.unwrap() {
                End::Well => {}
                End::ServerError => *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR,
                End::SessionError => {
                    let error = Error::new(ErrorKind::Value, "says the test's handler");
                    response.extensions_mut().insert(error);
                }
            }
            Ok::<_, Infallible>(response)
        }
    });
    let future = Box::pin(async move {
        let response = future.await.unwrap();
        let vary = response.headers().get(VARY);
        assert_eq!(vary.unwrap(), "Cookie");
        Reply {
            cookie: Some(cookie_of(response.headers())),
            failed: response.extensions().get().copied(),
        }
    });
    Served {
        head: came.unwrap(),
        respond: Some(respond),
        future: Some(future),
        unsent: Vec::new(),
    }
}

/// What a browser makes of the response.
fn cookie_of(headers: &HeaderMap) -> ClientCookie {
    let headers: Vec<_> = headers.get_all(SET_COOKIE).iter().collect();
    assert!(headers.len() <= 1, "two cookies");
    let Some(header) = headers.first() else {
        return ClientCookie::Keep;
    };
    let header = header.to_str().unwrap();
    let (name, value) = pair(header).split_once('=').unwrap();
    assert_eq!(name, NAME);
    let max_age = header
        .split("; ")
        .find_map(|attribute| attribute.strip_prefix("Max-Age="));
    match value {
        "\"\"" => ClientCookie::Remove,
        value => ClientCookie::Set {
            cookie: value.to_owned(),
            max_age: max_age.map(|age| age.parse().unwrap()),
        },
    }
}
