//! Logging in: a new session replaces the sessions of the client's cookies.

use crate::error::{ErrorKind, Result};
use crate::keyed::KeyedStorage;
use crate::keyed::backend::Backend;
use crate::keyed::end::EndCause;
use crate::keyed::save::{STEPS_TIMEOUTS, Saved};
use crate::session::Draft;
use crate::session::identity::Identity;

impl<B: Backend> KeyedStorage<B> {
    /// Stores a new session, and then ends the sessions of the client's cookies. In this order, a
    /// failure leaves the client with the session that it had.
    pub(super) async fn log_in(&self, draft: &mut Draft) -> Result<Saved> {
        let (mut created, mut has_ended_one) = (None, false);
        let steps = Box::pin(async {
            let new = created.insert(self.create(draft, false).await?);
            self.replace_old(draft, &new.identity, &mut has_ended_one)
                .await
        });
        let done = self.backend.bound(steps, STEPS_TIMEOUTS).await;
        let is_late = done.is_err();
        match (created, done.and_then(|done| done)) {
            (Some(created), Ok(())) => Ok(self.commit_new(draft, created)),
            (Some(created), Err(error)) if has_ended_one => {
                // The client's old session may have ended, so failing now would leave it without a
                // session.
                self.log_not_ended(&error, "login");
                Ok(self.commit_new(draft, created))
            }
            (created, done) => {
                // If the creation itself failed, the next save goes on with it.
                if is_late || created.is_some() {
                    self.take_back_last(draft).await;
                }
                Err(done.err().unwrap_or_else(|| ErrorKind::Unavailable.into()))
            }
        }
    }

    /// Ends the sessions of the client's cookies in favour of a login.
    async fn replace_old(
        &self,
        draft: &Draft,
        new: &Identity,
        has_ended_one: &mut bool,
    ) -> Result<()> {
        let cookies = draft.origin.cookies.iter();
        for cookie in cookies.filter(|it| *it != new && self.accepts(it)) {
            let end = self.end(cookie, None, EndCause::Login, false, has_ended_one);
            match end.await {
                Ok(_) => {}
                Err(error) if !*has_ended_one => return Err(error),
                Err(error) => self.log_not_ended(&error, "login"),
            }
        }
        Ok(())
    }
}
