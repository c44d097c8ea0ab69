//! `evermark serve`: the daemon.

use crate::cli::ServeArgs;
use crate::clock;
use crate::config::{Config, Environment, Flags, Root};
use crate::exit::{Exit, Failure};
use crate::limits::{self, Shares};
use crate::logging::{self, Voice};
use crate::notify::Manager;
use crate::output::{Out, note};
use crate::session::held;
use crate::signals::Ending;
use crate::wiring;
use anyhow::Context;
use evermark_core::world::World;
use evermark_engine::Engine;
use evermark_server::{App, Options, Token};
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Instant;

pub(crate) fn run(args: &ServeArgs, root: Root, env: &Environment, verbose: u8, out: &mut Out) -> anyhow::Result<Exit> {
    let started = clock::now();
    let flags = Flags {
        host: args.host.clone(),
        port: args.port.clone(),
        log_level: args.log_level.clone(),
        log_format: args.log_format.clone(),
        ..Flags::default()
    };
    let is_new = !root.path.exists();
    if let Some(theirs) = root.everos_instead(env) {
        note(format_args!(
            "note: EverOS has a root at {0}; `evermark --root {0} serve` would adopt it",
            theirs.display()
        ));
    }
    let config = Config::load(root, env, &flags)?;
    logging::start(&config, Voice::Daemon, verbose)?;
    config.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let descriptors = limits::raise_descriptors();
    let shares = Shares::of(descriptors.now.unwrap_or(u64::MAX));
    tracing::info!(
        soft_before = descriptors.before,
        soft = descriptors.now,
        hard = descriptors.hard,
        connections_max = shares.connections,
        requests_max = shares.requests,
        "limit of open files raised"
    );
    let address = config.listen_address()?;
    // The root's lock comes before the port: a second daemon on one root should hear of the first, not of its port.
    let world = wiring::world_of(env)?;
    let engine = wiring::open(&config, Arc::clone(&world)).map_err(held)?;
    if is_new {
        tracing::info!(root = %engine.root().display(), "new root");
    }
    let manager = Manager::of(env);
    let served = serve(&engine, world, &config, Spot { address, shares, manager, started }, out);
    let closed = engine.close().context("cannot close the root properly; nothing that was acknowledged is lost");
    served?;
    closed?;
    tracing::info!("closed");
    Ok(Exit::Ok)
}

/// Where and how the daemon stands in this process.
struct Spot {
    address: SocketAddr,
    shares: Shares,
    manager: Option<Manager>,
    started: Instant,
}

fn serve(engine: &Engine, world: Arc<dyn World>, config: &Config, spot: Spot, out: &mut Out) -> anyhow::Result<()> {
    let Spot { address, shares, manager, started } = spot;
    let listener = bind(address)?;
    let bound = listener.local_addr().context("cannot tell the address that was bound")?;
    let url = reachable(bound);
    let options = Options {
        addr: bound,
        token: config.api.token.as_deref().and_then(Token::new),
        hosts: config.api.hosts.clone(),
        origins: config.api.origins.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        connections_max: shares.connections,
        reads_max: shares.requests,
        writes_max: shares.requests,
        ..Options::default()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("ev-http")
        .build()
        .context("cannot start the HTTP threads")?;
    runtime.block_on(async {
        let mut ending = Ending::listen().context("cannot listen for signals")?;
        listener.set_nonblocking(true).context("cannot use the listening socket")?;
        let listener = tokio::net::TcpListener::from_std(listener).context("cannot use the listening socket")?;
        engine.start()?;
        engine.set_address(&url)?;
        say_ready(engine, &url, started, out);
        let manager = manager.map(Arc::new);
        if let Some(manager) = manager.clone() {
            manager.ready(&url);
            let here = reachable_address(bound);
            tokio::spawn(async move { manager.keep_alive(here).await });
        }
        let (stop, stopped) = tokio::sync::oneshot::channel();
        tokio::spawn(async move {
            let (signal, _) = ending.next().await;
            tracing::info!(signal, "finishing what runs; once more to end at once");
            if let Some(manager) = &manager {
                manager.stopping();
            }
            stop.send(()).ok();
            let (signal, code) = ending.next().await;
            tracing::warn!(signal, "ending at once; the next start finishes what was cut short");
            at_once(code);
        });
        let stopped = async move {
            stopped.await.ok();
        };
        evermark_server::serve(App::new(engine.clone(), world, options), listener, stopped).await?;
        Ok(())
    })
}

fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).map_err(|error| {
        let failure = Failure::new(Exit::Failed, format!("cannot listen on {address}"));
        let failure = match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                failure.hint("another program has the port: choose one with --port, or 0 for a free one")
            }
            _ => failure,
        };
        anyhow::Error::new(error).context(failure)
    })
}

/// Returns where a client on this machine finds what listens on `bound`.
fn reachable(bound: SocketAddr) -> String {
    format!("http://{}", reachable_address(bound))
}

fn reachable_address(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, bound.port())
}

fn say_ready(engine: &Engine, url: &str, started: Instant, out: &mut Out) {
    let ready_ms = clock::millis(started.elapsed());
    let (root, pid) = (engine.root().display(), std::process::id());
    tracing::info!(url, %root, pid, ready_ms, "listening");
    if out.json {
        out.document(&json!({ "address": url, "root": engine.root(), "pid": pid, "ready_ms": ready_ms }));
    } else {
        out.line(format_args!("listening on {} (root {root}, pid {pid}, ready in {ready_ms} ms)", out.paint.bold(url)));
    }
    out.flush();
}

#[expect(clippy::disallowed_methods, reason = "asked for twice: no destructor may hold it up, and none has to run")]
fn at_once(code: i32) {
    std::process::exit(code);
}
