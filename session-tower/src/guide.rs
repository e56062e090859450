//! Pages for users of axum.
//!
//! - [`next_steps`]: login and logout, guards, flash messages, error pages, websockets.
//! - [`testing`]: tests of handlers.
//! - [`from_tower_sessions`]: call by call, and how to move.
//!
//! The pages on choosing a storage, moving from aiohttp_session, deploying, operating and threats are
//! in `session_hyper::guide`. They hold for both adapters.

// Each page is a Markdown file that works here and in the repository. In rustdoc the definitions of
// `rustdoc-links.txt` come first, and the first definition of a link counts.
#[doc = include_str!("guide/rustdoc-links.txt")]
#[doc = include_str!("guide/next-steps.md")]
pub mod next_steps {}

#[doc = include_str!("guide/rustdoc-links.txt")]
#[doc = include_str!("guide/testing.md")]
pub mod testing {}

#[doc = include_str!("guide/rustdoc-links.txt")]
#[doc = include_str!("guide/from-tower-sessions.md")]
pub mod from_tower_sessions {}
