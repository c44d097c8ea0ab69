//! Holds the number of packages that a build may need.

use crate::chore::{self, Failure};

/// Packages in `Cargo.lock`, other systems' included, are at most this many.
///
/// 578 on 2026-11-22, about 440 of them for Lance. Every package costs build time on two cores, a licence to read and
/// someone to trust, and most arrive unasked, through another. The room to 600 is for small needs; past that, raising
/// this number is a decision to write down, with what was looked at instead.
const PACKAGES_MAX: usize = 600;

/// Counts the packages of `Cargo.lock` and fails above the ceiling.
pub(crate) fn run() -> Result<(), Failure> {
    let packages = count(&chore::read(&chore::root().join("Cargo.lock"))?);
    println!("{packages} packages in Cargo.lock, at most {PACKAGES_MAX} allowed");
    if packages > PACKAGES_MAX {
        return Err(Failure::Broken(vec![format!(
            "Cargo.lock has {packages} packages, the ceiling is {PACKAGES_MAX}: `cargo tree --invert <package>` tells who asks"
        )]));
    }
    Ok(())
}

/// Returns how many packages a lock file lists.
fn count(lockfile: &str) -> usize {
    lockfile.lines().filter(|line| line.trim_end() == "[[package]]").count()
}

#[cfg(test)]
mod tests;
