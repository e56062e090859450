//! Sessions as arguments of axum handlers, and session errors as responses.
//!
//! These are here because only this crate may implement axum's traits for its types.

use std::convert::Infallible;

use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use axum_core::response::{IntoResponse, Response};
use http::request::Parts;

use crate::adapter::error_response::status;
use crate::adapter::request::{RequestSession as _, has_context};
use crate::adapter::sessions::Sessions;
use crate::error::{Error, Result};
use crate::session::Session;

/// Loads the request's session, as [`RequestSession::session`](crate::RequestSession::session)
/// does.
///
/// Extractors, middleware and the handler of one request get the same session.
impl<S: Sync> FromRequestParts<S> for Session {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        parts.session().await
    }
}

/// Returns `None` if the request did not pass a session layer.
impl<S: Sync> OptionalFromRequestParts<S> for Session {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>> {
        if has_context(parts) {
            parts.session().await.map(Some)
        } else {
            Ok(None)
        }
    }
}

/// Loads nothing and cannot fail.
impl<S: Sync> FromRequestParts<S> for Sessions {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(parts))
    }
}

/// Makes an empty response with the error's [`status`] and the error in its extensions.
///
/// The session layer finds it there. It drops the changes, logs the error once, and lets `on_error`
/// write the response.
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let mut response = status(&self).into_response();
        response.extensions_mut().insert(self);
        response
    }
}
