//! Listening, and stopping to.

use crate::listen::Bounded;
use crate::options::Options;
use crate::router::{App, router};
use std::io;
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// Why the server cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("{addr} can be reached from other machines, and no token is set")]
    NeedsToken { addr: SocketAddr },
    #[error("cannot listen on {addr}")]
    Bind { addr: SocketAddr, source: io::Error },
    #[error("cannot serve on {addr}")]
    Serve { addr: SocketAddr, source: io::Error },
}

impl ServeError {
    /// Returns what the person who started the server can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NeedsToken { .. } => Some("set a token, or listen on 127.0.0.1".to_owned()),
            Self::Bind { source, addr } if source.kind() == io::ErrorKind::AddrInUse => {
                Some(format!("another program listens on port {}; choose another port", addr.port()))
            }
            Self::Bind { .. } | Self::Serve { .. } => None,
        }
    }
}

/// Opens the listening socket that `options` ask for, unless it would be open to other machines without a token.
pub async fn bind(options: &Options) -> Result<TcpListener, ServeError> {
    let addr = options.addr;
    guarded(addr, options)?;
    TcpListener::bind(addr).await.map_err(|source| ServeError::Bind { addr, source })
}

/// Answers requests until `shutdown` is ready; then takes no more, and gives those that run
/// [`Options::shutdown_grace`] to finish. The engine stays open: closing it is the caller's.
pub async fn serve(
    app: App,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    let fault = |source| ServeError::Serve { addr: app.options().addr, source };
    let addr = listener.local_addr().map_err(fault)?;
    guarded(addr, app.options())?;
    let listener = Bounded::new(listener, app.options());
    let grace = app.options().shutdown_grace;
    let closing = app.clone();
    let serving = axum::serve(listener, router(app.clone())).with_graceful_shutdown(async move {
        shutdown.await;
        closing.close();
    });
    let overdue = async {
        app.closed().await;
        tokio::time::sleep(grace).await;
    };
    tokio::select! {
        served = serving => served.map_err(fault),
        () = overdue => {
            tracing::warn!(grace_ms = grace.as_millis(), "some requests did not finish in time and are cut off");
            Ok(())
        }
    }
}

fn guarded(addr: SocketAddr, options: &Options) -> Result<(), ServeError> {
    if addr.ip().is_loopback() || options.token.is_some() { Ok(()) } else { Err(ServeError::NeedsToken { addr }) }
}
