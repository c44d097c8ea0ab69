//! How the server is set.

use evermark_core::memory::Digest32;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Everything about the server that can be set.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen. Anything but loopback needs a token.
    pub addr: SocketAddr,
    /// What callers must show; `None`: nothing.
    pub token: Option<Token>,
    /// Names by which the server may be called on loopback, besides `localhost` and loopback addresses.
    pub hosts: Vec<String>,
    /// Origins whose pages may call the server, besides those served from loopback.
    pub origins: Vec<String>,
    /// What the server calls itself.
    pub version: String,
    /// Largest request body.
    pub body_bytes_max: usize,
    /// How long a request may take, a `wait` not counted.
    pub request_timeout: Duration,
    /// How long running requests may take to finish once the server is told to stop.
    pub shutdown_grace: Duration,
    /// Searches and listings that run at once; adds and flushes that run at once.
    pub reads_max: usize,
    pub writes_max: usize,
    /// Requests that wait for one of these; more are refused.
    pub waiting_max: usize,
    /// Connections that are open at once; more wait to be accepted.
    pub connections_max: usize,
    /// How long a connection may stay without a byte either way. Longer than any request takes, `wait` included.
    pub idle_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            addr: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8000),
            token: None,
            hosts: Vec::new(),
            origins: Vec::new(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            body_bytes_max: 16 << 20,
            request_timeout: Duration::from_secs(60),
            shutdown_grace: Duration::from_secs(10),
            // Each one that runs holds a thread; waiting ones hold a body.
            reads_max: 32,
            writes_max: 32,
            waiting_max: 256,
            // Each holds a descriptor, and the engine needs its own.
            connections_max: 512,
            idle_timeout: Duration::from_secs(180),
        }
    }
}

/// A secret that callers show as `Authorization: Bearer …`. Only its digest is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    digest: Digest32,
}

impl Token {
    /// Returns the token, or `None` when `secret` is blank, which means that none is wanted. Blanks around it do not count.
    pub fn new(secret: &str) -> Option<Self> {
        let secret = secret.trim();
        (!secret.is_empty()).then(|| Self { digest: Digest32::of(secret.as_bytes()) })
    }

    /// Tells whether `secret` is the one. The time it takes says nothing about either: digests are compared.
    pub(crate) fn is(&self, secret: &str) -> bool {
        let shown = Digest32::of(secret.as_bytes());
        self.digest.0.iter().zip(shown.0).fold(0, |differs, (mine, theirs)| differs | (mine ^ theirs)) == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}
