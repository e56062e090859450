//! The session cookie: its settings, the request's Cookie header, the response's Set-Cookie header.

pub(crate) mod builder;
pub(crate) mod change;
pub(crate) mod http_date;
mod quote;
pub(crate) mod request;
pub(crate) mod same_site;
mod set_cookie;
pub(crate) mod settings;
