//! A server that responds as another version of Redis does.
//!
//! The suites of Debian that CI uses have no Redis 6, no Redis 8.4 and no Valkey 9. This server
//! stands in front of a real one, gives it the commands that it knows, and refuses or rewrites the
//! others as that version would.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use redis::aio::{ConnectionLike as _, MultiplexedConnection};
use redis::{Cmd, Value};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::redis::RedisServer;

/// A version, by what it knows of compare-and-set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "tests name them all")]
pub enum Dialect {
    /// Redis 6.2: `NX` and `GET` do not go together, and the error of a script's command is
    /// wrapped.
    Redis6,
    /// Redis 7.0: no comparison but by a script.
    Redis7,
    /// Valkey 8.1: `SET .. IFEQ`.
    Valkey81,
    /// Redis 8.4: `SET .. IFEQ` and `DELEX`.
    Redis84,
    /// Valkey 9.0: `SET .. IFEQ` and `DELIFEQ`.
    Valkey9,
}

/// The server.
#[derive(Debug)]
pub struct RedisDialect {
    port: u16,
    shared: Arc<Mutex<Shared>>,
    /// Ends with the server.
    _tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    dialect: fn(&[u8]) -> Dialect,
    has_scripts: bool,
    nil_if_unequal: bool,
    commands: Vec<String>,
}

/// What `SET key new IFEQ old GET [EX ttl]` does, for a server that does not know it.
///
/// With the first line a server without memory refuses it before it compares, like the command.
const SET_IF_EQUAL: &str = "\
#!lua
local value = redis.call('GET', KEYS[1])
if value == ARGV[2] then
  if ARGV[3] then
    redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[3])
  else
    redis.call('SET', KEYS[1], ARGV[1])
  end
end
return value
";

/// What `DELEX key IFEQ old` and `DELIFEQ key old` do.
const DELETE_IF_EQUAL: &str = "\
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
";

impl RedisDialect {
    /// Starts one in front of `server`.
    pub async fn start(server: &RedisServer, dialect: Dialect) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Mutex::new(Shared {
            dialect: always(dialect),
            has_scripts: true,
            nil_if_unequal: false,
            commands: Vec::new(),
        }));
        let (of_tasks, connection) = (shared.clone(), server.connection().await);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut clients = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                clients.spawn(serve(stream, connection.clone(), of_tasks.clone()));
            }
        });
        Self {
            port,
            shared,
            _tasks: tasks,
        }
    }

    /// `redis://127.0.0.1:PORT/`
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// Responds as another version from now on, as after a failover.
    pub fn become_another(&self, dialect: Dialect) {
        self.shared.lock().unwrap().dialect = always(dialect);
    }

    /// Chooses the version by the key of a command, as in a cluster of several versions.
    pub fn by_key(&self, dialect: fn(&[u8]) -> Dialect) {
        self.shared.lock().unwrap().dialect = dialect;
    }

    /// Refuses scripts, as to a user without the right.
    pub fn without_scripts(&self) {
        self.shared.lock().unwrap().has_scripts = false;
    }

    /// Responds with nil where `SET .. IFEQ .. GET` did not store.
    pub fn nil_if_unequal(&self) {
        self.shared.lock().unwrap().nil_if_unequal = true;
    }

    /// Returns the names of the commands since the last call.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.lock().unwrap().commands)
    }
}

fn always(dialect: Dialect) -> fn(&[u8]) -> Dialect {
    match dialect {
        Dialect::Redis6 => |_| Dialect::Redis6,
        Dialect::Redis7 => |_| Dialect::Redis7,
        Dialect::Valkey81 => |_| Dialect::Valkey81,
        Dialect::Redis84 => |_| Dialect::Redis84,
        Dialect::Valkey9 => |_| Dialect::Valkey9,
    }
}

async fn serve(stream: TcpStream, server: MultiplexedConnection, shared: Arc<Mutex<Shared>>) {
    let _ = stream.set_nodelay(true);
    let mut stream = BufReader::new(stream);
    while let Some(command) = read_command(&mut stream).await {
        let response = respond(&command, server.clone(), &shared).await;
        let mut bytes = Vec::new();
        encode(&response, &mut bytes);
        if stream.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

/// Reads an array of bulk strings.
async fn read_command(stream: &mut BufReader<TcpStream>) -> Option<Vec<Vec<u8>>> {
    let count = read_number(stream, '*').await?;
    let mut words = Vec::new();
    for _ in 0..count {
        let mut word = vec![0; read_number(stream, '$').await? + 2];
        stream.read_exact(&mut word).await.ok()?;
        word.truncate(word.len() - 2);
        words.push(word);
    }
    Some(words)
}

async fn read_number(stream: &mut BufReader<TcpStream>, sign: char) -> Option<usize> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    line.trim_end().strip_prefix(sign)?.parse().ok()
}

async fn respond(
    command: &[Vec<u8>],
    mut server: MultiplexedConnection,
    shared: &Mutex<Shared>,
) -> Value {
    let name = String::from_utf8_lossy(&command[0]).to_ascii_uppercase();
    let has = |option: &str| command.iter().skip(3).any(|word| word == option.as_bytes());
    let is_script = name.starts_with("EVAL");
    let key = command.get(if is_script { 3 } else { 1 });
    let (dialect, has_scripts, nil_if_unequal) = {
        let mut shared = shared.lock().unwrap();
        shared.commands.push(name.clone());
        let dialect = (shared.dialect)(key.map_or(b"", |key| key));
        (dialect, shared.has_scripts, shared.nil_if_unequal)
    };
    let has_delete = match &*name {
        "DELEX" => dialect == Dialect::Redis84,
        "DELIFEQ" => dialect == Dialect::Valkey9,
        _ => false,
    };
    let mut sent = Cmd::new();
    match &*name {
        "SET" if has("IFEQ") && matches!(dialect, Dialect::Redis6 | Dialect::Redis7) => {
            return error("ERR syntax error");
        }
        "SET" if has("NX") && has("GET") && dialect == Dialect::Redis6 => {
            return error("ERR syntax error");
        }
        "SET" if has("IFEQ") => {
            sent.arg("EVAL").arg(SET_IF_EQUAL).arg(1);
            sent.arg(&command[1]).arg(&command[2]).arg(&command[4]);
            if let Some(ttl) = command.get(7) {
                sent.arg(ttl);
            }
        }
        "DELEX" | "DELIFEQ" if has_delete => {
            sent.arg("EVAL").arg(DELETE_IF_EQUAL).arg(1);
            sent.arg(&command[1]).arg(command.last().unwrap());
        }
        "DELEX" | "DELIFEQ" => return error(&format!("ERR unknown command '{name}', with args")),
        _ if is_script && !has_scripts => {
            let name = name.to_ascii_lowercase();
            let refused = format!("NOPERM User x has no permissions to run the '{name}' command");
            return error(&refused);
        }
        _ => {
            sent.arg(command);
        }
    }
    let response = server.req_packed_command(&sent).await.unwrap();
    match response {
        Value::ServerError(of_script) if is_script && dialect == Dialect::Redis6 => {
            let (code, detail) = (of_script.code(), of_script.details().unwrap_or_default());
            if code == "NOSCRIPT" {
                return error(&format!("{code} {detail}"));
            }
            let hash = "0123456789abcdef0123456789abcdef01234567";
            error(&format!(
                "ERR Error running script (call to f_{hash}): @user_script:9: -{code} {detail}"
            ))
        }
        Value::BulkString(value) if nil_if_unequal && has("IFEQ") && value != command[4] => {
            Value::Nil
        }
        response => response,
    }
}

fn error(line: &str) -> Value {
    redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap()
}

fn encode(value: &Value, bytes: &mut Vec<u8>) {
    match value {
        Value::Nil => bytes.extend(b"$-1\r\n"),
        Value::Int(number) => bytes.extend(format!(":{number}\r\n").as_bytes()),
        Value::BulkString(text) => {
            bytes.extend(format!("${}\r\n", text.len()).as_bytes());
            bytes.extend(text);
            bytes.extend(b"\r\n");
        }
        Value::Okay => bytes.extend(b"+OK\r\n"),
        Value::SimpleString(text) => bytes.extend(format!("+{text}\r\n").as_bytes()),
        Value::ServerError(error) => {
            let (code, detail) = (error.code(), error.details().unwrap_or_default());
            bytes.extend(format!("-{code} {detail}\r\n").as_bytes());
        }
        other => panic!("no command of sessions has such a response: {other:?}"),
    }
}
