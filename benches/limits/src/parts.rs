//! What is done without a store.

use std::hint::black_box;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crypto_secretbox::aead::{Aead, KeyInit};
use crypto_secretbox::{Nonce, XSalsa20Poly1305};
use fernet::Fernet;
use serde::{Deserialize, Serialize};

use crate::{RECORD, budget, cpu_us, report};

#[derive(Deserialize, Serialize)]
struct Record<'a> {
    created: u64,
    #[serde(borrow)]
    session: User<'a>,
}

/// Typed, which is as fast as JSON gets.
#[derive(Deserialize, Serialize)]
#[expect(clippy::struct_field_names, reason = "the record's names")]
struct User<'a> {
    user_id: i64,
    name: &'a str,
    roles: [&'a str; 3],
    last_visit: f64,
    counter: i64,
}

pub(crate) fn json() {
    let parse = || serde_json::from_str::<Record<'_>>(black_box(RECORD)).expect("a record");
    measure("JSON parse", parse);
    let record = parse();
    measure("JSON write", || {
        serde_json::to_vec(black_box(&record)).expect("a record")
    });
}

pub(crate) fn fernet() {
    let fernet = Fernet::new(&Fernet::generate_key()).expect("a key");
    let token = fernet.encrypt(RECORD.as_bytes());
    measure("Fernet open", || {
        fernet.decrypt(black_box(&token)).expect("a token")
    });
    measure("Fernet seal", || {
        fernet.encrypt(black_box(RECORD.as_bytes()))
    });
}

pub(crate) fn nacl() {
    const NONCE_BYTES: usize = 24;
    let key = XSalsa20Poly1305::new(&[7; 32].into());
    let seal = |text: &str| {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).expect("random bytes");
        let boxed = key.encrypt(Nonce::from_slice(&nonce), text.as_bytes());
        STANDARD.encode([&nonce[..], &boxed.expect("memory")].concat())
    };
    let value = seal(RECORD);
    measure("NaCl open", || {
        let sealed = STANDARD.decode(black_box(&value)).expect("base64");
        let (nonce, boxed) = sealed.split_at(NONCE_BYTES);
        key.decrypt(Nonce::from_slice(nonce), boxed).expect("a box")
    });
    measure("NaCl seal", || seal(black_box(RECORD)));
}

/// The median of nine samples, in CPU time.
fn measure<R>(part: &str, call: impl Fn() -> R) {
    const SAMPLES: u32 = 9;
    const CALLS: u32 = 1000;
    let mut samples = Vec::new();
    for _ in 0..SAMPLES {
        let (start, before, mut calls) = (Instant::now(), cpu_us(), 0);
        while start.elapsed() < budget() / SAMPLES {
            for _ in 0..CALLS {
                black_box(call());
            }
            calls += CALLS;
        }
        samples.push((cpu_us() - before) / f64::from(calls));
    }
    samples.sort_by(f64::total_cmp);
    report(part, samples[samples.len() / 2]);
}
