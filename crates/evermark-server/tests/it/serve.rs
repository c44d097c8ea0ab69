//! A real socket: binding, and stopping.

use crate::kit::{Server, Setup, token};
use evermark_server::{Options, ServeError, bind, serve};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

fn any(host: &str) -> SocketAddr {
    format!("{host}:0").parse().unwrap()
}

/// A server on a socket of its own.
struct Running {
    addr: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), ServeError>>,
    _server: Server,
}

impl Running {
    async fn start(options: Options) -> Self {
        let server = Server::with(Setup { options: options.clone(), ..Setup::default() });
        let listener = bind(&options).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(serve(server.app.clone(), listener, async {
            stopped.await.unwrap();
        }));
        Self { addr, stop, serving, _server: server }
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.serving.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn other_machines_are_let_in_only_with_a_token() {
    let mut options = Options { addr: any("0.0.0.0"), ..Options::default() };
    assert!(matches!(bind(&options).await, Err(ServeError::NeedsToken { .. })));
    options.token = token("s3cret");
    assert!(bind(&options).await.is_ok());
    for host in ["127.0.0.1", "127.0.0.2"] {
        assert!(bind(&Options { addr: any(host), ..Options::default() }).await.is_ok(), "{host}");
    }
}

#[tokio::test]
async fn a_socket_opened_elsewhere_is_held_to_the_same_rule() {
    let listener = tokio::net::TcpListener::bind(any("0.0.0.0")).await.unwrap();
    let server = Server::new();
    let served = serve(server.app.clone(), listener, std::future::ready(())).await;
    assert!(matches!(served, Err(ServeError::NeedsToken { .. })));
}

#[tokio::test]
async fn a_request_that_has_arrived_is_answered_before_the_server_stops() {
    let options = Options { addr: any("127.0.0.1"), shutdown_grace: Duration::from_secs(20), ..Options::default() };
    let running = Running::start(options).await;
    let addr = running.addr;

    let body = r#"{"session_id":"s"}"#;
    let head = format!(
        "POST /api/v1/memory/flush HTTP/1.1\r\nhost: {addr}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(addr).await.unwrap();
    // The head is in and the body on its way when the server is told to stop.
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut idle = TcpStream::connect(addr).await.unwrap();
    idle.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut seen = [0; 12];
    idle.read_exact(&mut seen).await.unwrap();
    assert_eq!(&seen, b"HTTP/1.1 200");
    running.stop.send(()).unwrap();
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("no_extraction"), "{answer}");
    running.serving.await.unwrap().unwrap();
    assert!(TcpStream::connect(addr).await.is_err());
}

#[tokio::test]
async fn a_request_that_never_ends_does_not_hold_the_server() {
    let options = Options { addr: any("127.0.0.1"), shutdown_grace: Duration::from_millis(50), ..Options::default() };
    let server = Server::with(Setup { options: options.clone(), ..Setup::default() });
    let listener = bind(&options).await.unwrap();
    let mut stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let head = "POST /api/v1/memory/flush HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(serve(server.app.clone(), listener, async {
        stopped.await.unwrap();
    }));
    stop.send(()).unwrap();
    serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_body_that_nobody_needs_may_come_late() {
    let options = Options { addr: any("127.0.0.1"), ..Options::default() };
    let running = Running::start(options).await;
    let addr = running.addr;
    for verb in ["verify", "index/inspect", "index/rebuild"] {
        let head = format!(
            "POST /api/v1/evermark/{verb} HTTP/1.1\r\nhost: {addr}\r\ncontent-type: application/json\r\ncontent-length: 2\r\n"
        );
        let mut late = TcpStream::connect(addr).await.unwrap();
        late.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
        // Work done for another: had the first not waited for its body, it would be answered, and its connection closed.
        loop {
            let mut other = TcpStream::connect(addr).await.unwrap();
            other.write_all(format!("{head}connection: close\r\n\r\n{{}}").as_bytes()).await.unwrap();
            let mut answer = String::new();
            other.read_to_string(&mut answer).await.unwrap();
            if answer.starts_with("HTTP/1.1 200") {
                break;
            }
            assert!(answer.starts_with("HTTP/1.1 409"), "{answer}");
        }
        late.write_all(b"{}GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answers = String::new();
        late.read_to_string(&mut answers).await.unwrap();
        assert_eq!(answers.matches("HTTP/1.1 200").count(), 2, "{verb}: {answers}");
    }
    running.stop().await;
}

#[tokio::test]
async fn silent_connections_are_let_go_and_make_room() {
    let options = Options {
        addr: any("127.0.0.1"),
        connections_max: 1,
        idle_timeout: Duration::from_millis(50),
        ..Options::default()
    };
    let running = Running::start(options).await;
    let addr = running.addr;
    // The first one holds the only place and says nothing.
    let mut silent = TcpStream::connect(addr).await.unwrap();
    let mut second = TcpStream::connect(addr).await.unwrap();
    second.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    second.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(silent.read(&mut [0]).await.unwrap(), 0);
    running.stop().await;
}
