// Each page is a Markdown file that works here and in the repository. Its links go by name. The end
// of the page says where a name leads in the repository. In rustdoc the definitions of
// `rustdoc-links.txt` come first, and the first definition counts. Links to pages of the other
// crate are relative, so those of the index, one folder higher, are in a file of their own.
#![doc = include_str!("guide/rustdoc-links-of-index.txt")]
#![doc = include_str!("guide/rustdoc-links.txt")]
#![doc = include_str!("guide/README.md")]

#[doc = include_str!("guide/rustdoc-links.txt")]
#[doc = include_str!("guide/choosing.md")]
pub mod choosing {}

#[doc = include_str!("guide/rustdoc-links.txt")]
#[doc = include_str!("guide/hyper.md")]
pub mod hyper {}

#[doc = include_str!("guide/rustdoc-links.txt")]
#[doc = include_str!("guide/typed-sessions.md")]
pub mod typed_sessions {}

#[doc = include_str!("guide/rustdoc-links.txt")]
#[doc = include_str!("guide/sessions-of-a-user.md")]
pub mod sessions_of_a_user {}

#[doc = include_str!("guide/rustdoc-links.txt")]
#[doc = include_str!("guide/migrating.md")]
pub mod migrating {}

#[doc = include_str!("guide/rustdoc-links.txt")]
#[doc = include_str!("guide/deploying.md")]
pub mod deploying {}

#[doc = include_str!("guide/rustdoc-links.txt")]
#[doc = include_str!("guide/operating.md")]
pub mod operating {}

#[doc = include_str!("guide/rustdoc-links.txt")]
#[doc = include_str!("guide/threats.md")]
pub mod threats {}

#[doc = include_str!("guide/rustdoc-links.txt")]
#[doc = include_str!("guide/known-issues.md")]
pub mod known_issues {}

#[doc = include_str!("guide/rustdoc-links.txt")]
#[doc = include_str!("guide/backend.md")]
pub mod backend {}

#[doc = include_str!("guide/rustdoc-links.txt")]
#[doc = include_str!("guide/adapter.md")]
pub mod adapter {}
