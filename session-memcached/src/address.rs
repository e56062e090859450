use std::fmt;
#[cfg(unix)]
use std::path::PathBuf;

use session_core::{Error, ErrorKind, Result};

/// Where memcached listens.
#[derive(Clone, Eq, PartialEq)]
pub(crate) enum Address {
    /// `host:port`
    Tcp(String),
    #[cfg(unix)]
    Unix(PathBuf),
}

/// memcached's port, for an address without one.
const DEFAULT_PORT: u16 = 11211;

impl Address {
    /// Parses `host`, `host:port`, `[IPv6]:port` or `unix:/path`.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        #[cfg(unix)]
        if let Some(path) = text.strip_prefix("unix:")
            && path.starts_with('/')
        {
            return Ok(Self::Unix(path.into()));
        }
        let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, port)) => (
                host,
                port.strip_prefix(':').or(port.is_empty().then_some("")),
            ),
            None => match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, Some("")),
            },
        };
        let is_v6 = text.starts_with('[');
        let is_host =
            |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c) || (is_v6 && c == ':');
        let port = match port {
            Some("") if !text.ends_with(':') => Some(DEFAULT_PORT),
            port => port.and_then(|port| port.parse().ok()),
        };
        match port {
            Some(port) if !host.is_empty() && host.chars().all(is_host) => {
                Ok(Self::Tcp(if is_v6 {
                    format!("[{host}]:{port}")
                } else {
                    format!("{host}:{port}")
                }))
            }
            _ => Err(Error::with_message(
                ErrorKind::Settings,
                "an address of memcached is host, host:port, [IPv6]:port or unix:/path",
            )),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            #[cfg(unix)]
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let tcp = |text: &str| match Address::parse(text) {
            Ok(Address::Tcp(address)) => address,
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(tcp("localhost"), "localhost:11211");
        assert_eq!(tcp("10.0.0.1:2"), "10.0.0.1:2");
        assert_eq!(tcp("[::1]"), "[::1]:11211");
        assert_eq!(tcp("[::1]:5"), "[::1]:5");
        #[cfg(unix)]
        assert_eq!(
            Address::parse("unix:/run/m.sock").ok(),
            Some(Address::Unix("/run/m.sock".into()))
        );
        for bad in [
            "",
            ":1",
            "a:",
            "a:x",
            "a:70000",
            "::1",
            "[::1",
            "[::1]x",
            "[]:1",
            "memcached://a:1",
            "a b:1",
            "unix:relative",
        ] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }
}
