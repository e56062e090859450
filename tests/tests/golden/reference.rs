//! Fernet and SecretBox written down once more, from their specifications alone: what ours is
//! held against, with a clock, IV and nonce of the test's choice.

use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockDecryptMut, BlockEncryptMut, KeyIvInit};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use crypto_secretbox::aead::{Aead, KeyInit};
use crypto_secretbox::{Nonce, XSalsa20Poly1305};
use hmac::{Hmac, Mac};
use session_tests::vectors;
use sha2::Sha256;

/// A token taken apart; its payload is the authenticated plain text.
pub(crate) struct Fernet {
    pub(crate) timestamp: u64,
    pub(crate) iv: [u8; 16],
    pub(crate) payload: String,
}

/// <https://github.com/fernet/spec>: version, time, IV, ciphertext, HMAC.
pub(crate) fn seal_fernet(timestamp: u64, iv: [u8; 16], payload: &str) -> String {
    let key = vectors::key();
    let cipher = cbc::Encryptor::<aes::Aes128>::new(key[16..].into(), &iv.into());
    let sealed = cipher.encrypt_padded_vec_mut::<Pkcs7>(payload.as_bytes());
    let mut token = vec![0x80];
    token.extend(timestamp.to_be_bytes());
    token.extend(iv);
    token.extend(sealed);
    let tag = sign(&token).finalize().into_bytes();
    token.extend(tag);
    URL_SAFE.encode(token)
}

pub(crate) fn open_fernet(token: &str) -> Fernet {
    let token = URL_SAFE.decode(token).unwrap();
    let (signed, tag) = token.split_at(token.len() - 32);
    sign(signed).verify_slice(tag).unwrap();
    assert_eq!(signed[0], 0x80);
    let iv: [u8; 16] = signed[9..25].try_into().unwrap();
    let cipher = cbc::Decryptor::<aes::Aes128>::new(vectors::key()[16..].into(), &iv.into());
    let payload = cipher
        .decrypt_padded_vec_mut::<Pkcs7>(&signed[25..])
        .unwrap();
    Fernet {
        timestamp: u64::from_be_bytes(signed[1..9].try_into().unwrap()),
        iv,
        payload: String::from_utf8(payload).unwrap(),
    }
}

fn sign(signed: &[u8]) -> Hmac<Sha256> {
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(&vectors::key()[..16]).unwrap();
    mac.update(signed);
    mac
}

/// 24 bytes nonce, then what NaCl's `crypto_secretbox` makes of the payload.
pub(crate) fn seal_nacl(nonce: [u8; 24], payload: &str) -> String {
    let sealed = secret_box().encrypt(&Nonce::from(nonce), payload.as_bytes());
    STANDARD.encode([&nonce[..], &sealed.unwrap()].concat())
}

pub(crate) fn open_nacl(value: &str) -> ([u8; 24], String) {
    let sealed = STANDARD.decode(value).unwrap();
    let nonce: [u8; 24] = sealed[..24].try_into().unwrap();
    let payload = secret_box().decrypt(&Nonce::from(nonce), &sealed[24..]);
    (nonce, String::from_utf8(payload.unwrap()).unwrap())
}

fn secret_box() -> XSalsa20Poly1305 {
    XSalsa20Poly1305::new(&vectors::key().into())
}

pub(crate) fn hex<const N: usize>(text: &str) -> [u8; N] {
    assert_eq!(text.len(), 2 * N);
    std::array::from_fn(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
}
