//! The program that the processes serve: sessions over a gate that a test works by HTTP.

use std::collections::VecDeque;
use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::{Map, Value, json};
use session_core::keyed::Backend;
use session_core::{
    CookieSettings, KeyedStorage, ManualClock, RequestSession, Session, UserSessions,
};
use session_memcached::MemcachedBackend;
use session_redis::RedisBackend;
use session_tests::ends::change;
use session_tests::server::Server;
use session_tests::stores::{Call, Gate, Hold, When};

/// The environment variable that makes a server of this program: the store's address.
pub(crate) const STORE: &str = "SESSION_RACES_STORE";

/// The environment variable that makes the server's cookies end with the browser's session. They
/// have a Max-Age otherwise, and a save sends them again.
pub(crate) const NO_MAX_AGE: &str = "SESSION_RACES_NO_MAX_AGE";

/// What is printed, with the address, once it serves.
pub(crate) const SERVING: &str = "serving on ";

/// A busy machine is no outage here.
const TIMEOUT: Duration = Duration::from_secs(20);

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "no test: the others start it, in processes of its own"]
async fn serve() {
    match std::env::var(STORE) {
        Err(_) => {}
        Ok(url) if url.starts_with("redis:") => {
            let backend = RedisBackend::connect(&url).await.unwrap();
            run(backend.with_timeout(TIMEOUT)).await;
        }
        Ok(address) => {
            let backend = MemcachedBackend::connect(&address).await.unwrap();
            run(backend.with_timeout(TIMEOUT)).await;
        }
    }
}

async fn run(backend: impl Backend) {
    let clock = ManualClock::at(SystemTime::now());
    let cookie = CookieSettings::builder("sid");
    let cookie = match std::env::var(NO_MAX_AGE) {
        Ok(_) => cookie,
        Err(_) => cookie.max_age(HOUR).rolling(true),
    };
    let storage = KeyedStorage::new(Gate::new(backend))
        .with_cookie(cookie.build().unwrap())
        .with_clock(clock.clone())
        .with_user_index("account");
    let app = Arc::new(App {
        storage: Arc::new(storage),
        clock,
        in_handlers: Mutex::default(),
        held: Mutex::default(),
    });
    let storage = app.storage.clone();
    let server = Server::start(storage, move |request| app.clone().handle(request)).await;
    println!("{SERVING}{}", server.address());
    std::future::pending::<()>().await;
}

struct App<B> {
    storage: Arc<KeyedStorage<Gate<B>>>,
    clock: ManualClock,
    /// For the next handlers that have loaded their session.
    in_handlers: Mutex<VecDeque<Hold>>,
    /// All that are held, or will be.
    held: Mutex<Vec<Hold>>,
}

type HandlerResult = Result<Response<Full<Bytes>>, Box<dyn Error + Send + Sync>>;

impl<B: Backend> App<B> {
    async fn handle(self: Arc<Self>, request: Request<Incoming>) -> HandlerResult {
        let path = request.uri().path().to_owned();
        let words: Vec<&str> = path[1..].split('/').collect();
        match words[..] {
            ["none"] => {}
            // The next saves, or the next so many handlers, are held.
            ["hold", "saving"] => self.hold(When::Before),
            ["hold", "saved"] => self.hold(When::After),
            ["hold", count] => {
                for _ in 0..count.parse()? {
                    let hold = Hold::default();
                    self.in_handlers.lock().unwrap().push_back(hold.clone());
                    self.held.lock().unwrap().push(hold);
                }
            }
            ["reached"] => {
                let held = self.held.lock().unwrap().clone();
                for hold in held {
                    hold.reached().await;
                }
            }
            ["open"] => {
                let held = std::mem::take(&mut *self.held.lock().unwrap());
                held.iter().for_each(Hold::open);
            }
            ["advance", seconds] => self.clock.advance(Duration::from_secs(seconds.parse()?)),
            _ => return self.session(&request, &words).await,
        }
        Ok(Response::default())
    }

    fn hold(&self, when: When) {
        let gate = self.storage.backend();
        let hold = gate.hold_any(&[Call::Update, Call::End], when);
        self.held.lock().unwrap().push(hold);
    }

    async fn session(&self, request: &Request<Incoming>, words: &[&str]) -> HandlerResult {
        let session = match words {
            ["login" | "login-as", ..] => request.new_session()?,
            _ => request.session().await?,
        };
        let hold = self.in_handlers.lock().unwrap().pop_front();
        if let Some(hold) = hold {
            hold.wait().await;
        }
        match *words {
            ["read"] => {}
            // A key that is set and removed again.
            ["pass", key] => {
                session.insert(key, true)?;
                session.remove(key)?;
            }
            ["login-as", account] => session.insert("account", account)?,
            ["list" | "end-others" | "end-all"] => {
                let sessions = UserSessions::of_session(&self.storage, &session)?;
                let sessions = sessions.ok_or("no user is logged in")?;
                let count = match words[0] {
                    "list" => sessions.list().await?.len(),
                    "end-others" => sessions.end_others().await?,
                    _ => sessions.end_all().await?,
                };
                return Ok(Response::new(count.to_string().into()));
            }
            _ if change(&session, words)? => {}
            _ => return Err(format!("no such path: {words:?}").into()),
        }
        Ok(Response::new(view(&session)?.into()))
    }
}

fn view(session: &Session) -> session_core::Result<String> {
    let mut data = Map::new();
    for key in session.keys() {
        let value: Option<Value> = session.get(&key)?;
        data.insert(key, value.unwrap_or_default());
    }
    Ok(json!({ "new": session.is_new(), "data": data }).to_string())
}
