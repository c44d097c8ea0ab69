//! A stand-in for any HTTP service, on a real socket of this machine.
//!
//! What is answered is a [`Site`]'s to say; how, including badly, is done here. Std only: a thread per connection, HTTP/1.1
//! with keep-alive.

use serde_json::Value;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// One request as it came in.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    pub path: String,
    /// Header names in lower case.
    pub headers: HashMap<String, String>,
    /// `null` when it is no JSON.
    pub body: Value,
}

/// How a request is answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// Status, headers and body.
    Send(u16, Vec<(String, String)>, String),
    /// The same with status 200, after a while.
    Slow(Duration, String),
    /// Nothing is answered until the client leaves or the stub ends.
    Hang,
    /// Headers and half of the body, then nothing until the client leaves or the stub ends.
    HangInBody(String),
    /// The connection is closed without an answer.
    Drop,
    /// The connection is closed in the middle of the body.
    DropInBody(String),
}

impl Reply {
    /// Returns a good answer with this body.
    pub fn good(body: impl Into<String>) -> Self {
        Self::Send(200, Vec::new(), body.into())
    }

    /// Returns an error answer in OpenAI's form.
    pub fn status(code: u16, message: &str) -> Self {
        Self::Send(code, Vec::new(), serde_json::json!({"error": {"message": message}}).to_string())
    }
}

/// Says what is answered.
pub trait Site: Send + Sync + 'static {
    fn reply(&self, asked: &Asked) -> Reply;
}

#[derive(Default)]
struct State {
    busy: usize,
    busiest: usize,
    connections: Vec<TcpStream>,
    ending: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for at most `limit`, or until the stub ends.
    fn wait(&self, limit: Duration) {
        drop(
            self.changed
                .wait_timeout_while(self.state(), limit, |state| !state.ending)
                .unwrap_or_else(PoisonError::into_inner),
        );
    }
}

/// A running stub; ends when dropped.
pub struct StubHttp {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

impl StubHttp {
    /// Starts a service on a free port of the loopback interface.
    pub fn start(site: Arc<dyn Site>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a loopback port can be bound");
        let address = listener.local_addr().expect("a bound listener has an address");
        let shared = Arc::<Shared>::default();
        let accepting = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared, &site)
        });
        Self { address, shared, accepting: Some(accepting) }
    }

    /// Returns the address to configure as `base_url`.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Returns the largest number of requests that were in work at once.
    pub fn busiest(&self) -> usize {
        self.shared.state().busiest
    }

    /// Forgets how many that were.
    pub fn forget(&self) {
        self.shared.state().busiest = 0;
    }
}

impl Drop for StubHttp {
    fn drop(&mut self) {
        let connections = {
            let mut state = self.shared.state();
            state.ending = true;
            std::mem::take(&mut state.connections)
        };
        self.shared.changed.notify_all();
        for connection in connections {
            drop(connection.shutdown(Shutdown::Both));
        }
        // Wakes the accepting thread, which then sees that the stub ends.
        drop(TcpStream::connect(self.address));
        if let Some(accepting) = self.accepting.take() {
            drop(accepting.join());
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>, site: &Arc<dyn Site>) {
    for stream in listener.incoming().flatten() {
        {
            let mut state = shared.state();
            if state.ending {
                return;
            }
            state.connections.extend(stream.try_clone());
        }
        let (shared, site) = (Arc::clone(shared), Arc::clone(site));
        std::thread::spawn(move || {
            drop(stream.set_nodelay(true));
            while serve_one(&stream, &shared, site.as_ref()).unwrap_or(false) {}
            drop(stream.shutdown(Shutdown::Both));
        });
    }
}

/// Answers one request; tells whether the connection stays open.
fn serve_one(stream: &TcpStream, shared: &Shared, site: &dyn Site) -> std::io::Result<bool> {
    let Some(asked) = read_request(stream)? else { return Ok(false) };
    {
        let mut state = shared.state();
        state.busy += 1;
        state.busiest = state.busiest.max(state.busy);
    }
    let open = carry_out(stream, shared, site.reply(&asked));
    shared.state().busy -= 1;
    open
}

fn carry_out(stream: &TcpStream, shared: &Shared, reply: Reply) -> std::io::Result<bool> {
    const LONG: Duration = Duration::from_secs(3600);
    match reply {
        Reply::Hang => {
            shared.wait(LONG);
            Ok(false)
        }
        Reply::Drop => Ok(false),
        Reply::HangInBody(body) => {
            send(stream, 200, &[], &body, body.len() / 2)?;
            shared.wait(LONG);
            Ok(false)
        }
        Reply::DropInBody(body) => send(stream, 200, &[], &body, body.len() / 2).map(|()| false),
        Reply::Slow(delay, body) => {
            shared.wait(delay);
            send(stream, 200, &[], &body, body.len()).map(|()| true)
        }
        Reply::Send(code, headers, body) => send(stream, code, &headers, &body, body.len()).map(|()| true),
    }
}

fn read_request(stream: &TcpStream) -> std::io::Result<Option<Asked>> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = HashMap::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|value| value.parse::<u64>().ok());
    let mut bytes = Vec::new();
    match length {
        Some(length) => {
            reader.take(length).read_to_end(&mut bytes)?;
        }
        None => read_chunks(&mut reader, &mut bytes)?,
    }
    let body: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    Ok(Some(Asked { path, headers, body }))
}

fn read_chunks(reader: &mut impl BufRead, into: &mut Vec<u8>) -> std::io::Result<()> {
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let length = u64::from_str_radix(line.trim(), 16).unwrap_or(0);
        reader.by_ref().take(length).read_to_end(into)?;
        reader.read_line(&mut line)?;
        if length == 0 {
            return Ok(());
        }
    }
}

fn send(
    mut stream: &TcpStream,
    code: u16,
    headers: &[(String, String)],
    body: &str,
    bytes_sent: usize,
) -> std::io::Result<()> {
    let mut head =
        format!("HTTP/1.1 {code} Stub\r\nContent-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(&body.as_bytes()[..bytes_sent])?;
    stream.flush()
}
