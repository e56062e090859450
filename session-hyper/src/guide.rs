// Each page is a Markdown file that works here and in the repository. Its links go by name. The end
// of the page says where a name leads in the repository. In rustdoc the definitions of
// `rustdoc-links.txt` come first, and the first definition counts.
#![doc = include_str!("guide/rustdoc-links.txt")]
#![doc = include_str!("guide/README.md")]

#[doc = include_str!("guide/rustdoc-links.txt")]
#[doc = include_str!("guide/choosing.md")]
pub mod choosing {}

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
#[doc = include_str!("guide/backend.md")]
pub mod backend {}

#[doc = include_str!("guide/rustdoc-links.txt")]
#[doc = include_str!("guide/adapter.md")]
pub mod adapter {}

#[doc = include_str!("guide/rustdoc-links.txt")]
#[doc = include_str!("guide/sessions-of-a-user.md")]
pub mod sessions_of_a_user {}
