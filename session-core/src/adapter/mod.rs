//! What every server adapter shares.

pub(crate) mod context;
pub(crate) mod response;
