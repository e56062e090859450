//! Secrets and addresses that an operator or a client writes.

use std::error::Error as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use session_cookie::Key;
use session_core::{Error, ErrorKind, Identity};
use session_memcached::MemcachedBackend;
use session_redis::RedisBackend;

use super::input;

/// The input is a key, an identity, and an address of either server. What is refused is not
/// repeated.
pub fn keys(data: &[u8]) {
    let text = input::text(data);
    key(&text);
    identity(&text);
    assert_eq!(Key::from_slice(data).is_ok(), data.len() == 32);

    match MemcachedBackend::open(&text) {
        Ok(backend) => drop(format!("{backend:?}")),
        Err(error) => refused(&error, &text),
    }
    match RedisBackend::open(&text) {
        Ok(backend) => hides(&format!("{backend:?}"), &text),
        Err(error) => refused(&error, &text),
    }
}

fn key(text: &str) {
    let plain = text.trim().replace('-', "+").replace('_', "/");
    let bare = plain.trim_end_matches('=');
    let padded = |bytes: &Vec<u8>| STANDARD.encode(bytes) == plain || bare == plain;
    let bytes = STANDARD_NO_PAD.decode(bare).ok();
    let model = bytes.filter(padded).filter(|bytes| bytes.len() == 32);
    match (Key::parse(text), model) {
        (Ok(key), Some(bytes)) => {
            let again = key.to_base64();
            assert_eq!(
                again.replace('-', "+").replace('_', "/"),
                STANDARD.encode(bytes)
            );
            assert_eq!(Key::parse(&again).unwrap().to_base64(), again);
            assert_eq!(format!("{key:?}"), "Key(..)");
        }
        (Err(error), None) => refused(&error, text),
        (found, model) => panic!("{text:?}: {found:?}, expected {model:?}"),
    }
}

fn identity(text: &str) {
    let shaped = (16..=128).contains(&text.len())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    let identity = Identity::parse(text);
    assert_eq!(identity.is_some(), shaped, "{text:?}");
    if let Some(identity) = identity {
        assert_eq!(identity.as_str(), text);
        assert_eq!(format!("{identity:?}"), "Identity(..)");
        assert!(identity.fingerprint().len() == 8 && !identity.fingerprint().contains(text));
    }
}

fn refused(error: &Error, text: &str) {
    assert_eq!(error.kind(), ErrorKind::Settings);
    hides(&format!("{error} {error:?}"), text);
    let mut cause = error.source();
    while let Some(error) = cause {
        hides(&format!("{error} {error:?}"), text);
        cause = error.source();
    }
}

/// What is said holds neither the whole nor a password in it.
#[track_caller]
fn hides(said: &str, text: &str) {
    let secret = |secret: &str| secret.len() >= 16 && !secret.contains(' ');
    assert!(!(secret(text) && said.contains(text)), "{said}");
    let user = text
        .split_once("://")
        .and_then(|(_, rest)| rest.rsplit_once('@'));
    if let Some((user, _)) = user {
        let password = user.split_once(':').map_or(user, |(_, password)| password);
        assert!(!(secret(password) && said.contains(password)), "{said}");
    }
}
