//! What is in the store and is no session: a Redis value of another type, a memcached item with
//! flags. Python responds with 500. Here it is a new session, and nothing ever overwrites it.

use session_tests::real::RealStore;
use session_tests::vectors::{NAME, Vectors};
use session_tests::wire::kind_of;

use crate::load::is_new;
use crate::program::{Program, record, settings};

const ITEMS: [&str; 2] = ["a", "b"];

/// A record that would be a session, if it were not for the flags.
const RECORD: &str = "{\"created\": 1699999990, \"session\": {\"a\": 1}}";

fn put(store: &RealStore, key: &str) {
    match store.kind() {
        "redis" => store.put_list(key, &ITEMS),
        _ => store.put_with_flags(key, 7, RECORD.as_bytes()),
    }
}

fn is_still_there(store: &RealStore, key: &str) -> bool {
    match store.kind() {
        "redis" => store.list(key) == ITEMS,
        _ => store.flags_of(key) == "f7" && store.get(key).as_deref() == Some(RECORD.as_bytes()),
    }
}

#[tokio::test]
async fn p7_what_is_no_session_in_the_store_is_a_new_session_and_stays_as_it_is() {
    let vectors = Vectors::read();
    for (kind, name) in [
        ("redis", "key/redis_value_of_another_type"),
        ("memcached", "key/memcached_flags_not_zero"),
    ] {
        let mut all = vectors.storages[kind].load.iter();
        let vector = all.find(|vector| vector.name == name).unwrap();
        assert_eq!(vector.load.status, 500, "Python's");
        let header = vector.cookie_header();
        let key = String::from_utf8(header.clone()).unwrap().replace('=', "_");
        for (request, body, cookie) in [
            ("GET /get", "", "none"),
            ("POST /set", "{\"w\": 1}", "set"),
            ("POST /login", "{\"user\": 1}", "set"),
            ("POST /delete/a", "", "none"),
            ("GET /touch", "", "none"),
            ("POST /invalidate", "", "delete"),
            ("POST /new-untouched", "", "delete"),
        ] {
            let program = Program::new(kind, settings(vector.max_age).unwrap()).await;
            put(program.store(), &key);
            program.store().take_calls();
            if request == "GET /get" {
                is_new(&program.send(request, Some(&header), body).await).unwrap();
            }
            let reply = program.send(request, Some(&header), body).await;
            let calls = program.store().take_calls();
            let calls = calls.read + calls.create + calls.update + calls.end;
            assert!(calls <= 4, "{kind}: {request}: {calls} commands");
            assert_eq!(reply.status, 200, "{kind}: {request}");
            assert_eq!(
                kind_of(reply.set_cookie.as_ref()),
                cookie,
                "{kind}: {request}"
            );
            if let ("set", Some(set)) = (cookie, &reply.set_cookie) {
                assert_ne!(format!("{NAME}_{}", set.raw), key);
                assert_eq!(program.payload(set), record(body));
            }
            let writes = u64::from(cookie == "set");
            assert_eq!(program.writes(), writes, "{kind}: {request}");
            assert!(is_still_there(program.store(), &key), "{kind}: {request}");
        }
    }
}
