//! Searches over HTTP: so many clients as fast as they can, or one by a timetable beside other work.

use crate::bench::latency::latencies;
use crate::bench::wire::Wire;
use crate::clock;
use anyhow::{Context, anyhow};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A search as it goes over the wire, made beforehand.
#[derive(Clone, Debug)]
pub(in crate::bench) struct Request {
    pub(in crate::bench) path: String,
    pub(in crate::bench) body: String,
}

/// Where searches go, and what an answer says that found something.
#[derive(Clone, Debug)]
pub(in crate::bench) struct Place {
    pub(in crate::bench) url: String,
    pub(in crate::bench) verb: &'static str,
    pub(in crate::bench) finds: &'static str,
}

/// Has every client ask its share of the requests, all at once and each as fast as it can.
///
/// Errors: what is refused is an error; a figure of refusals would be worth nothing.
pub(in crate::bench) fn all_at_once(place: &Place, requests: &[Request], n_clients: usize) -> anyhow::Result<Value> {
    let mut wires =
        (0..n_clients).map(|_| Wire::connect(&place.url)).collect::<Result<Vec<_>, _>>().context("cannot connect")?;
    let started = clock::now();
    let shares = std::thread::scope(|scope| {
        let clients = wires.iter_mut().enumerate().map(|(i, wire)| {
            let share = requests.iter().skip(i).step_by(n_clients);
            scope.spawn(move || share.map(|request| ask(wire, place, request)).collect::<anyhow::Result<Vec<_>>>())
        });
        let clients = clients.collect::<Vec<_>>();
        clients
            .into_iter()
            .map(|client| client.join().map_err(|_| anyhow!("a client panicked"))?)
            .collect::<anyhow::Result<Vec<_>>>()
    })?;
    let whole = started.elapsed();
    let all = shares.concat();
    let n_found = all.iter().filter(|(_, found)| *found).count();
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let (rate, found) = (all.len() as f64 / whole.as_secs_f64(), n_found as f64 / all.len().max(1) as f64);
    let took = all.into_iter().map(|(took, _)| took).collect();
    Ok(json!({ "clients": n_clients, "per_s": rate.round(), "found": found, "took": latencies(took) }))
}

/// Asks once. Returns how long the answer took, and whether it held anything.
pub(in crate::bench) fn ask(wire: &mut Wire, place: &Place, request: &Request) -> anyhow::Result<(Duration, bool)> {
    let started = clock::now();
    let (status, answer) = wire.send(place.verb, &request.path, &request.body)?;
    let took = started.elapsed();
    let answer = std::str::from_utf8(answer).context("an answer that is no text")?;
    anyhow::ensure!(status == 200, "the answer was {status}: {}", answer.chars().take(300).collect::<String>());
    Ok((took, answer.contains(place.finds)))
}

/// One search of a timetable.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// When it was to be asked.
    due: Instant,
    answered: Instant,
    /// Which of the kinds of request.
    kind: usize,
    refused: bool,
}

/// Asks `per_s` times a second at most, each kind of request in turn, until it shall stop.
///
/// A search that took long is not made up for: it counts once, as for the person who waited.
pub(super) fn keep_asking(
    place: &Place,
    kinds: &[Vec<Request>],
    per_s: f64,
    stop: &AtomicBool,
) -> anyhow::Result<Vec<Asked>> {
    let mut wire = Wire::connect(&place.url).context("cannot connect")?;
    let mut all = Vec::new();
    let pace = Duration::from_secs_f64(1.0 / per_s);
    let mut next = clock::now();
    for n in 0_u32.. {
        if stop.load(Ordering::Acquire) {
            break;
        }
        let due = next;
        if let Some(left) = due.checked_duration_since(clock::now()) {
            clock::pause(left);
        }
        let kind = n as usize % kinds.len();
        let requests = &kinds[kind];
        let request = &requests[n as usize / kinds.len() % requests.len()];
        let refused = ask(&mut wire, place, request).is_err();
        let answered = clock::now();
        all.push(Asked { due, answered, kind, refused });
        next = (due + pace).max(answered);
    }
    Ok(all)
}

/// Sums up the searches that were waiting for their answer at some time within the spans.
pub(super) fn within(all: &[Asked], spans: &[(Instant, Instant)], names: &[&str]) -> Value {
    let of = |wanted: &dyn Fn(&Asked) -> bool| {
        let meets = |asked: &&Asked| spans.iter().any(|(from, to)| asked.due < *to && asked.answered > *from);
        all.iter().filter(meets).filter(|asked| wanted(asked)).copied().collect::<Vec<_>>()
    };
    let took = |asked: &[Asked]| latencies(asked.iter().map(|asked| asked.answered - asked.due).collect());
    let every = of(&|_| true);
    let kinds =
        names.iter().enumerate().map(|(kind, name)| ((*name).to_owned(), took(&of(&|asked| asked.kind == kind))));
    let seconds = spans.iter().map(|(from, to)| (*to - *from).as_secs_f64()).sum::<f64>();
    json!({
        "spans": spans.len(),
        "seconds": (seconds * 1e3).round() / 1e3,
        "refused": every.iter().filter(|asked| asked.refused).count(),
        "took": took(&every),
        "methods": serde_json::Map::from_iter(kinds),
    })
}
