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
#[doc = include_str!("guide/axum.md")]
pub mod axum {}

#[cfg_attr(docsrs, doc = include_str!("guide/docs-rs-links.txt"))]
#[doc = include_str!("guide/rustdoc-links.txt")]
#[doc = include_str!("guide/websockets.md")]
pub mod websockets {}

#[cfg_attr(docsrs, doc = include_str!("guide/docs-rs-links.txt"))]
#[doc = include_str!("guide/rustdoc-links.txt")]
#[doc = include_str!("guide/testing.md")]
pub mod testing {}

#[cfg_attr(docsrs, doc = include_str!("guide/docs-rs-links.txt"))]
#[doc = include_str!("guide/rustdoc-links.txt")]
#[doc = include_str!("guide/from-tower-sessions.md")]
pub mod from_tower_sessions {}
