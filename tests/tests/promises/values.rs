//! What a handler can do with values, and which values there are (F7).

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use session_core::{ErrorKind, Session};

#[test]
fn an_update_whose_closure_writes_another_key_ends() {
    let session = Session::detached();
    let mut calls = 0;
    let ended = catch_unwind(AssertUnwindSafe(|| {
        session.update("a", |value: Option<u32>| {
            calls += 1;
            assert!(calls < 100_000, "it never ends");
            session.insert("b", 1).unwrap();
            value.unwrap_or(0) + 1
        })
    }));
    ended.unwrap().unwrap();
}

#[test]
fn modify_takes_a_closure_that_runs_once_and_starts_from_the_default() {
    let session = Session::detached();
    let item = String::from("apple");
    // The closure gives `item` away, so it can run only once.
    let len = session
        .modify("cart", |cart: &mut Vec<String>| {
            cart.push(item);
            cart.len()
        })
        .unwrap();
    assert_eq!(len, 1);
    assert!(session.is_changed());
    session
        .modify("cart", |cart: &mut Vec<String>| cart.push("pear".into()))
        .unwrap();
    let cart: Vec<String> = session.get("cart").unwrap().unwrap();
    assert_eq!(cart, ["apple", "pear"]);
}

#[test]
fn modify_holds_no_lock_while_its_closure_runs_and_the_last_one_wins() {
    let session = Session::detached();
    session.insert("n", 1).unwrap();
    let clone = session.clone();
    session
        .modify("n", |n: &mut u32| {
            clone.modify("n", |n: &mut u32| *n = 100).unwrap();
            clone.insert("other", 1).unwrap();
            assert_eq!(clone.get::<u32>("n").unwrap(), Some(100));
            *n += 1;
        })
        .unwrap();
    assert_eq!(session.get::<u32>("n").unwrap(), Some(2));
    assert!(session.contains_key("other"));
}

#[test]
fn a_modify_of_another_type_runs_nothing_and_changes_nothing() {
    let session = Session::detached();
    session.insert("n", "text").unwrap();
    let refused = session.modify("n", |_: &mut u32| unreachable!("it is no number"));
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Value);
    assert_eq!(session.get::<String>("n").unwrap().unwrap(), "text");
}

#[test]
fn a_panic_in_a_closure_leaves_the_session_as_it_was() {
    let session = Session::detached();
    session.insert("n", 1).unwrap();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        session.modify("n", |n: &mut u32| {
            *n = 2;
            panic!("in the closure");
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(session.get::<u32>("n").unwrap(), Some(1));
}

#[derive(Serialize)]
struct Nested {
    name: &'static str,
    inner: Inner,
}

#[derive(Serialize)]
enum Inner {
    Tuple(u8, f32),
    Named {
        values: BTreeMap<String, Vec<Option<f64>>>,
    },
    Newtype(f64),
}

#[track_caller]
fn is_refused(value: impl Serialize) {
    let session = Session::detached();
    session.insert("n", 1.5).unwrap();
    let refused = session.insert("n", value).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Value);
    assert_eq!(session.get::<f64>("n").unwrap(), Some(1.5), "it stays");
}

#[test]
fn p8_a_float_that_is_not_finite_is_refused_wherever_it_stands() {
    for float in [f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        is_refused(float);
        is_refused(Some(float));
        is_refused((1, "two", float));
        is_refused([0.5, float]);
        is_refused(vec![vec![], vec![float]]);
        is_refused(BTreeMap::from([("key", float)]));
        is_refused(BTreeMap::from([(
            1,
            Some(BTreeMap::from([('c', [float])])),
        )]));
        is_refused(Box::new(float));
        for inner in [
            Inner::Newtype(float),
            Inner::Named {
                values: BTreeMap::from([("v".to_owned(), vec![None, Some(float)])]),
            },
        ] {
            let name = "nested";
            is_refused(Nested { name, inner });
        }
        is_refused(std::time::Duration::ZERO.as_secs_f64() / 0.0 + float);
    }
    for float in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        is_refused(float);
        is_refused([float]);
        is_refused(Inner::Tuple(1, float));
    }
}

#[test]
fn p8_a_float_that_is_not_finite_is_refused_by_every_method_that_writes() {
    let session = Session::detached();
    let refused = [
        session.update("n", |_| f64::NAN).map(drop),
        session.modify("n", |n: &mut f64| *n = f64::INFINITY),
        session.modify("n", |n: &mut Vec<f32>| n.push(f32::NAN)),
        session.set_data(&BTreeMap::from([("n".to_owned(), f64::NAN)])),
    ];
    for refused in refused {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Value);
    }
    assert!(session.is_empty() && !session.is_changed());
}

#[test]
fn every_finite_float_is_kept() {
    let session = Session::detached();
    for float in [
        f64::MAX,
        f64::MIN,
        f64::MIN_POSITIVE,
        5e-324,
        -0.0,
        0.1,
        1e16,
        123_456_789.123_456_79,
    ] {
        session.insert("n", float).unwrap();
        let kept = session.get::<f64>("n").unwrap().unwrap();
        assert_eq!(kept.to_bits(), float.to_bits(), "{float}");
    }
    for float in [f32::MAX, f32::MIN_POSITIVE, 1e-45, 0.1] {
        session.insert("n", float).unwrap();
        let kept = session.get::<f32>("n").unwrap().unwrap();
        assert_eq!(kept.to_bits(), float.to_bits(), "{float}");
    }
}

/// What the docs of `get` say of `serde_json::Value`.
#[test]
fn a_value_of_serde_json_does_not_hold_every_json_text() {
    let session = Session::detached();
    let put = |text: &str| {
        let raw = RawValue::from_string(text.to_owned()).unwrap();
        session.insert("k", raw).unwrap();
    };
    let raw = || session.get::<Box<RawValue>>("k").unwrap().unwrap();
    let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    for text in ["1e999", r#""\ud800""#, r#"{"\ud800": 1}"#, &deep(128)] {
        put(text);
        let refused = session.get::<Value>("k").unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Value, "{text}");
        assert_eq!(raw().get(), text);
    }
    put(&deep(127));
    assert!(session.get::<Value>("k").is_ok());
    for (text, as_value, is_kept) in [
        ("[18446744073709551615]", "[18446744073709551615]", true),
        ("[18446744073709551616]", "[1.8446744073709552e+19]", false),
        ("[-9223372036854775809]", "[-9.223372036854776e+18]", false),
        ("[1.10]", "[1.1]", false),
        ("[1, 2]", "[1, 2]", true),
    ] {
        assert_eq!(text == as_value, is_kept);
        put(text);
        session
            .update("k", |list: Option<Vec<Value>>| list.unwrap())
            .unwrap();
        assert_eq!(raw().get(), as_value);
        put(text);
        session
            .update("k", |list: Option<Vec<Box<RawValue>>>| list.unwrap())
            .unwrap();
        assert_eq!(raw().get(), text);
    }
}

/// Two integers beyond 64 bits may be one float.
#[test]
fn p8_set_data_sees_every_digit() {
    #[derive(Deserialize, Serialize)]
    struct Data {
        n: u128,
    }

    let session = Session::detached();
    let first = u128::from(u64::MAX) + 1;
    for n in [first, first + 1, u128::MAX] {
        session.set_data(&Data { n }).unwrap();
        assert_eq!(session.get("n").unwrap(), Some(n));
    }
}

#[test]
fn an_error_names_the_session_key_if_that_is_short_and_plain() {
    let session = Session::detached();
    let texts = |key: &str| {
        session.insert(key, "swordfish").unwrap();
        let errors = [
            session.get::<u8>(key).unwrap_err(),
            session.take::<u8>(key).unwrap_err(),
            session.modify(key, |n: &mut u8| *n += 1).unwrap_err(),
            session.update(key, |n: Option<u8>| n.unwrap()).unwrap_err(),
            session.insert(key, f64::NAN).unwrap_err(),
        ];
        errors.map(|error| {
            let text = format!("{error} {error:?}");
            assert_eq!(error.kind(), ErrorKind::Value);
            assert!(!text.contains("swordfish"), "{text}");
            error.to_string()
        })
    };
    let longest = "k".repeat(64);
    for (key, shown) in [
        ("user", "\"user\""),
        ("a b~", "\"a b~\""),
        ("q\"\\", "\"q\\\"\\\\\""),
        (&longest, &format!("\"{longest}\"")),
    ] {
        let [get, take, modify, update, insert] = texts(key);
        assert_eq!(get, format!("the session value {shown} is not a u8"));
        assert_eq!([&take, &modify, &update], [&get; 3]);
        let end = "cannot be written as JSON: it is a f64";
        assert_eq!(insert, format!("the session value {shown} {end}"));
    }
    for key in ["k\n", "é", "\u{1b}[31m", "\u{7f}", &"k".repeat(65)] {
        for text in texts(key) {
            assert!(
                text.starts_with("the session value is not a u8")
                    || text.starts_with("the session value cannot"),
                "{text}"
            );
        }
    }
}
