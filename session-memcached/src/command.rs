use std::io;

use memcache_async::ascii::Protocol;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::exchange::{Exchange, Expected};

/// What memcached is asked to do with one key. All of it is acknowledged.
#[derive(Clone, Copy)]
pub(crate) enum Command<'a> {
    /// `gets`
    Get,
    /// `add`
    Add { value: &'a [u8], exptime: u32 },
    /// `cas`
    CompareAndSwap {
        value: &'a [u8],
        exptime: u32,
        unique: u64,
    },
    /// `delete`, which memcache-async does not wait for, and `gets`, whose answer says that the server
    /// has carried out both.
    Delete,
}

/// What it said.
pub(crate) enum Answer {
    Stored,
    /// Nothing is stored under the key.
    Missing,
    /// `add` found something, or `cas` something else.
    Exists,
    Value {
        value: Vec<u8>,
        unique: u64,
    },
}

/// Asks on `stream`, and waits for the whole answer. After an error the stream is in a state that
/// nobody knows, after `Ok` it is ready for the next command.
pub(crate) async fn ask<S>(stream: &mut S, key: &str, command: Command<'_>) -> io::Result<Answer>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let expected = match command {
        Command::Get | Command::Delete => Expected::Value(key),
        Command::Add { .. } => Expected::Line(&["STORED", "NOT_STORED"]),
        Command::CompareAndSwap { .. } => Expected::Line(&["STORED", "EXISTS", NOT_FOUND]),
    };
    let mut exchange = Exchange::new(stream, expected);
    let mut protocol = Protocol::new(&mut exchange);
    let answer = match command {
        Command::Get => get(&mut protocol, key).await,
        Command::Delete => {
            protocol.delete(key).await?;
            get(&mut protocol, key).await
        }
        Command::Add { value, exptime } => match protocol.add(key, value, exptime).await {
            Ok(()) => Ok(Answer::Stored),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Answer::Exists),
            Err(error) => Err(error),
        },
        Command::CompareAndSwap {
            value,
            exptime,
            unique,
        } => match protocol.cas(key, value, unique, exptime).await {
            Ok(true) => Ok(Answer::Stored),
            Ok(false) => Ok(Answer::Exists),
            Err(error) if is_not_found(&error) => Ok(Answer::Missing),
            Err(error) => Err(error),
        },
    }?;
    if !exchange.is_complete() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(match answer {
        // Another program's: not a session, and left alone, as no compare-and-swap meets 0.
        Answer::Value { .. } if exchange.is_foreign() => Answer::Value {
            value: Vec::new(),
            unique: 0,
        },
        answer => answer,
    })
}

async fn get<S>(protocol: &mut Protocol<S>, key: &str) -> io::Result<Answer>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match protocol.gets_cas(key).await {
        Ok((_, 0)) => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "memcached runs with -C, without the cas that sessions need",
        )),
        Ok((value, unique)) => Ok(Answer::Value { value, unique }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Answer::Missing),
        Err(error) => Err(error),
    }
}

const NOT_FOUND: &str = "NOT_FOUND";

/// memcache-async 0.10 looks for `NOT FOUND`, and hands on what memcached really says as an error of
/// no particular kind.
fn is_not_found(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error
            .get_ref()
            .is_some_and(|cause| cause.to_string().trim_end() == NOT_FOUND)
}
