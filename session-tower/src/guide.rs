//! Pages for users of axum.

#[doc = include_str!("guide/next-steps.md")]
pub mod next_steps {}

#[doc = include_str!("guide/testing.md")]
pub mod testing {}

#[doc = include_str!("guide/from-tower-sessions.md")]
pub mod from_tower_sessions {}
