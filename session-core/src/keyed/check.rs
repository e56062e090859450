//! Tries what sessions need, on keys of the storage's own.

use std::time::Duration;

use crate::error::Result;
use crate::keyed::KeyedStorage;
use crate::keyed::backend::{Backend, Found, OnlyIf, Outcome, Write};
use crate::session::identity::Identity;
use crate::users::User;

/// How long a trial stays in the store.
const TRIED: Duration = Duration::from_secs(60);

/// What a trial stores first, and what ends it. Without a codec, readers take both for an
/// ended session.
const CREATED: &str = "{ }";
const ENDED: &str = "{  }";

impl<B: Backend> KeyedStorage<B> {
    /// Tests that records can be created, read and ended, under a key like those of this storage's
    /// sessions. With an index of users it tries a key like that of an index, too.
    ///
    /// Call it when the application starts. It finds what would fail at a login or a logout: a
    /// store that is read-only or full, or a Redis user who has no right to a command or to the
    /// keys. The trials expire after a minute.
    ///
    /// ```
    /// use session_core::MemoryStorage;
    ///
    /// # async fn program() -> Result<(), session_core::Error> {
    /// let storage = MemoryStorage::default().with_user_index("user");
    /// storage.check().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) if the store cannot be reached,
    ///   refuses a step, or does not return what it has acknowledged.
    /// - [`ErrorKind::Settings`](crate::ErrorKind::Settings) if the key prefix is too long for the
    ///   cookie's name.
    pub async fn check(&self) -> Result<()> {
        self.prefix.check(self.config.cookie().name())?;
        let random = Identity::random()?;
        self.check_key(&self.address(&random).key).await?;
        if self.users.is_some() {
            let user = User::of(random.as_str())?;
            self.check_key(&self.index_address(&user).key).await?;
        }
        Ok(())
    }

    async fn check_key(&self, key: &str) -> Result<()> {
        // Not written as a tombstone, because a full store may drop a tombstone.
        let create = || Write::record(CREATED, Some(TRIED));
        match self.backend.write(key, create(), OnlyIf::Missing).await? {
            Outcome::Written(_) => {}
            // The connection repeated the write, as that of a Redis Cluster does.
            Outcome::Found(Found::Value(own)) if own.value() == CREATED => {}
            Outcome::Found(_) => return Err(Self::unavailable("the store holds a new key")),
        }
        let Found::Value(stored) = self.backend.read(key).await? else {
            return Err(Self::unavailable("the store lost what it has acknowledged"));
        };
        let end = Write::tombstone(ENDED, TRIED);
        let unchanged = OnlyIf::Unchanged(&stored);
        match self.backend.write(key, end, unchanged).await? {
            Outcome::Written(_) => {}
            Outcome::Found(Found::Value(own)) if own.value() == ENDED => {}
            Outcome::Found(_) => {
                return Err(Self::unavailable("the store lost what it has acknowledged"));
            }
        }
        match self.backend.write(key, create(), OnlyIf::Missing).await? {
            Outcome::Found(Found::Value(ended)) if ended.value() == ENDED => Ok(()),
            _ => Err(Self::unavailable("the store overwrote a key that it holds")),
        }
    }
}
