// Each page is a Markdown file that works here and in the repository. Its links go by name. The end
// of the page says where a name leads in the repository. In rustdoc the definitions of
// `rustdoc-links.txt` come first, and the first definition counts. Links to pages of the other
// crate are relative, so those of the index, one folder higher, are in a file of their own.
#![doc = include_str!("guide/rustdoc-links-of-index.txt")]
#![doc = include_str!("guide/rustdoc-links.txt")]
#![doc = include_str!("guide/README.md")]

#[doc = include_str!("guide/rustdoc-links.txt")]
#[doc = include_str!("guide/axum.md")]
pub mod axum {}

#[doc = include_str!("guide/rustdoc-links.txt")]
#[doc = include_str!("guide/websockets.md")]
pub mod websockets {}

#[doc = include_str!("guide/rustdoc-links.txt")]
#[doc = include_str!("guide/testing.md")]
pub mod testing {}

#[doc = include_str!("guide/rustdoc-links.txt")]
#[doc = include_str!("guide/from-tower-sessions.md")]
pub mod from_tower_sessions {}
