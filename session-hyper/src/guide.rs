// Each page is a Markdown file that works here and in the repository. Its links go by name. The end
// of the page says where a name leads in the repository. In rustdoc the definitions of
// `rustdoc-links.txt` come first, and the first definition counts. Links to pages of the other
// crate are relative, so those of the index, one folder higher, are in a file of their own.
// On docs.rs each crate has a site of its own, so these links are absolute there.
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
