//! The macro behind `MemoryStorage`, `RedisStorage` and `MemcachedStorage`.

/// Gives a newtype around a [`KeyedStorage`](crate::KeyedStorage) the methods of that type and
/// implements [`Storage`](crate::Storage) for it, so that the docs of the newtype show them.
///
/// ```
/// use session_core::{KeyedStorage, MemoryBackend};
///
/// /// Sessions in my store.
/// #[derive(Debug)]
/// pub struct MyStorage(KeyedStorage<MemoryBackend>);
///
/// session_core::keyed_storage!(MyStorage, MemoryBackend);
///
/// let storage = MyStorage::new(MemoryBackend::new()).hash_identities(true);
/// ```
///
/// A generic newtype names its parameters last:
/// `keyed_storage!(MyStorage<C>, MyBackend<C>, [C: Bound])`.
#[macro_export]
macro_rules! keyed_storage {
    ($storage:ty, $backend:ty $(, [$($generics:tt)*])?) => {
        impl$(<$($generics)*>)? $storage {
            /// Keeps sessions in `backend`, with the default cookie settings.
            #[must_use]
            pub fn new(backend: $backend) -> Self {
                Self($crate::KeyedStorage::new(backend))
            }

            /// Uses these cookie settings in place of the default ones.
            #[must_use]
            pub fn with_cookie(self, cookie: $crate::CookieSettings) -> Self {
                Self(self.0.with_cookie(cookie))
            }

            /// Stores records through `codec` in place of plain JSON.
            #[must_use]
            pub fn with_codec(self, codec: impl $crate::Codec) -> Self {
                Self(self.0.with_codec(codec))
            }

            /// Takes the time from `clock` in place of the operating system.
            #[must_use]
            pub fn with_clock(self, clock: impl $crate::Clock) -> Self {
                Self(self.0.with_clock(clock))
            }

            /// Draws identities with `factory` in place of `Identity::random`. See
            /// `KeyedStorage::with_key_factory` for what an identity must be.
            #[must_use]
            pub fn with_key_factory(
                self,
                factory: impl Fn() -> $crate::Result<$crate::Identity> + Send + Sync + 'static,
            ) -> Self {
                Self(self.0.with_key_factory(factory))
            }

            /// Sets whether keys contain the SHA-256 of the identity in place of the identity.
            ///
            /// A reader of the store then cannot log in with its content. A Python service cannot
            /// share such a store. Default: false.
            #[must_use]
            pub fn hash_identities(self, hash: bool) -> Self {
                Self(self.0.hash_identities(hash))
            }

            /// Begins every key in the store with `prefix`, such as `shop:`, so that applications
            /// can share a store. A Python service cannot share the sessions. Call it after
            /// `with_cookie`. Default: none. See `KeyedStorage::with_key_prefix`.
            ///
            /// # Errors
            /// `ErrorKind::Settings` if `prefix` is longer than 100 bytes, is longer than 121 bytes
            /// together with the cookie's name, or holds anything but printable ASCII without
            /// spaces and `@*?[]\`.
            pub fn with_key_prefix(self, prefix: &str) -> $crate::Result<Self> {
                Ok(Self(self.0.with_key_prefix(prefix)?))
            }

            /// Keeps an index of the sessions of each user. `index` is the session key whose value
            /// identifies the user, or a `UserIndex` with a limit. See
            /// `KeyedStorage::with_user_index`.
            #[must_use]
            pub fn with_user_index(self, index: impl Into<$crate::UserIndex>) -> Self {
                Self(self.0.with_user_index(index))
            }

            /// Tests that records can be created, read and ended, on keys like those of this
            /// storage. See `KeyedStorage::check`.
            ///
            /// # Errors
            ///
            /// `ErrorKind::Unavailable` if the store cannot be reached, refuses a step, or does not
            /// return what it has acknowledged.
            pub async fn check(&self) -> $crate::Result<()> {
                self.0.check().await
            }

            /// Borrows the backend.
            pub fn backend(&self) -> &$backend {
                self.0.backend()
            }
        }

        impl$(<$($generics)*>)? $crate::Storage for $storage {
            fn config(&self) -> &$crate::SessionConfig {
                $crate::Storage::config(&self.0)
            }

            fn load<'a, 'b, 'c, 'f>(
                &'a self,
                cookies: &'b [&'c str],
            ) -> ::core::pin::Pin<
                ::std::boxed::Box<
                    dyn ::core::future::Future<Output = $crate::Result<$crate::Session>>
                        + ::core::marker::Send
                        + 'f,
                >,
            >
            where
                'a: 'f,
                'b: 'f,
                'c: 'f,
                Self: 'f,
            {
                $crate::Storage::load(&self.0, cookies)
            }

            fn save<'a, 'b, 'f>(
                &'a self,
                session: &'b $crate::Session,
            ) -> ::core::pin::Pin<
                ::std::boxed::Box<
                    dyn ::core::future::Future<Output = $crate::Result<$crate::CookieChange>>
                        + ::core::marker::Send
                        + 'f,
                >,
            >
            where
                'a: 'f,
                'b: 'f,
                Self: 'f,
            {
                $crate::Storage::save(&self.0, session)
            }

            fn users(&self) -> ::core::option::Option<&dyn $crate::Users> {
                $crate::Storage::users(&self.0)
            }
        }
    };
}
