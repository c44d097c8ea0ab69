//! Tells the service manager how the daemon does, where one has asked: systemd's `Type=notify` and `WatchdogSec`.
//!
//! A few words on a socket named in the environment; anybody may listen, nobody has to.

use crate::config::Environment;
use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The manager that started us.
pub(crate) struct Manager {
    socket: UnixDatagram,
    /// It ends us when it hears nothing for this long.
    patience: Option<Duration>,
}

impl Manager {
    /// Returns the manager that waits to hear from this process; `None` when nobody does.
    pub(crate) fn of(env: &Environment) -> Option<Self> {
        let name = env.get("NOTIFY_SOCKET")?;
        let socket = match connect(name) {
            Ok(socket) => socket,
            Err(error) => {
                tracing::warn!(name, %error, "the service manager cannot be told how we do");
                return None;
            }
        };
        let is_for_us = env.get("WATCHDOG_PID").is_none_or(|pid| pid == std::process::id().to_string());
        let patience = env.get("WATCHDOG_USEC").filter(|_| is_for_us).and_then(|text| text.parse().ok());
        Some(Self { socket, patience: patience.filter(|us| *us > 0).map(Duration::from_micros) })
    }

    pub(crate) fn ready(&self, url: &str) {
        self.say(&format!("READY=1\nSTATUS=listening on {url}"));
    }

    pub(crate) fn stopping(&self) {
        self.say("STOPPING=1\nSTATUS=finishing what runs");
    }

    fn say(&self, words: &str) {
        if let Err(error) = self.socket.send(words.as_bytes()) {
            tracing::warn!(%error, words, "the service manager does not listen");
        }
    }

    /// Says that we are alive, three times within the manager's patience, whenever `/health` answers at `address`.
    ///
    /// It goes the way of every client: a server that takes no connections is as dead as one that hangs. Never returns.
    pub(crate) async fn keep_alive(&self, address: SocketAddr) {
        let Some(patience) = self.patience else { return std::future::pending().await };
        let mut ticks = tokio::time::interval(patience / 3);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match tokio::time::timeout(patience / 3, answers(address)).await {
                Ok(Ok(())) => self.say("WATCHDOG=1"),
                Ok(Err(error)) => tracing::error!(%error, "/health does not answer"),
                Err(_) => tracing::error!("/health does not answer in time"),
            }
        }
    }
}

fn connect(name: &str) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    // A slow manager must not hold the daemon up.
    socket.set_nonblocking(true)?;
    match name.strip_prefix('@') {
        #[cfg(target_os = "linux")]
        Some(hidden) => {
            use std::os::linux::net::SocketAddrExt;
            socket.connect_addr(&std::os::unix::net::SocketAddr::from_abstract_name(hidden)?)?;
        }
        _ => socket.connect(name)?,
    }
    Ok(socket)
}

async fn answers(address: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).await?;
    if &head == b"HTTP/1.1 200" { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}
