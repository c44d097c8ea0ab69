//! Any bytes as an inbox or segment file: what is accepted is written back to the same.

#![no_main]

use evermark_core::markdown::{inbox, segment};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(batch) = inbox::parse("p", bytes) {
        assert_eq!(inbox::parse("p", inbox::render(&batch).as_bytes()).as_ref(), Ok(&batch));
    }
    if let Ok(plan) = segment::parse("p", bytes) {
        assert_eq!(segment::parse("p", segment::render(&plan).as_bytes()).as_ref(), Ok(&plan));
    }
});
