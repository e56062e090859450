//! The Cookie header, against a reading of its own.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use http::{HeaderValue, Request, Response, StatusCode};
use session_core::adapter::{DefaultErrorResponse, Storages};
use session_core::{
    CookieChange, CookieSettings, Error, RequestSession as _, Result, Session, SessionConfig,
    Storage,
};

use super::now;

const NAME: &str = "sid";

/// Each line of the input is a Cookie header line. The storage gets the values that `model` finds,
/// all of them, in their order.
pub fn header(data: &[u8]) {
    let data = &data[..data.len().min(2000)];
    let lines: Vec<HeaderValue> = data
        .split(|b| *b == b'\n')
        .filter_map(|line| HeaderValue::from_bytes(line).ok())
        .collect();
    let coded: Vec<&[u8]> = lines
        .iter()
        .flat_map(|line| model::pairs(line.as_bytes()))
        .filter(|(name, _)| *name == NAME.as_bytes())
        .map(|(_, value)| value)
        .collect();
    let texts = coded.iter().filter_map(|value| str::from_utf8(value).ok());
    let mut expected: Vec<String> = texts.map(model::unquote).collect();
    if expected.is_empty() && !coded.is_empty() {
        // A cookie whose value is not UTF-8 was sent, but stands for no session.
        expected.push(String::new());
    }
    assert_eq!(candidates(&lines), expected, "{lines:?}");
}

/// Has no session, and remembers the values of each load.
#[derive(Debug)]
struct Recorder {
    config: SessionConfig,
    loads: Mutex<Vec<Vec<String>>>,
}

#[async_trait]
impl Storage for Recorder {
    fn config(&self) -> &SessionConfig {
        &self.config
    }

    async fn load(&self, cookies: &[&str]) -> Result<Session> {
        let cookies: Vec<String> = cookies.iter().map(ToString::to_string).collect();
        let sent_cookie = !cookies.is_empty();
        self.loads.lock().unwrap().push(cookies);
        Ok(self.config.new_session(sent_cookie))
    }

    async fn save(&self, _: &Session) -> Result<CookieChange> {
        Ok(CookieChange::Keep)
    }
}

/// Returns the values of the cookie `sid` that the storage gets from a request with these lines.
pub fn candidates(lines: &[HeaderValue]) -> Vec<String> {
    let cookie = CookieSettings::builder(NAME).build().unwrap();
    let recorder = Arc::new(Recorder {
        config: SessionConfig::default().with_cookie(cookie),
        loads: Mutex::default(),
    });
    let mut request = Request::new(());
    for line in lines {
        request.headers_mut().append("cookie", line.clone());
    }
    let handler = |request: Request<()>| async move {
        let session = request.session().await?;
        assert!(session.is_new() && session.is_empty());
        Ok::<_, Error>(Response::new(()))
    };
    let storages = Storages::new(recorder.clone());
    let response = now(storages.serve(request, DefaultErrorResponse, handler)).unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(!response.headers().contains_key("set-cookie"));
    let mut loads = std::mem::take(&mut *recorder.loads.lock().unwrap());
    assert_eq!(loads.len(), 1, "a request loads its session once");
    loads.remove(0)
}

/// The same in other words.
pub(super) mod model {
    pub(crate) fn pairs(text: &[u8]) -> Vec<(&[u8], &[u8])> {
        let pairs = text.split(|b| *b == b';').map(|pair| {
            let mut parts = pair.splitn(2, |b| *b == b'=');
            let mut part = || parts.next().unwrap_or_default().trim_ascii();
            (part(), part())
        });
        pairs.collect()
    }

    /// Python's `_unquote`: `\` and three octal digits up to 377, or `\` and any character.
    pub(crate) fn unquote(coded: &str) -> String {
        let chars: Vec<char> = coded.chars().collect();
        let [first @ .., '"'] = &chars[..] else {
            return coded.to_owned();
        };
        let ['"', inside @ ..] = first else {
            return coded.to_owned();
        };
        let mut value = String::new();
        let mut at = 0;
        while at < inside.len() {
            let octal: String = inside.iter().skip(at + 1).take(3).collect();
            let digits = octal.len() == 3 && octal.chars().all(|c| c.is_digit(8));
            match inside[at] {
                '\\' if digits && octal.as_str() <= "377" => {
                    value.push(char::from(u8::from_str_radix(&octal, 8).unwrap()));
                    at += 4;
                }
                '\\' if at + 1 < inside.len() => {
                    value.push(inside[at + 1]);
                    at += 2;
                }
                plain => {
                    value.push(plain);
                    at += 1;
                }
            }
        }
        value
    }
}
