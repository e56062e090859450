//! The Cookie header, against a reading of its own of aiohttp's pattern.

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

/// Everything that aiohttp's pattern says, tried in its order with all the going back of a regular
/// expression: slow, and too plain to be wrong in the same way. Left out is its form for dates,
/// which have spaces but no `=`: a cookie's expiry is no session.
pub(super) mod model {
    /// `[\w\d!#%&'~_`><@,:/\$\*\+\-\.\^\|\)\(\?\}\{\[\]]`, and of a value `=`.
    fn is_word(byte: u8) -> bool {
        byte.is_ascii_alphanumeric() || b"!#%&'~_`><@,:/$*+-.^|)(?}{[]".contains(&byte)
    }

    fn is_space(byte: u8) -> bool {
        b" \t\n\r\x0b\x0c".contains(&byte)
    }

    /// How many of the bytes from `at` on are so.
    fn run(text: &[u8], at: usize, so: impl Fn(u8) -> bool) -> usize {
        (at..text.len()).take_while(|at| so(text[*at])).count()
    }

    pub(crate) fn pairs(text: &[u8]) -> Vec<(&[u8], &[u8])> {
        let mut pairs = Vec::new();
        let mut at = 0;
        while at < text.len() {
            if let Some((name, value, end)) = matched(text, at) {
                pairs.push((name, value));
                at = end;
                continue;
            }
            let end = (at..text.len()).find(|at| text[*at] == b';');
            let piece = &text[at..end.unwrap_or(text.len())];
            if let Some(equals) = piece.iter().position(|b| *b == b'=') {
                let value = &piece[equals + 1..];
                pairs.push((piece[..equals].trim_ascii(), value.trim_ascii()));
            }
            at = end.map_or(text.len(), |end| end + 1);
        }
        pairs
    }

    /// `\s*(name+)(\s*=\s*(value))?\s*(\s+|;|$)`
    fn matched(text: &[u8], at: usize) -> Option<(&[u8], &[u8], usize)> {
        for start in (at..=at + run(text, at, is_space)).rev() {
            for name_end in (start + 1..=start + run(text, start, is_word)).rev() {
                let name = &text[start..name_end];
                for equals in (name_end..=name_end + run(text, name_end, is_space)).rev() {
                    if text.get(equals) != Some(&b'=') {
                        continue;
                    }
                    let after = equals + 1;
                    for begin in (after..=after + run(text, after, is_space)).rev() {
                        for end in value_ends(text, begin) {
                            if let Some(next) = ended(text, end) {
                                return Some((name, &text[begin..end], next));
                            }
                        }
                    }
                }
                if let Some(next) = ended(text, name_end) {
                    return Some((name, b"", next));
                }
            }
        }
        None
    }

    /// Where a value from `begin` on can end: `"(?:[^\\"]|\\.)*"`, then `"[^";]*`, then words.
    fn value_ends(text: &[u8], begin: usize) -> Vec<usize> {
        let mut ends = Vec::new();
        if text.get(begin) == Some(&b'"') {
            let mut at = begin + 1;
            while at < text.len() && text[at] != b'"' {
                at += if text[at] == b'\\' { 2 } else { 1 };
            }
            ends.extend((at < text.len()).then_some(at + 1));
            let open = begin + 1 + run(text, begin + 1, |b| b != b'"' && b != b';');
            ends.extend((begin + 1..=open).rev());
        }
        let words = run(text, begin, |b| is_word(b) || b == b'=');
        ends.extend((begin..=begin + words).rev());
        ends
    }

    /// `\s*(\s+|;|$)`
    fn ended(text: &[u8], at: usize) -> Option<usize> {
        let spaces = run(text, at, is_space);
        match text.get(at + spaces) {
            None => Some(text.len()),
            Some(b';') => Some(at + spaces + 1),
            Some(_) => (spaces > 0).then_some(at + spaces),
        }
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
