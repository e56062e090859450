//! Logging in: a new session replaces the sessions of the client's cookies.

use crate::error::{ErrorKind, Result};
use crate::keyed::backend::Backend;
use crate::keyed::end::{EndCause, EndProgress};
use crate::keyed::load::Opened;
use crate::keyed::save::{LAST_TIMEOUTS, STEPS_TIMEOUTS, Saved};
use crate::keyed::tombstone::Tombstone;
use crate::keyed::{Address, KeyedStorage};
use crate::session::Draft;
use crate::session::identity::Identity;

impl<B: Backend> KeyedStorage<B> {
    /// Stores a new session, and then ends the sessions of the client's cookies. In this order, a
    /// failure leaves the client with the session that it had. If one of them may have ended, the
    /// new session stays.
    pub(super) async fn log_in(&self, draft: &mut Draft) -> Result<Saved> {
        let (mut created, mut progress) = (None, EndProgress::default());
        let steps = Box::pin(async {
            let new = created.insert(self.create(draft, false).await?);
            self.replace_old(draft, &new.identity, &mut progress).await
        });
        let done = self.backend.bound(steps, STEPS_TIMEOUTS).await;
        let is_late = done.is_err();
        let Err(error) = done.and_then(|done| done) else {
            return match created {
                Some(created) => Ok(self.commit_new(draft, created)),
                None => Err(ErrorKind::Unavailable.into()),
            };
        };
        let Some(mut created) = created else {
            // If the creation itself failed, the next save goes on with it.
            if is_late {
                self.take_back_last(draft).await;
            }
            return Err(error);
        };
        if !progress.has_ended_one {
            let last = Box::pin(async {
                let has_ended = self.has_replaced(progress.in_doubt.as_ref()).await;
                if !has_ended {
                    self.take_back(draft).await;
                }
                has_ended
            });
            if !self.backend.bound(last, LAST_TIMEOUTS).await? {
                return Err(error);
            }
            // No time is left for the limit of sessions. The next login enforces it.
            created.listing = None;
        }
        self.log_not_ended(&error, "login");
        Ok(self.commit_new(draft, created))
    }

    /// Reads once to see whether a login's tombstone is where its write failed or was cut short.
    async fn has_replaced(&self, in_doubt: Option<&Address>) -> bool {
        let Some(address) = in_doubt else {
            return false;
        };
        let Ok(found) = self.backend.read(&address.key).await else {
            return false;
        };
        let opened = self.open(&found, self.config.unix_now());
        matches!(opened, Opened::Tombstone(Tombstone::Replaced))
    }

    /// Ends the sessions of the client's cookies in favour of a login.
    async fn replace_old(
        &self,
        draft: &Draft,
        new: &Identity,
        progress: &mut EndProgress,
    ) -> Result<()> {
        let cookies = draft.origin.cookies.iter();
        for cookie in cookies.filter(|it| *it != new && self.accepts(it)) {
            let end = self.end(cookie, None, EndCause::Login, false, progress);
            match end.await {
                Ok(_) => {}
                Err(error) if !progress.has_ended_one => return Err(error),
                Err(error) => self.log_not_ended(&error, "login"),
            }
        }
        Ok(())
    }
}
