//! Counters and durations for operators, through the `metrics` facade.
//!
//! Without the feature `metrics` everything here compiles to nothing.

#[cfg(feature = "metrics")]
mod facade;
#[cfg(not(feature = "metrics"))]
mod nothing;
#[cfg(feature = "metrics")]
mod series;

#[cfg(feature = "metrics")]
pub(crate) use facade::Metrics;
#[cfg(feature = "metrics")]
pub use facade::describe_metrics;
#[cfg(not(feature = "metrics"))]
pub(crate) use nothing::Metrics;

/// What is counted. Each is one time series for each cookie name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[cfg_attr(
    not(feature = "metrics"),
    expect(dead_code, reason = "some variants are constructed only by the facade")
)]
pub(crate) enum Counter {
    /// A load found a live session.
    LoadLoaded,
    /// The client sent no cookie.
    LoadNew,
    /// The client's cookie stands for no live session.
    LoadUnknown,
    LoadFailed,
    /// A save that ends no session succeeded.
    SaveSaved,
    /// Another request had ended the session: 409.
    SaveRefused,
    SaveFailed,
    /// A save that ends its session succeeded.
    EndEnded,
    EndRefused,
    EndFailed,
    /// A compare-and-swap found that another request had written.
    Conflict,
    /// An end repeated a call that had failed.
    Retry,
    /// A load found the tombstone of a logout.
    TombstoneOfLogout,
    TombstoneOfLogin,
    TombstoneOfRenewal,
    TombstoneOfRevocation,
    /// The handler responded with a server error, so its changes were dropped.
    Drop,
    /// A stored record was unreadable.
    Unreadable,
    /// The application ended a session of a user.
    RevokedByApplication,
    /// The limit of sessions per user ended one.
    RevokedByLimit,
}

/// What is timed.
#[cfg(feature = "metrics")]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Timing {
    Load,
    Save,
    /// A save waited for other saves of its session.
    Wait,
}

/// What a save is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum SaveKind {
    Change,
    End,
}
