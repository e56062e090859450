// Each page is Markdown that works in the repository and in rustdoc. Links have names. The end of
// the page defines them for the repository. `rustdoc-links.txt` defines them for rustdoc. It is
// included first, and the first definition wins. Links to the other crate are relative, so the
// index, one folder higher, needs its own file. docs.rs has one site for each crate, so
// `docs-rs-links.txt` has absolute links, and comes before all others there.
#![cfg_attr(docsrs, doc = include_str!("guide/docs-rs-links.txt"))]
#![doc = include_str!("guide/rustdoc-links-of-index.txt")]
#![doc = include_str!("guide/rustdoc-links.txt")]
#![doc = include_str!("guide/README.md")]

#[cfg_attr(docsrs, doc = include_str!("guide/docs-rs-links.txt"))]
#[doc = include_str!("guide/rustdoc-links.txt")]
#[doc = include_str!("guide/choosing.md")]
pub mod choosing {}

#[cfg_attr(docsrs, doc = include_str!("guide/docs-rs-links.txt"))]
#[doc = include_str!("guide/rustdoc-links.txt")]
#[doc = include_str!("guide/hyper.md")]
pub mod hyper {}

#[cfg_attr(docsrs, doc = include_str!("guide/docs-rs-links.txt"))]
#[doc = include_str!("guide/rustdoc-links.txt")]
#[doc = include_str!("guide/typed-sessions.md")]
pub mod typed_sessions {}

#[cfg_attr(docsrs, doc = include_str!("guide/docs-rs-links.txt"))]
#[doc = include_str!("guide/rustdoc-links.txt")]
#[doc = include_str!("guide/sessions-of-a-user.md")]
pub mod sessions_of_a_user {}

#[cfg_attr(docsrs, doc = include_str!("guide/docs-rs-links.txt"))]
#[doc = include_str!("guide/rustdoc-links.txt")]
#[doc = include_str!("guide/migrating.md")]
pub mod migrating {}

#[cfg_attr(docsrs, doc = include_str!("guide/docs-rs-links.txt"))]
#[doc = include_str!("guide/rustdoc-links.txt")]
#[doc = include_str!("guide/deploying.md")]
pub mod deploying {}

#[cfg_attr(docsrs, doc = include_str!("guide/docs-rs-links.txt"))]
#[doc = include_str!("guide/rustdoc-links.txt")]
#[doc = include_str!("guide/operating.md")]
pub mod operating {}

#[cfg_attr(docsrs, doc = include_str!("guide/docs-rs-links.txt"))]
#[doc = include_str!("guide/rustdoc-links.txt")]
#[doc = include_str!("guide/threats.md")]
pub mod threats {}

#[cfg_attr(docsrs, doc = include_str!("guide/docs-rs-links.txt"))]
#[doc = include_str!("guide/rustdoc-links.txt")]
#[doc = include_str!("guide/known-issues.md")]
pub mod known_issues {}

#[cfg_attr(docsrs, doc = include_str!("guide/docs-rs-links.txt"))]
#[doc = include_str!("guide/rustdoc-links.txt")]
#[doc = include_str!("guide/backend.md")]
pub mod backend {}

#[cfg_attr(docsrs, doc = include_str!("guide/docs-rs-links.txt"))]
#[doc = include_str!("guide/rustdoc-links.txt")]
#[doc = include_str!("guide/adapter.md")]
pub mod adapter {}
