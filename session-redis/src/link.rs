//! What is known about the way to Redis, and the rules that follow from it.
//!
//! Nothing here connects, waits or reads a clock. [`Reconnecting`](crate::reconnect::Reconnecting)
//! does.
//!
//! A link is idle, connecting, up or down, and while it is up it may also be connecting. That is
//! why it consists of two parts, the connection in use and the latest attempt, and not of one
//! `enum`.

use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use redis::{RedisError, RedisResult};

/// A connection, and the number of the attempt that made it.
///
/// A newer connection has a higher number.
#[derive(Clone)]
pub(crate) struct Connected<C> {
    pub(crate) connection: C,
    pub(crate) generation: u64,
}

/// An attempt to connect. Everybody who waits for a clone gets the same result.
pub(crate) type Attempt<C> = Shared<BoxFuture<'static, RedisResult<Connected<C>>>>;

/// The connection in use and the latest attempt to make one.
pub(crate) struct Link<C> {
    /// `None` before the first connection, and after one was lost.
    in_use: Option<Connected<C>>,
    /// Whether the connection in use has responded to a command.
    has_responded: bool,
    /// The connection that this attempt made may be in use, or lost.
    latest: Option<Latest<C>>,
    /// When the oldest command was sent that was given up since the last response.
    silent_since: Option<Instant>,
}

struct Latest<C> {
    attempt: Attempt<C>,
    generation: u64,
    began: Instant,
    /// Whether the attempt before this one failed.
    follows_failure: bool,
}

/// What a call does next.
pub(crate) enum Step<C> {
    /// It sends its command on this connection.
    Send(Connected<C>),
    /// It waits for this attempt, or fails with its error.
    Wait(Attempt<C>),
    /// It begins another attempt.
    Connect,
}

/// After two failed attempts in a row, calls fail with the second error. This lasts so long,
/// counted from the begin of that attempt.
const FAILURE_HOLDS: Duration = Duration::from_millis(50);

/// An attempt that is older and has no result is abandoned: its runtime has stopped. This is longer
/// than an attempt may take.
const ABANDONED_AFTER: Duration = Duration::from_secs(6);

/// A connection that still works is replaced at most this often.
const MIN_REPLACE_INTERVAL: Duration = Duration::from_secs(1);

/// A connection without any response for longer than this is silent. A shorter time proves
/// nothing, because clients may have cancelled their requests.
const MAX_SILENCE: Duration = Duration::from_millis(200);

impl<C> Default for Link<C> {
    fn default() -> Self {
        Self {
            in_use: None,
            has_responded: false,
            latest: None,
            silent_since: None,
        }
    }
}

impl<C: Clone + Send + 'static> Link<C> {
    /// Returns the connection in use.
    pub(crate) fn in_use(&self) -> Option<&Connected<C>> {
        self.in_use.as_ref()
    }

    /// Returns what a call does now to get a connection.
    pub(crate) fn next_step(&self, now: Instant) -> Step<C> {
        if let Some(connected) = &self.in_use {
            return Step::Send(connected.clone());
        }
        match &self.latest {
            Some(latest) if latest.holds(now) => Step::Wait(latest.attempt.clone()),
            _ => Step::Connect,
        }
    }

    /// Returns the number of the next attempt. The first is 1.
    pub(crate) fn next_generation(&self) -> u64 {
        self.latest.as_ref().map_or(0, |latest| latest.generation) + 1
    }

    /// Records that an attempt begins. Its number is that of
    /// [`next_generation`](Self::next_generation).
    pub(crate) fn begin(&mut self, attempt: Attempt<C>, now: Instant) {
        let generation = self.next_generation();
        let follows_failure = self.latest.as_ref().is_some_and(Latest::has_failed);
        self.latest = Some(Latest {
            attempt,
            generation,
            began: now,
            follows_failure,
        });
    }

    /// Uses this connection from now on, unless a newer one is in use.
    pub(crate) fn connected(&mut self, connected: &Connected<C>) {
        let is_newer = |in_use: &Connected<C>| in_use.generation < connected.generation;
        if self.in_use.as_ref().is_none_or(is_newer) {
            self.in_use = Some(connected.clone());
            self.has_responded = false;
        }
    }

    /// Records that a connection has responded.
    pub(crate) fn responded(&mut self, generation: u64) {
        self.silent_since = None;
        self.has_responded |= self.is_in_use(generation);
    }

    /// Stops using a connection that has failed for good.
    ///
    /// If it has never responded, the attempt that made it counts as failed. Otherwise a server
    /// that accepts connections and closes them at once would get a new one for every call.
    pub(crate) fn lost(&mut self, generation: u64, error: &RedisError) {
        if !self.is_in_use(generation) {
            return;
        }
        self.in_use = None;
        if let Some(latest) = &mut self.latest
            && latest.generation == generation
            && !self.has_responded
        {
            latest.attempt = failed(error.clone());
        }
    }

    /// Records that a call was given up whose command was sent at `sent`. Returns whether the
    /// connection counts as silent.
    pub(crate) fn given_up(&mut self, sent: Instant, now: Instant) -> bool {
        // One call may be given up too soon to tell. Several after each other are not.
        let since = *self.silent_since.get_or_insert(sent);
        now.saturating_duration_since(since) > MAX_SILENCE
    }

    /// Returns whether it is time to replace a connection that is open and of no use.
    pub(crate) fn may_replace(&self, generation: u64, now: Instant) -> bool {
        self.is_in_use(generation)
            && self.latest.as_ref().is_none_or(|latest| {
                !latest.is_pending(now) && latest.age(now) > MIN_REPLACE_INTERVAL
            })
    }

    fn is_in_use(&self, generation: u64) -> bool {
        let in_use = self.in_use.as_ref();
        in_use.is_some_and(|in_use| in_use.generation == generation)
    }
}

impl<C: Clone> Latest<C> {
    /// Returns whether calls without a connection take the result of this attempt.
    fn holds(&self, now: Instant) -> bool {
        match self.attempt.peek() {
            None => self.is_pending(now),
            // Its connection was lost.
            Some(Ok(_)) => false,
            // The first failure may be that of a connection that was closed meanwhile.
            Some(Err(_)) => self.follows_failure && self.age(now) <= FAILURE_HOLDS,
        }
    }

    fn is_pending(&self, now: Instant) -> bool {
        self.attempt.peek().is_none() && self.age(now) <= ABANDONED_AFTER
    }

    fn has_failed(&self) -> bool {
        self.attempt.peek().is_some_and(Result::is_err)
    }

    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.began)
    }
}

/// Makes an attempt that has already failed.
fn failed<C: Clone + Send + 'static>(error: RedisError) -> Attempt<C> {
    let attempt = std::future::ready(Err(error)).boxed().shared();
    // `peek` shows the result only after the attempt was polled.
    let _ = attempt.clone().now_or_never();
    attempt
}

#[cfg(test)]
mod tests {
    use redis::ErrorKind;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A link to connections that are numbers, and the time, which stands still.
    struct Case {
        link: Link<u8>,
        now: Instant,
    }

    impl Case {
        fn new() -> Self {
            Self {
                link: Link::default(),
                now: Instant::now(),
            }
        }

        fn begins(&mut self, attempt: Attempt<u8>) {
            self.link.begin(attempt, self.now);
        }

        fn fails(&mut self) {
            self.begins(failed(error("refused")));
        }

        /// Connects, and returns the connection's generation.
        fn connects(&mut self) -> u64 {
            let made = Connected {
                connection: 7,
                generation: self.link.next_generation(),
            };
            let attempt = std::future::ready(Ok(made.clone())).boxed().shared();
            let _ = attempt.clone().now_or_never();
            self.begins(attempt);
            self.link.connected(&made);
            made.generation
        }

        fn step(&self) -> &'static str {
            match self.link.next_step(self.now) {
                Step::Send(_) => "send",
                Step::Wait(_) => "wait",
                Step::Connect => "connect",
            }
        }
    }

    fn error(what: &'static str) -> RedisError {
        (ErrorKind::Io, what).into()
    }

    fn pending() -> Attempt<u8> {
        std::future::pending().boxed().shared()
    }

    #[test]
    fn a_call_connects_then_waits_then_sends() {
        let mut case = Case::new();
        assert_eq!(case.step(), "connect");
        case.begins(pending());
        assert_eq!(case.step(), "wait");
        assert_eq!(case.connects(), 2);
        assert_eq!(case.step(), "send");
    }

    #[test]
    fn an_attempt_that_nothing_carries_on_is_not_waited_for() {
        let mut case = Case::new();
        case.begins(pending());
        case.now += ABANDONED_AFTER;
        assert_eq!(case.step(), "wait");
        case.now += MS;
        assert_eq!(case.step(), "connect");
    }

    #[test]
    fn the_second_failure_holds_for_a_while() {
        let mut case = Case::new();
        case.fails();
        assert_eq!(case.step(), "connect");
        case.fails();
        case.now += FAILURE_HOLDS;
        assert_eq!(case.step(), "wait");
        case.now += MS;
        assert_eq!(case.step(), "connect");
    }

    #[test]
    fn a_connection_that_never_responded_is_a_failed_attempt() {
        let mut case = Case::new();
        for (responses, step) in [(false, "connect"), (false, "wait"), (true, "connect")] {
            let generation = case.connects();
            if responses {
                case.link.responded(generation);
            }
            case.link.lost(generation, &error("closed"));
            assert_eq!(case.step(), step);
        }
    }

    #[test]
    fn only_the_connection_in_use_is_lost_or_replaced() {
        let mut case = Case::new();
        let old = case.connects();
        let new = case.connects();
        case.now += MIN_REPLACE_INTERVAL + MS;
        case.link.lost(old, &error("closed"));
        assert_eq!(case.step(), "send");
        assert!(!case.link.may_replace(old, case.now));
        assert!(case.link.may_replace(new, case.now));
    }

    #[test]
    fn an_old_attempt_does_not_replace_a_newer_connection() {
        let mut case = Case::new();
        case.begins(pending());
        let new = case.connects();
        let late = Connected {
            connection: 1,
            generation: 1,
        };
        case.link.connected(&late);
        assert_eq!(case.link.in_use().map(|it| it.generation), Some(new));
    }

    #[test]
    fn a_connection_is_replaced_once_a_second_and_by_one_attempt_at_a_time() {
        let mut case = Case::new();
        let generation = case.connects();
        case.now += MIN_REPLACE_INTERVAL;
        assert!(!case.link.may_replace(generation, case.now));
        case.now += MS;
        assert!(case.link.may_replace(generation, case.now));
        case.begins(pending());
        case.now += ABANDONED_AFTER;
        assert!(!case.link.may_replace(generation, case.now));
        case.now += MS;
        assert!(case.link.may_replace(generation, case.now));
        assert_eq!(case.step(), "send", "the old one stays in use");
    }

    #[test]
    fn silence_is_measured_since_the_last_response() {
        let mut case = Case::new();
        let generation = case.connects();
        let sent = case.now;
        assert!(!case.link.given_up(sent, sent + MAX_SILENCE));
        let later = sent + MAX_SILENCE + MS;
        assert!(case.link.given_up(later, later), "two short calls");
        case.link.responded(generation);
        assert!(!case.link.given_up(later, later));
    }
}
