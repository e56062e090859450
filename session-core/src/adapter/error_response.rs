//! The response to a request whose session failed.

use http::{Response, StatusCode};

use crate::error::{Error, ErrorKind};

/// Writes the response to a request whose session failed.
///
/// [`DefaultErrorResponse`] is one, and so is every closure `Fn(&Error) -> Response<B>`.
pub trait ErrorResponse<B>: sealed::Sealed<B> {
    /// Returns the response for `error`.
    fn respond(&self, error: &Error) -> Response<B>;
}

mod sealed {
    use http::Response;

    use super::DefaultErrorResponse;
    use crate::error::Error;

    /// Keeps the trait's implementations in this crate.
    pub trait Sealed<B> {}

    impl<B: Default> Sealed<B> for DefaultErrorResponse {}
    impl<B, F: Fn(&Error) -> Response<B>> Sealed<B> for F {}
}

/// Responds with the error's [`status`] and the body's default, which is usually empty.
#[derive(Clone, Copy, Debug, Default)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a name for a value without state"
)]
pub struct DefaultErrorResponse;

impl<B: Default> ErrorResponse<B> for DefaultErrorResponse {
    fn respond(&self, error: &Error) -> Response<B> {
        let mut response = Response::new(B::default());
        *response.status_mut() = status(error);
        response
    }
}

impl<B, F: Fn(&Error) -> Response<B>> ErrorResponse<B> for F {
    fn respond(&self, error: &Error) -> Response<B> {
        self(error)
    }
}

/// Returns the HTTP status for an error.
///
/// 503 if a retry may succeed, 409 if another request ended the session, else 500.
pub fn status(error: &Error) -> StatusCode {
    match error.kind() {
        ErrorKind::Unavailable | ErrorKind::Contended => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Ended => StatusCode::CONFLICT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
