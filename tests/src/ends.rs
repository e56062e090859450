//! The tables of a logout's races: what ends a session, and what must not bring it back. The races
//! run in memory, where a gate holds single calls, and between processes on real stores.

use session_core::{Result, Session};

/// What ends the session under its identity.
pub const ENDS: [&str; 5] = ["/logout", "/restart", "/renew", "/clear", "/login"];

/// What leaves no session under its identity. `/empty` does not end the session: the cookie and an
/// empty record stay.
pub const ENDS_AND_EMPTY: [&str; 6] = [
    "/logout", "/restart", "/renew", "/clear", "/login", "/empty",
];

/// What changes the session and must not bring it back.
pub const CHANGES: [&str; 5] = ["/set/slow/1", "/remove/k", "/touch", "/renew", "/empty"];

/// Where a slower request stands while another one ends its session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "tests match on both")]
pub enum At {
    /// It has loaded the session.
    Loaded,
    /// Before the call that is to save it. The store receives that call after the end's.
    Saving,
}

impl At {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Loaded, Self::Saving];
}

/// Returns the keys of the session that the client has after it ended one with the keys `k` and
/// `other`.
pub fn next_keys(end: &str) -> Option<Vec<String>> {
    let keys: &[&str] = match end {
        "/renew" => &["k", "other"],
        "/restart" => &["restarted"],
        "/login" => &["user"],
        _ => return None,
    };
    Some(keys.iter().map(ToString::to_string).collect())
}

/// Makes the change that a path with these `words` names. Returns false for another path.
///
/// # Errors
/// The session's error, if it refuses the change.
pub fn change(session: &Session, words: &[&str]) -> Result<bool> {
    match *words {
        ["set", key, value] => session.insert(key, value)?,
        ["remove", key] => session.remove(key).map(drop)?,
        ["touch"] => session.changed()?,
        ["renew"] => session.renew()?,
        ["logout"] => session.invalidate()?,
        ["restart"] => {
            session.invalidate()?;
            session.insert("restarted", true)?;
        }
        ["clear"] => session.clear()?,
        ["empty"] => {
            for key in session.keys() {
                session.remove(&key)?;
            }
        }
        ["login"] => session.insert("user", "alice")?,
        _ => return Ok(false),
    }
    Ok(true)
}
