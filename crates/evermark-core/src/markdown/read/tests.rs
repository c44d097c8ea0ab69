use super::*;
use std::path::PathBuf;
use std::process::Command;

/// The fixtures that stand beside the checkout, where they do.
fn shared() -> Option<PathBuf> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures");
    if dir.join("everos-root-1.5.1.tar.gz").is_file() {
        Some(dir)
    } else {
        println!("skipped: no {}", dir.display());
        None
    }
}
