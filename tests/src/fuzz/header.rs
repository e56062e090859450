//! The Cookie header, against a reading of its own.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use http::{HeaderValue, Request};
use session_core::{
    CookieChange, CookieSettings, MAX_CANDIDATES, Records, RequestSession as _, Result, Session,
    SessionContext, Storage,
};

use super::now;

const NAME: &str = "sid";

/// Each line of the input is a Cookie header line. The values that a storage is asked for are those
/// that `model` finds.
pub fn header(data: &[u8]) {
    let data = &data[..data.len().min(2000)];
    let lines: Vec<HeaderValue> = data
        .split(|b| *b == b'\n')
        .filter_map(|line| HeaderValue::from_bytes(line).ok())
        .collect();
    let found = candidates(&lines);
    let expected: Vec<String> = lines
        .iter()
        .flat_map(|line| model::pairs(line.as_bytes()))
        .filter(|(name, _)| *name == NAME.as_bytes())
        .filter_map(|(_, value)| str::from_utf8(value).ok())
        .take(MAX_CANDIDATES)
        .map(model::unquote)
        .collect();
    assert_eq!(found, expected, "{lines:?}");
}

/// Yields no session, and remembers the values that it was asked for.
#[derive(Debug)]
struct Recorder {
    records: Records,
    asked: Mutex<Vec<String>>,
}

#[async_trait]
impl Storage for Recorder {
    fn records(&self) -> &Records {
        &self.records
    }

    async fn load(&self, cookie: Option<&str>) -> Result<Session> {
        self.asked.lock().unwrap().extend(cookie.map(str::to_owned));
        Ok(self.records.fresh(cookie.is_some()))
    }

    async fn save(&self, _: &Session) -> Result<CookieChange> {
        Ok(CookieChange::Keep)
    }
}

/// Returns the values of the cookie `sid` that a request with these lines is tried with.
pub(super) fn candidates(lines: &[HeaderValue]) -> Vec<String> {
    let cookie = CookieSettings::builder(NAME).build().unwrap();
    let recorder = Arc::new(Recorder {
        records: Records::default().with_cookie(cookie),
        asked: Mutex::default(),
    });
    let storage: Arc<dyn Storage> = recorder.clone();
    let mut request = Request::new(());
    for line in lines {
        request.headers_mut().append("cookie", line.clone());
    }
    SessionContext::attach(&storage, request.extensions_mut());
    let session = now(request.session()).unwrap();
    assert!(session.is_new() && session.is_empty());
    std::mem::take(&mut *recorder.asked.lock().unwrap())
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
