//! Who has the root open, and what it says of itself.

use super::Findings;
use crate::client::Client;
use crate::output::span;
use evermark_server::api::status::VerdictName;
use evermark_server::api::{Envelope, StatusData};
use evermark_store::layout::Layout;
use evermark_store::lock::RootLock;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What became of asking.
pub(super) enum Running {
    /// A daemon answered, and said this.
    Daemon(Box<StatusData>),
    /// Another process has the root open and says nothing.
    Somebody,
    Nobody,
}

pub(super) fn examine(
    layout: &Layout,
    token: Option<&str>,
    now_us: i64,
    offline: bool,
    found: &mut Findings,
) -> Running {
    everos(layout, found);
    let signed = RootLock::last_holder(layout);
    let address = signed.as_ref().and_then(|holder| holder.address.clone()).filter(|_| !offline);
    if let Some(address) = address {
        let client = Client::new(&address, token);
        if client.is_there() {
            return ask(&client, found);
        }
    }
    let holder = signed.unwrap_or_default();
    match locker(&layout.lock_file()) {
        None => {
            found.ok("holder", "nobody", "no daemon and no command has the root open");
            Running::Nobody
        }
        Some(pid) if offline => {
            found.ok("holder", "somebody", format!("process {pid} has the root open; it was not asked (--offline)"));
            Running::Somebody
        }
        Some(pid) => {
            let since = holder.started_at_us.and_then(|at| u64::try_from((now_us - at) / 1000).ok());
            let since = since.map_or_else(String::new, |ms| format!(" for {}", span(ms)));
            let says = format!("process {pid} has the root open{since} and does not answer");
            found.warn("holder", "silent", says, format!("`ps -p {pid}`; wait for it to end, or `kill {pid}`"));
            Running::Somebody
        }
    }
}

/// Asks a daemon how it is; its reasons become findings.
fn ask(client: &Client, found: &mut Findings) -> Running {
    let path = "/api/v1/evermark/status";
    let answer = client.get(path).and_then(|answer| Ok(serde_json::from_value::<Envelope<StatusData>>(answer)?.data));
    let status = match answer {
        Ok(status) => status,
        Err(error) => {
            let says = format!("the daemon at {} does not say how it is: {error:#}", client.address());
            let remedy = crate::exit::hint(&error).unwrap_or_else(|| "see its log".to_owned());
            found.fail("holder", "daemon_refuses", says, remedy);
            return Running::Somebody;
        }
    };
    let says =
        format!("a daemon answers at {}, for {}: {}", client.address(), span(status.uptime_ms), status.verdict.name());
    found.ok("holder", "daemon", says);
    for reason in &status.reasons {
        let message = reason.message.clone().unwrap_or_default();
        let message = format!("{message} ({})", reason.code);
        let remedy = reason.hint.clone().unwrap_or_else(|| "docs/operations.md says what it means".to_owned());
        match reason.verdict {
            VerdictName::Failing => found.fail("holder", "daemon_reason", message, remedy),
            VerdictName::Degraded | VerdictName::Ok => found.warn("holder", "daemon_reason", message, remedy),
        }
    }
    Running::Daemon(Box::new(status))
}

fn everos(layout: &Layout, found: &mut Findings) {
    if let Some(pid) = locker(&layout.everos_lock_file()) {
        found.fail(
            "holder",
            "everos_runs",
            format!("an EverOS server (process {pid}) has this root open: two programs must not write one root"),
            format!("stop it: `kill {pid}`"),
        );
    }
}

/// Returns the process that has locked `file`, as the kernel's table of locks tells; looking locks nothing.
fn locker(file: &Path) -> Option<u32> {
    let metadata = fs::metadata(file).ok()?;
    let (major, minor) = (rustix::fs::major(metadata.dev()), rustix::fs::minor(metadata.dev()));
    let table = fs::read_to_string("/proc/locks").ok()?;
    locked_by(&table, &format!("{major:02x}:{minor:02x}:{}", metadata.ino()))
}

/// Reads lines such as `1: FLOCK  ADVISORY  WRITE 3547 00:1f:1054 0 EOF`; those that wait carry `->`.
fn locked_by(table: &str, inode: &str) -> Option<u32> {
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_it = fields.get(1) == Some(&"FLOCK") && fields.get(5) == Some(&inode);
        // The kernel says -1 of a process in another container.
        is_it.then(|| fields.get(4).and_then(|pid| pid.parse::<i64>().ok()))?.map(|pid| u32::try_from(pid).unwrap_or(0))
    })
}
