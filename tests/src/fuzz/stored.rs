//! What a store holds, no matter which program wrote it.

mod held;
mod requests;
mod world;

use std::time::Duration;

use bytes::Bytes;
use session_core::{
    CookieSettings, DEFAULT_NAME, ErrorKind, KeyedStorage, MemoryBackend, Storage as _,
};

use self::held::{Held, Loaded, Tombstone, held};
use self::requests::{Did, InFlight};
use self::world::World;
use super::input::Input;
use crate::vectors;

/// The identity in the cookie of both requests.
const IDENTITY: &str = "0a1b2c3d4e5f60718293a4b5c6d7e8f9";

/// The identity of another session, and its record. A tombstone in the input may lead to it.
const OTHER: &str = "fedcba9876543210";
const OTHERS: &str = r#"{"created": 1700000000, "session": {"o": 1}}"#;

const HOUR: Duration = Duration::from_secs(3600);
const SECOND: Duration = Duration::from_secs(1);

/// How long the store keeps a record after its session has expired.
const GRACE: Duration = Duration::from_secs(300);

/// How long the store keeps a tombstone.
const MINUTE: Duration = Duration::from_secs(60);

/// The input is two bytes that say what two requests do, and what the store holds at the key of
/// their cookie. 0x80 in the first byte gives sessions a lifetime of an hour. With 0x40 more than
/// an hour passes between the loads and the saves.
///
/// Both requests load before either of them saves. What each of them gets, and what the store holds
/// afterwards and how long, is exactly what DESIGN 3.1, 3.2 and 3.5 say. What is no session is
/// never adopted, and another program's data is never written over.
pub fn stored(data: &[u8]) {
    let mut input = Input::new(data);
    let does = [input.byte(), input.byte()];
    let text = Bytes::copy_from_slice(input.rest());
    let clock = vectors::clock();
    let max_age = (does[0] & 0x80 != 0).then_some(HOUR);
    let cookie = CookieSettings::builder(DEFAULT_NAME).max_age(max_age);
    let backend = MemoryBackend::new().with_clock(clock.clone());
    let storage = KeyedStorage::new(backend)
        .with_cookie(cookie.build().unwrap())
        .with_clock(clock.clone());
    let Some((held, loaded)) = held(&text, storage.config()) else {
        return;
    };
    let mut world = World::new(storage, clock);
    world.put(IDENTITY, text, held);
    world.put(OTHER, OTHERS.into(), Held::Session(vec!["o".into()]));

    let mut requests = [0, 1].map(|at| InFlight::new(&world, at, does[at]));
    let [first, second] = requests.each_ref().map(InFlight::did);
    assert_eq!(first.before, second.before);
    check_loaded(&first, &loaded);
    check_loaded(&second, &loaded);
    if does[0] & 0x40 != 0 {
        world.clock.advance(HOUR + GRACE / 3);
    }
    for (request, did) in requests.iter_mut().zip([first, second]) {
        let expected = world.expect(&loaded, &did);
        let response = request.finish();
        world.check_response(expected, &did, &response);
        world.check_store();
        assert!(did.session.len() <= did.before.len() + 2);
        let late = did.session.insert("late", 1).unwrap_err();
        assert_eq!(late.kind(), ErrorKind::Committed);
    }
    world.check_times();
}

fn check_loaded(did: &Did, loaded: &Loaded) {
    let is_live = matches!(loaded, Loaded::Live);
    assert_eq!(did.is_new, !is_live);
    assert_eq!(did.is_known, is_live, "what is no session is not adopted");
    assert_eq!(did.before.is_empty(), !is_live);
    let was_replaced = matches!(
        loaded,
        Loaded::Ended(Tombstone::Moved(_) | Tombstone::Replaced)
    );
    assert_eq!(did.was_replaced, was_replaced);
}
