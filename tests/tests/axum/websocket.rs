//! A websocket, whose session goes on after the response.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::get;
use session_tower::{Error, Session, SessionLayer, Storage as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::app::{Store, keys, store};

/// Counts the messages in the session, until somebody logs out.
async fn socket(
    upgrade: WebSocketUpgrade,
    session: Session,
    State(storage): State<Arc<Store>>,
) -> Result<Response, Error> {
    session.insert("opened", true)?;
    let identity = session.identity().expect("the client has a session");
    Ok(upgrade.on_upgrade(async move |mut socket: WebSocket| {
        let refused = session.insert("late", 1).unwrap_err();
        let said = format!("{:?}, {}", refused.kind(), session.keys().join(" "));
        socket.send(Message::text(said)).await.unwrap();
        while let Some(Ok(Message::Text(_))) = socket.recv().await {
            let session = storage.load(&[identity.as_str()]).await.unwrap();
            if session.is_new() {
                socket.send(Message::text("logged out")).await.unwrap();
                break;
            }
            let count = session.update("messages", |n: Option<u32>| n.unwrap_or(0) + 1);
            let said = format!("message {}", count.unwrap());
            storage.save(&session).await.unwrap();
            socket.send(Message::text(said)).await.unwrap();
        }
    }))
}

async fn log_out(session: Session) -> Result<(), Error> {
    session.invalidate()
}

/// A client of a websocket, as much of it as a test needs: messages shorter than 126 bytes.
struct Client(TcpStream);

impl Client {
    /// Returns the client, and the head of the response.
    async fn connect(server: std::net::SocketAddr, cookie: &str) -> (Self, String) {
        let mut stream = TcpStream::connect(server).await.unwrap();
        let head = format!(
            "GET /socket HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        (Self(stream), String::from_utf8(head).unwrap())
    }

    async fn say(&mut self, text: &str) {
        // Final, text; masked with zeros.
        let len = u8::try_from(text.len()).unwrap();
        let frame = [&[0x81, 0x80 | len, 0, 0, 0, 0], text.as_bytes()].concat();
        self.0.write_all(&frame).await.unwrap();
    }

    async fn hear(&mut self) -> String {
        assert_eq!(self.0.read_u8().await.unwrap(), 0x81, "a text");
        let len = self.0.read_u8().await.unwrap();
        let mut text = vec![0; len.into()];
        self.0.read_exact(&mut text).await.unwrap();
        String::from_utf8(text).unwrap()
    }
}

#[tokio::test]
async fn a_websocket_changes_its_session_through_the_storage_and_notices_a_logout() {
    let (storage, cookie) = store("sid").await;
    let app = Router::new()
        .route("/socket", get(socket))
        .route("/logout", get(log_out))
        .with_state(storage.clone())
        .layer(SessionLayer::new(storage.clone()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = app.clone();
    let server = tokio::spawn(async move { axum::serve(listener, served).await });

    let (mut client, head) = Client::connect(address, &cookie).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.contains("\r\nvary: Cookie\r\n"), "{head}");
    // What the handler changed before the response is saved. After it the session only reads.
    assert_eq!(client.hear().await, "Committed, k opened");
    assert_eq!(keys(&storage, &cookie).await.unwrap(), ["k", "opened"]);
    for count in 1..=2 {
        client.say("hello").await;
        assert_eq!(client.hear().await, format!("message {count}"));
    }
    let saved = keys(&storage, &cookie).await.unwrap();
    assert_eq!(saved, ["k", "opened", "messages"]);
    // Another request of the same client.
    assert_eq!(crate::app::get(&app, "/logout", &cookie).await.status, 200);
    client.say("hello").await;
    assert_eq!(client.hear().await, "logged out");
    server.abort();
}
