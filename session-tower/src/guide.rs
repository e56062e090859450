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
