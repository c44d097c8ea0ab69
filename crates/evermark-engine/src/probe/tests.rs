use super::Probe;
use crate::error::Error;
use evermark_core::world::{RealWorld, World};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Far more than any answer here needs, so that only what hangs meets it.
const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(20);

fn world() -> Arc<dyn World> {
    Arc::new(RealWorld::new())
}

#[test]
fn who_comes_while_another_asks_gets_that_answer() {
    let (probe, world) = (Arc::new(Probe::default()), world());
    let (begun, has_begun) = sync_channel(1);
    let (go, may_go) = sync_channel::<()>(1);
    let seen = std::thread::scope(|scope| {
        let (probe, world) = (&probe, &world);
        let first = scope.spawn(move || {
            probe.ask(world, LONG, move || {
                begun.send(()).expect("somebody waits");
                may_go.recv().expect("somebody lets it go");
                Ok(1)
            })
        });
        has_begun.recv().expect("it was asked");
        let second = scope.spawn(move || probe.ask(world, LONG, || Ok(2)));
        go.send(()).expect("it waits");
        [first, second].map(|thread| thread.join().expect("no panic"))
    });
    for seen in &seen {
        assert!(seen.problem.is_none() && seen.age.is_none(), "{seen:?}");
    }
    assert_eq!(seen[0].value, Some(1));
}

#[test]
fn what_hangs_is_waited_for_once() {
    let (probe, world) = (Arc::new(Probe::default()), world());
    assert_eq!(probe.ask(&world, LONG, || Ok(1)).value, Some(1));
    let (go, may_go) = sync_channel::<()>(1);
    let hung = probe.ask(&world, SHORT, move || {
        may_go.recv().ok();
        Ok(2)
    });
    assert_eq!(hung.value, Some(1), "the last answer stands in");
    assert!(hung.problem.is_some_and(|problem| problem.contains("no answer within 20 ms")));
    // Its time is over: nobody waits again.
    let next = probe.ask(&world, SHORT, || Ok(3));
    assert!(next.problem.is_some_and(|problem| problem.contains("before this one")));
    go.send(()).expect("it waits");
}

#[test]
fn a_question_that_failed_for_another_is_asked_again() {
    let (probe, world) = (Arc::new(Probe::default()), world());
    let failed = probe.ask(&world, LONG, || Err::<u8, _>(Error::Busy("not now".to_owned())));
    assert!(failed.value.is_none() && failed.problem.is_some());
    let asked = Mutex::new(0);
    let asked = Arc::new(asked);
    let counter = Arc::clone(&asked);
    let seen = probe.ask(&world, LONG, move || {
        *counter.lock().expect("no panic") += 1;
        Ok(7)
    });
    assert_eq!((seen.value, *asked.lock().expect("no panic")), (Some(7), 1));
}
