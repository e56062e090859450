//! Fernet tokens and NaCl boxes that are not quite right.

use std::sync::Arc;

use aes::cipher::block_padding::{NoPadding, Pkcs7};
use aes::cipher::{BlockEncryptMut, KeyIvInit};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use crypto_secretbox::XSalsa20Poly1305;
use crypto_secretbox::aead::{Aead, KeyInit};
use hmac::Mac;
use session_cookie::{EncryptedCookieStorage, Key, NaClCookieStorage};
use session_core::{CookieSettings, DEFAULT_NAME, Storage};
use session_tests::logs::Logs;
use session_tests::server::{pair, set_cookies};

use crate::ADAPTER;
use crate::subject::{Kind, Subject};
use crate::suite::{
    KEY, NOW, OLD_KEY, SECRET, assert_found, assert_new, get_value, handler, login,
};

/// A Fernet token put together by hand, every part of which a test can get wrong.
pub(crate) struct Token {
    version: u8,
    time: u64,
    iv: Vec<u8>,
    ciphertext: Vec<u8>,
    key: [u8; 32],
}

type Cbc = cbc::Encryptor<aes::Aes128>;

impl Token {
    pub(crate) fn new(payload: &[u8]) -> Self {
        Self::under(KEY, payload)
    }

    fn under(key: [u8; 32], payload: &[u8]) -> Self {
        let iv = vec![7; 16];
        let cipher = Cbc::new_from_slices(&key[16..], &iv).unwrap();
        Self {
            version: 0x80,
            time: NOW,
            ciphertext: cipher.encrypt_padded_vec_mut::<Pkcs7>(payload),
            iv,
            key,
        }
    }

    /// Encrypts whole blocks as they are, padding included.
    fn unpadded(blocks: &[u8]) -> Self {
        let token = Self::new(b"");
        let cipher = Cbc::new_from_slices(&KEY[16..], &token.iv).unwrap();
        Self {
            ciphertext: cipher.encrypt_padded_vec_mut::<NoPadding>(blocks),
            ..token
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = [
            &[self.version],
            &self.time.to_be_bytes()[..],
            &self.iv,
            &self.ciphertext,
        ]
        .concat();
        let mut mac = <hmac::Hmac<sha2::Sha256> as Mac>::new_from_slice(&self.key[..16]).unwrap();
        mac.update(&bytes);
        bytes.extend(mac.finalize().into_bytes());
        bytes
    }

    pub(crate) fn text(&self) -> String {
        URL_SAFE.encode(self.bytes())
    }
}

pub(crate) const RECORD: &[u8] =
    b"{\"created\": 1700000000, \"session\": {\"user\": \"swordfish-4711\"}}";

/// A NaCl box with a nonce that does not matter here.
pub(crate) fn boxed(key: &[u8; 32], payload: &[u8]) -> String {
    let nonce = [9; 24];
    let sealed = XSalsa20Poly1305::new(key.into())
        .encrypt(&nonce.into(), payload)
        .unwrap();
    STANDARD.encode([&nonce[..], &sealed].concat())
}

#[tokio::test]
async fn p7_a_fernet_token_that_is_not_quite_right_is_an_empty_new_session() {
    let (logs, _capture) = Logs::capture();
    let server = Subject::new(Kind::fernet).await.serve().await;
    let token = || Token::new(RECORD);
    assert_found(&get_value(&server, &token().text()).await, "the right one");

    let mut bad: Vec<(&str, Vec<u8>)> = Vec::new();
    for version in [0, 1, 0x7f, 0x81, 0xff] {
        bad.push(("version", Token { version, ..token() }.bytes()));
    }
    for time in [
        0,
        1,
        NOW - 3601,
        NOW + 61,
        NOW + 315_360_000,
        u64::MAX / 2,
        u64::MAX - 60,
        u64::MAX,
    ] {
        bad.push(("signed time", Token { time, ..token() }.bytes()));
        // The time changed, the signature not.
        let mut forged = token().bytes();
        forged[1..9].copy_from_slice(&time.to_be_bytes());
        bad.push(("forged time", forged));
    }
    for len in 0..16 {
        bad.push((
            "iv cut",
            Token {
                iv: vec![7; len],
                ..token()
            }
            .bytes(),
        ));
        let ciphertext = token().ciphertext[..16 + len].to_vec();
        if len > 0 {
            bad.push((
                "blocks cut",
                Token {
                    ciphertext,
                    ..token()
                }
                .bytes(),
            ));
        }
    }
    bad.push((
        "empty ciphertext",
        Token {
            ciphertext: Vec::new(),
            ..token()
        }
        .bytes(),
    ));
    bad.push(("nothing", Vec::new()));
    bad.push((
        "a signature alone",
        token().bytes().split_off(token().bytes().len() - 32),
    ));
    bad.push(("zeros", vec![0; 73]));
    bad.push(("no signature", [&token().bytes()[..], &[0; 32]].concat()));
    for padding in [0_u8, 17, 16, 255] {
        let mut blocks = [RECORD, &[b' '; 16][..16 - RECORD.len() % 16]].concat();
        *blocks.last_mut().unwrap() = padding;
        bad.push(("padding", Token::unpadded(&blocks).bytes()));
    }
    bad.push(("another key", Token::under(OLD_KEY, RECORD).bytes()));
    let swapped: [u8; 32] = std::array::from_fn(|at| KEY[(at + 16) % 32]);
    bad.push((
        "the halves of the key swapped",
        Token::under(swapped, RECORD).bytes(),
    ));
    for (what, bytes) in &bad {
        assert_new(&get_value(&server, &URL_SAFE.encode(bytes)).await, what);
    }
    logs.assert_without(&[SECRET, &token().text()]);

    for time in [NOW - 3600, NOW, NOW + 60] {
        let good = Token { time, ..token() }.text();
        assert_found(&get_value(&server, &good).await, "a time within the limits");
    }
}

#[tokio::test]
async fn p7_a_fernet_token_from_the_future_is_refused_without_a_max_age_too() {
    let server = Subject::with(Kind::fernet, CookieSettings::default())
        .await
        .serve()
        .await;
    for time in [NOW + 61, NOW + 315_360_000, u64::MAX - 60, u64::MAX] {
        let token = Token {
            time,
            ..Token::new(RECORD)
        };
        assert_new(&get_value(&server, &token.text()).await, &time.to_string());
    }
    // There is no limit on the other side.
    let token = Token {
        time: 0,
        ..Token::new(RECORD)
    };
    assert_found(&get_value(&server, &token.text()).await, "of 1970");
}

#[tokio::test]
async fn p7_there_is_one_text_for_each_token() {
    let fernet = Subject::new(Kind::fernet).await.serve().await;
    let nacl = Subject::new(Kind::nacl).await.serve().await;
    for spaces in 0..48 {
        // All lengths, so that there are tokens with no, one and two characters of padding.
        let record = [RECORD, " ".repeat(spaces).as_bytes()].concat();
        let sealed = Token::new(&record).bytes();
        let nonce_and_box = STANDARD.decode(boxed(&KEY, &record)).unwrap();
        let (token, other) = (URL_SAFE.encode(&sealed), STANDARD.encode(&sealed));
        let (secret_box, url_safe) = (
            STANDARD.encode(&nonce_and_box),
            URL_SAFE.encode(&nonce_and_box),
        );
        for (server, value, other_alphabet) in
            [(&fernet, &token, &other), (&nacl, &secret_box, &url_safe)]
        {
            assert_found(&get_value(server, value).await, "canonical");
            let bare = value.trim_end_matches('=');
            for padding in 0..6 {
                let padded = format!("{bare}{}", "=".repeat(padding));
                if padded != *value {
                    assert_new(&get_value(server, &padded).await, "other padding");
                }
            }
            if other_alphabet != value {
                assert_new(&get_value(server, other_alphabet).await, "other alphabet");
            }
        }
    }
}

#[tokio::test]
async fn p7_a_nacl_box_that_is_not_quite_right_is_an_empty_new_session() {
    let (logs, _capture) = Logs::capture();
    let server = Subject::new(Kind::nacl).await.serve().await;
    assert_found(
        &get_value(&server, &boxed(&KEY, RECORD)).await,
        "the right one",
    );
    let bytes = STANDARD.decode(boxed(&KEY, RECORD)).unwrap();
    for len in 0..bytes.len() {
        assert_new(
            &get_value(&server, &STANDARD.encode(&bytes[..len])).await,
            "cut",
        );
    }
    for len in [24, 39, 40, 41, 4096] {
        assert_new(
            &get_value(&server, &STANDARD.encode(vec![0; len])).await,
            "zeros",
        );
    }
    assert_new(
        &get_value(&server, &boxed(&OLD_KEY, RECORD)).await,
        "another key",
    );
    logs.assert_without(&[SECRET, &boxed(&KEY, RECORD)]);
}

#[tokio::test]
async fn a_retired_key_opens_and_the_first_one_seals() {
    let (new, old) = (|| Key::from(KEY), || Key::from(OLD_KEY));
    let sides: [[Arc<dyn Storage>; 3]; 2] = [
        [
            Arc::new(EncryptedCookieStorage::new(old())),
            Arc::new(EncryptedCookieStorage::new(new())),
            Arc::new(EncryptedCookieStorage::new(new()).with_fallback_key(old())),
        ],
        [
            Arc::new(NaClCookieStorage::new(old())),
            Arc::new(NaClCookieStorage::new(new())),
            Arc::new(NaClCookieStorage::new(new()).with_fallback_key(old())),
        ],
    ];
    for [before, without, with] in sides {
        let cookie = login(&ADAPTER.start(before.clone(), handler).await).await;
        let without = ADAPTER.start(without, handler).await;
        let with = ADAPTER.start(with, handler).await;
        assert_new(
            &without.get("/read", &[cookie.as_bytes()]).await,
            "not retired, unknown",
        );
        let response = with.get("/write", &[cookie.as_bytes()]).await;
        assert_found(&response, "retired");
        let sealed_anew = pair(&set_cookies(&response, DEFAULT_NAME)[0]).to_owned();
        let response = without.get("/read", &[sealed_anew.as_bytes()]).await;
        assert_eq!(response.body(), "new=false len=2 identity=false");
        let before = ADAPTER.start(before, handler).await;
        assert_new(
            &before.get("/read", &[sealed_anew.as_bytes()]).await,
            "under the new key",
        );
    }
}
