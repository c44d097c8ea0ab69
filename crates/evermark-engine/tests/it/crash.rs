//! A process that dies at a named point: nothing acknowledged is lost, nothing is doubled, nothing is paid for twice.
//!
//! Dying is modelled by an error at the point and a fresh engine on the same files; the program's own tests kill the real
//! process at the same points.

use crate::kit::{Kit, add, flush, search, try_add};
use evermark_core::memory::Role::{Assistant, User};
use evermark_models::openai::Settings as OpenAi;
use evermark_models::provider::Provider;
use evermark_sim::stub_embeddings::StubEmbeddings;

const POINTS: [&str; 15] = [
    "durable.temp_written",
    "durable.renamed",
    "add.stored",
    "extract.planned",
    "extract.episode",
    "extract.facts",
    "add.enqueued",
    "extract.consumed",
    "jobs.enqueue",
    "index.claimed",
    "index.embedded",
    "index.upserted",
    "index.flushed",
    "ledger.record",
    "index.recorded",
];

#[test]
fn dying_anywhere_loses_doubles_and_pays_for_nothing() {
    let mut died = 0;
    for point in POINTS {
        for nth in 1..=6 {
            let mut kit = Kit::new();
            let stub = StubEmbeddings::start(32);
            kit.provider = Some(Provider::OpenAi(Box::new(OpenAi::new(stub.base_url(), "stub", 32))));
            let engine = kit.open();
            add(&engine, "s", &[(0, "mira", User, "The gate code is 4711."), (4, "bot", Assistant, "Thanks!")]);
            kit.world.arm(point, nth);
            let second =
                [(9000, "mira", User, "The dog is called Bruno."), (9001, "tom", User, "I mend the fence on Friday.")];
            let accepted = try_add(&engine, "s", &second).is_ok();
            let flushed = accepted && engine.flush(crate::kit::flush_of("s")).is_ok();
            drop(engine);
            if accepted && flushed && kit.world.is_armed(point) {
                // The walk does not pass this point so often.
                kit.world.disarm();
                continue;
            }
            died += 1;
            kit.world.disarm();

            let engine = kit.open();
            add(&engine, "s", &second);
            flush(&engine, "s");
            engine.quiesce().expect("synced");
            for (user, word, n) in [("mira", "gate", 1), ("mira", "Bruno", 1), ("tom", "fence", 1), ("tom", "Bruno", 1)]
            {
                let answer = search(&engine, user, word);
                assert_eq!(answer.episodes.len(), n, "{point} #{nth}: {user} {word}");
                assert!(answer.unprocessed.is_empty());
            }
            let verified = engine.verify(&mut |_| {}).expect("verified");
            assert!(verified.is_clean(), "{point} #{nth}: {verified:?}");
            // Mira: 2 episodes and 3 facts; Tom: 1 episode and 2 facts.
            assert_eq!(verified.memories, 8, "{point} #{nth}");
            assert_eq!(engine.status().expect("status").inbox_messages, 0, "{point} #{nth}");
            // Facts and the second episode are the same for both owners.
            assert_eq!(stub.texts(), 5, "{point} #{nth}");
        }
    }
    assert!(died > 30, "only {died} deaths were tried");
}
