//! The golden vectors: what aiohttp_session wrote, and what it made of what it was given.
//!
//! `vectors/vectors.json` is a copy of what its generator wrote with the real library; the fields
//! are described beside the generator.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use session_core::ManualClock;

/// The whole seconds at which the library's clock stood.
pub const NOW: u64 = 1_700_000_000;

/// The cookie's name in all vectors that do not say another.
pub const NAME: &str = "AIOHTTP_SESSION";

/// The five storages.
pub const KINDS: [&str; 5] = ["simple", "fernet", "nacl", "redis", "memcached"];

/// The key of the encrypted storages: the bytes 0 to 31.
pub fn key() -> [u8; 32] {
    std::array::from_fn(|at| u8::try_from(at).unwrap())
}

/// The time at which the library's clock stood.
pub fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(NOW * 1000 + 750)
}

/// A clock that stands there.
pub fn clock() -> ManualClock {
    ManualClock::at(now())
}

/// The whole file.
#[derive(Debug, Deserialize)]
#[allow(missing_docs)]
pub struct Vectors {
    pub storages: BTreeMap<String, StorageVectors>,
    pub set_cookie_attributes: Vec<Attributes>,
    pub session_max_age: Vec<SessionMaxAge>,
    pub backend_ttl: Vec<BackendTtl>,
    pub cookie_quoting: Vec<Quoting>,
    pub cookie_header_parsing: Vec<HeaderParsing>,
}

/// What belongs to one storage.
#[derive(Debug, Deserialize)]
#[allow(missing_docs)]
pub struct StorageVectors {
    pub save: Vec<Save>,
    pub load: Vec<Load>,
    pub requests: Vec<Route>,
}

/// One request that wrote.
#[derive(Debug, Deserialize)]
#[allow(missing_docs)]
pub struct Save {
    pub name: String,
    pub max_age: Option<i64>,
    pub request: String,
    pub mapping_json: String,
    pub set_cookie: String,
    pub set_cookie_kind: String,
    pub payload: Option<String>,
    pub cookie_value: Option<String>,
    pub cookie_value_raw: Option<String>,
    pub fernet: Option<FernetParts>,
    pub nacl: Option<NaclParts>,
    pub backend: Option<Stored>,
    pub reload: Option<Loaded>,
    pub reload_other_quoting: Option<OtherQuoting>,
}

/// The parts of a Fernet token.
#[derive(Debug, Deserialize)]
#[allow(missing_docs)]
pub struct FernetParts {
    pub timestamp: u64,
    pub iv_hex: String,
}

/// The parts of a secret box.
#[derive(Debug, Deserialize)]
#[allow(missing_docs)]
pub struct NaclParts {
    pub nonce_hex: String,
}

/// What lay in the back end.
#[derive(Debug, Deserialize)]
pub struct Stored {
    /// The whole key.
    pub key: String,
    #[serde(rename = "stored")]
    text: Option<String>,
    #[serde(rename = "stored_b64")]
    coded: Option<String>,
}

impl Stored {
    /// The stored bytes.
    pub fn bytes(&self) -> Vec<u8> {
        match (&self.text, &self.coded) {
            (Some(text), _) => text.clone().into_bytes(),
            (None, Some(coded)) => STANDARD.decode(coded).unwrap(),
            (None, None) => panic!("{}: nothing is stored", self.key),
        }
    }
}

/// The same value with, or without, quotes.
#[derive(Debug, Deserialize)]
#[allow(missing_docs)]
pub struct OtherQuoting {
    pub cookie_header: String,
    pub same_result: bool,
}

/// One cookie, and what came of it.
#[derive(Debug, Deserialize)]
#[allow(missing_docs)]
pub struct Load {
    pub name: String,
    pub max_age: Option<i64>,
    cookie_header: Option<String>,
    cookie_header_b64: Option<String>,
    pub backend: Option<Stored>,
    pub payload: Option<String>,
    pub load: Loaded,
    pub then_set: Option<Then>,
    pub then_invalidate: Option<Then>,
}

impl Load {
    /// The bytes of the Cookie header.
    pub fn cookie_header(&self) -> Vec<u8> {
        header(
            self.cookie_header.as_deref(),
            self.cookie_header_b64.as_deref(),
        )
    }
}

/// What a GET of the session saw.
#[derive(Debug, Deserialize)]
#[allow(missing_docs)]
pub struct Loaded {
    pub cookie_header: Option<String>,
    pub status: u16,
    pub new: Option<bool>,
    pub identity: Option<String>,
    /// Text, for it may be of any type.
    pub created: Option<Box<RawValue>>,
    pub data_json: Option<String>,
}

/// What another request with the same cookie did.
#[derive(Debug, Deserialize)]
#[allow(missing_docs)]
pub struct Then {
    pub status: u16,
    pub set_cookie_kind: String,
    pub payload: Option<String>,
    pub backend_key: Option<String>,
}

/// A route on a state of a session.
#[derive(Debug, Deserialize)]
#[allow(missing_docs)]
pub struct Route {
    pub state: String,
    pub request: String,
    pub body: Option<Box<RawValue>>,
    pub status: u16,
    pub set_cookie_kind: String,
    pub payload: Option<String>,
    pub backend_write: Option<String>,
    pub location: Option<String>,
}

/// Constructor parameters, and the headers that came of them.
#[derive(Debug, Deserialize)]
#[allow(missing_docs)]
pub struct Attributes {
    pub params: BTreeMap<String, Value>,
    pub set: String,
    pub delete: String,
}

/// A lifetime that the handler changed.
#[derive(Debug, Deserialize)]
#[allow(missing_docs)]
pub struct SessionMaxAge {
    pub storage: String,
    pub storage_max_age: Option<i64>,
    pub session_max_age: Option<i64>,
    pub status: u16,
    pub set_cookie_attributes: Option<String>,
    pub backend_expiry: Option<i64>,
}

/// What a store said of a record's time to live, at the real clock.
#[derive(Debug, Deserialize)]
#[allow(missing_docs)]
pub struct BackendTtl {
    pub storage: String,
    pub max_age: Option<i64>,
    pub status: u16,
    /// -1: none.
    pub ttl_seconds: Option<i64>,
}

/// A value and how it is written into a cookie.
#[derive(Debug, Deserialize)]
#[allow(missing_docs)]
pub struct Quoting {
    pub value: String,
    pub coded: String,
    pub round_trips: bool,
}

/// A Cookie header and the value that the library saw in it.
#[derive(Debug, Deserialize)]
#[allow(missing_docs)]
pub struct HeaderParsing {
    cookie_header: Option<Lines>,
    cookie_header_b64: Option<String>,
    pub value: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Lines {
    One(String),
    Several(Vec<String>),
}

impl HeaderParsing {
    /// The bytes of each Cookie header line.
    pub fn lines(&self) -> Vec<Vec<u8>> {
        match &self.cookie_header {
            Some(Lines::Several(lines)) => lines.iter().map(|l| l.clone().into_bytes()).collect(),
            Some(Lines::One(line)) => vec![line.clone().into_bytes()],
            None => vec![header(None, self.cookie_header_b64.as_deref())],
        }
    }
}

fn header(text: Option<&str>, coded: Option<&str>) -> Vec<u8> {
    match (text, coded) {
        (Some(text), _) => text.as_bytes().to_vec(),
        (None, Some(coded)) => STANDARD.decode(coded).unwrap(),
        (None, None) => panic!("a vector without a Cookie header"),
    }
}

impl Vectors {
    /// Reads the file.
    pub fn read() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/vectors/vectors.json");
        let text = std::fs::read_to_string(path).unwrap();
        serde_json::from_str(&text).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_all_that_its_description_says() {
        let vectors = Vectors::read();
        for kind in KINDS {
            let storage = &vectors.storages[kind];
            assert!(storage.save.len() >= 19 && storage.load.len() >= 90);
            assert!(storage.requests.len() >= 75);
        }
        assert_eq!(vectors.cookie_quoting.len(), 282);
        assert_eq!(vectors.cookie_header_parsing.len(), 79);
        assert_eq!(vectors.set_cookie_attributes.len(), 92);
        assert_eq!(vectors.session_max_age.len(), 36);
        assert_eq!(vectors.backend_ttl.len(), 18);
    }
}
