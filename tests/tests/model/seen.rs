//! Counters of what was met on the way.

/// Defines the counters of what was met on the way.
macro_rules! seen {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// What the sequences have met. A counter that stays 0 means that the test shows nothing
        /// about it.
        #[derive(Clone, Copy, Debug, Default)]
        pub(crate) struct Seen {
            $($(#[$doc])* pub(crate) $name: usize,)+
        }

        impl Seen {
            pub(crate) fn with(mut self, more: &Self) -> Self {
                $(self.$name += more.$name;)+
                self
            }

            /// Checks that no counter is 0.
            pub(crate) fn check(&self) {
                let all = [$(self.$name),+];
                assert!(!all.contains(&0), "these sequences show nothing: {self:?}");
            }
        }
    };
}
pub(crate) use seen;
