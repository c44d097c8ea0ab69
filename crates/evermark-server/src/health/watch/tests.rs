use super::*;
use crate::api::status::tests::sample;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Long enough for an answer that comes, short enough to wait for one that does not.
const SOON: Duration = Duration::from_millis(80);
const LATER: Duration = Duration::from_secs(20);

fn numbered(files: u64) -> StatusData {
    StatusData { files, verdict: VerdictName::Ok, reasons: Vec::new(), ..sample() }
}

/// A question that hangs until it is told its answer.
fn hanging() -> (SyncSender<Result<StatusData, Refusal>>, impl Fn() -> Result<StatusData, Refusal> + Clone + Send) {
    let (answer, answers): (_, Receiver<Result<StatusData, Refusal>>) = sync_channel(8);
    let answers = Arc::new(Mutex::new(answers));
    (answer, move || answers.lock().unwrap().recv().unwrap())
}

#[tokio::test]
async fn every_caller_gets_an_answer_to_a_question_asked_after_it_came() {
    let watch = Watch::new(LATER, LATER);
    let asked = Arc::new(AtomicU64::new(0));
    for round in 1..=3 {
        let asked = Arc::clone(&asked);
        let status = watch.ask(|| Duration::ZERO, move || Ok(numbered(asked.fetch_add(1, Ordering::SeqCst) + 1))).await;
        assert_eq!(status.unwrap(), numbered(round));
    }
    // Many at once: each is answered by the question on its way or the next one, and one runs at a time.
    let running = Arc::new(AtomicU64::new(0));
    let question = {
        let (asked, running) = (Arc::clone(&asked), Arc::clone(&running));
        move || {
            assert_eq!(running.fetch_add(1, Ordering::SeqCst), 0, "two at once");
            let files = asked.fetch_add(1, Ordering::SeqCst) + 1;
            running.fetch_sub(1, Ordering::SeqCst);
            Ok(numbered(files))
        }
    };
    let before = asked.load(Ordering::SeqCst);
    let callers = (0..50).map(|_| watch.ask(|| Duration::ZERO, question.clone()));
    for status in futures::future::join_all(callers).await {
        let status = status.unwrap();
        assert!(status.files > before && status.age_ms.is_none(), "an old answer was given as new: {}", status.files);
    }
    assert!(asked.load(Ordering::SeqCst) - before < 50, "callers share a question");
}

#[tokio::test]
async fn a_root_that_hangs_is_shown_as_it_was_with_its_age_and_takes_one_thread() {
    let watch = Watch::new(SOON, LATER);
    watch.ask(|| Duration::from_secs(5), || Ok(numbered(1))).await.unwrap();
    let (answer, question) = hanging();
    for (now_s, verdict) in [(12, VerdictName::Degraded), (66, VerdictName::Failing)] {
        let status = watch.ask(move || Duration::from_secs(now_s), question.clone()).await.unwrap();
        assert_eq!((status.files, status.verdict, status.age_ms), (1, verdict, Some((now_s - 5) * 1000)));
        assert_eq!((status.reasons[0].code.as_str(), status.reasons[0].verdict), ("status_stale", verdict));
    }
    assert_eq!(lock(&watch.known).asked, 2, "one question hangs, and no other was asked");
    // It comes back: the next caller has a fresh answer again.
    answer.send(Ok(numbered(2))).unwrap();
    answer.send(Ok(numbered(3))).unwrap();
    let watch = Watch { fresh: LATER, ..watch };
    let status = watch.ask(|| Duration::from_secs(70), question).await.unwrap();
    assert_eq!((status.files, status.age_ms, status.verdict), (3, None, VerdictName::Ok));
}

#[tokio::test]
async fn one_that_never_spoke_or_fails_or_panics_is_an_error_or_shown_as_it_was() {
    let watch = Watch::new(LATER, SOON);
    let (answer, question) = hanging();
    let refusal = watch.ask(|| Duration::ZERO, question.clone()).await.unwrap_err();
    assert!(refusal.message.contains("no answer within"), "{refusal:?}");
    answer.send(Err(Refusal::unavailable("the ledger is locked"))).unwrap();
    answer.send(Err(Refusal::unavailable("the ledger is locked"))).unwrap();
    let watch = Watch { first: LATER, ..watch };
    assert_eq!(watch.ask(|| Duration::ZERO, question).await.unwrap_err().message, "the ledger is locked");
    watch.ask(|| Duration::ZERO, || Ok(numbered(1))).await.unwrap();
    let status = watch.ask(|| Duration::ZERO, || panic!("oops")).await.unwrap();
    assert_eq!((status.files, status.reasons[0].code.as_str()), (1, "status_stale"));
    assert_eq!(watch.ask(|| Duration::ZERO, || Ok(numbered(2))).await.unwrap(), numbered(2));
}
