//! A proxy that adds TLS to a server that has none.

use std::net::Ipv4Addr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

/// Speaks TLS with its clients and passes what they say to a server on 127.0.0.1, until it is
/// dropped.
///
/// It offers HTTP/2 and HTTP/1 to every client, so a web server behind it has to understand both.
#[derive(Debug)]
pub struct TlsProxy {
    port: u16,
    certificate: String,
    accepting: AbortHandle,
}

impl TlsProxy {
    /// Starts one in front of the server on `port`, with a self-signed certificate.
    pub async fn start(port: u16, host: &str) -> Self {
        let (acceptor, certificate) = acceptor(host);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(connection(acceptor.clone(), client, port));
                while connections.try_join_next().is_some() {}
            }
        });
        Self {
            port: own,
            certificate,
            accepting: accepting.abort_handle(),
        }
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its certificate, in PEM (RFC 7468).
    pub fn certificate(&self) -> &str {
        &self.certificate
    }
}

impl Drop for TlsProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn acceptor(host: &str) -> (TlsAcceptor, String) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed([host.to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key.into())
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let pem = format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        STANDARD.encode(cert.der())
    );
    (TlsAcceptor::from(Arc::new(config)), pem)
}

/// Ends when either side does; a client that goes away or speaks no TLS is no failure.
async fn connection(acceptor: TlsAcceptor, client: TcpStream, port: u16) {
    let Ok(mut client) = acceptor.accept(client).await else {
        return;
    };
    if let Ok(mut server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
        let _ = copy_bidirectional(&mut client, &mut server).await;
    }
}
