//! The SameSite attribute.

/// Which requests from other sites carry the cookie: the SameSite attribute (RFC 6265bis, section
/// 4.1.2.7).
///
/// [`CookieBuilder::same_site`](crate::CookieBuilder::same_site) sets it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "the RFC has these three")]
pub enum SameSite {
    /// No request from another site carries the cookie. A user who follows a link from another site
    /// arrives logged out.
    Strict,
    /// A request from another site carries the cookie only if it navigates to the page with a safe
    /// method, such as a followed link. A form that another site posts does not carry it.
    Lax,
    /// Every request carries the cookie. Browsers accept this only together with Secure.
    None,
}
