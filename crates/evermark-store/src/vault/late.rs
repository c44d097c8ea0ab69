//! Late writes: what somebody saves into a file that has no name any more.
//!
//! A file that had the name for a moment may have been opened by then, and be written to when it was replaced. So every such
//! file is watched for a while, those that an exchange brought in and another took out again too, and [`Vault::tend`] keeps
//! what appears in it as a conflict copy.

use super::place::Place;
use super::{Vault, locked, same_content};
use crate::dir;
use crate::durable;
use crate::error::{At, Result};
use evermark_core::memory::Digest32;
use evermark_core::reconcile::Stamp;
use std::fs::File;
use std::io;
use std::time::Duration;

/// How many replaced files are watched for late writes at a time; each costs a descriptor.
const RETIRED_MAX: usize = 32;

/// A file that had a name until a moment ago, and that somebody may still have open.
pub(super) struct Retired {
    pub(super) rel: String,
    pub(super) file: File,
    /// Of the last state that nothing is left to keep of.
    pub(super) stamp: Stamp,
    pub(super) digest: Digest32,
    pub(super) until: Duration,
}

/// What came of a look at a retired file.
enum Looked {
    /// Nothing to keep: as before, or the file's content.
    Nothing,
    /// Nothing to keep yet.
    Emptied,
    /// Written to this very moment: not worth a copy yet.
    Moving,
    Kept(String),
}

impl Vault {
    /// Looks for late writes to files that were replaced a moment ago, keeps what it finds as conflict copies, and returns
    /// their paths. Cheap; call it every second or so.
    pub fn tend(&self) -> Vec<String> {
        let now = self.world.monotonic();
        let mut kept = Vec::new();
        let retired: Vec<_> = locked(&self.retired).drain(..).collect();
        for mut one in retired {
            let watch_on = match self.look_late(&mut one, now) {
                Ok(Looked::Moving) => true,
                Ok(Looked::Nothing) => now < one.until,
                // Emptied is where a save in place begins, and a save comes in parts: there may be more to come.
                Ok(Looked::Emptied) => {
                    one.until = self.afterlife();
                    true
                }
                Ok(Looked::Kept(copy)) => {
                    kept.push(copy);
                    one.until = self.afterlife();
                    true
                }
                Err(error) => {
                    tracing::warn!(%error, rel = one.rel, "a late write to a replaced file cannot be kept now");
                    true
                }
            };
            if watch_on {
                locked(&self.retired).push_back(one);
            }
        }
        kept
    }

    /// Writes what somebody wrote late into a retired file as a copy beside it, and takes note of the state it has now. One
    /// that is being written to is left alone, within reason.
    fn look_late(&self, one: &mut Retired, now: Duration) -> Result<Looked> {
        let path = self.root.join(&one.rel);
        // Taken before it is read: what is written in between is a difference to it.
        let stamp = dir::stat_file(&one.file).at("read", &path)?.1;
        // The last look is at the content: on a coarse clock, two writes within a tick have one time.
        if same_content(stamp, one.stamp) && now < one.until {
            return Ok(Looked::Nothing);
        }
        if now < one.until.saturating_add(self.settings.patience) && !self.until_quiet(stamp).is_zero() {
            return Ok(Looked::Moving);
        }
        let mut bytes = Vec::new();
        let mut file = &one.file;
        io::Seek::rewind(&mut file).at("read", &path)?;
        let limit = self.settings.file_bytes_max;
        io::Read::read_to_end(&mut io::Read::take(file, limit), &mut bytes).at("read", &path)?;
        let digest = Digest32::of(&bytes);
        let looked = if digest == one.digest {
            Looked::Nothing
        } else if bytes.is_empty() {
            Looked::Emptied
        } else {
            self.keep_late(&one.rel, &bytes, digest)?.map_or(Looked::Nothing, Looked::Kept)
        };
        (one.stamp, one.digest) = (stamp, digest);
        Ok(looked)
    }

    /// Returns the copy, unless that is what the file says anyway.
    fn keep_late(&self, rel: &str, bytes: &[u8], digest: Digest32) -> Result<Option<String>> {
        let place = Place::parse(rel)?;
        let dir = self.make_folder(&place)?;
        if self.found(&place).is_ok_and(|found| found == Some(digest)) {
            return Ok(None);
        }
        let temp = self.temp_name(place.name());
        durable::stage_as(&*self.world, &dir, &temp, bytes, |_| Ok(())).at("keep", dir.path())?;
        let copy = self.keep(&dir, &temp, place.name())?;
        dir.sync().at("keep", dir.path())?;
        let folder = rel.rsplit_once('/').map_or("", |(folder, _)| folder);
        Ok(Some(format!("{folder}/{}", copy.to_string_lossy())))
    }

    /// Watches one more; where that is one too many, the oldest goes that is not in the middle of a save.
    pub(super) fn retire(&self, one: Retired) {
        let goes = {
            let mut retired = locked(&self.retired);
            retired.push_back(one);
            if retired.len() > RETIRED_MAX {
                let is_at_rest = |one: &Retired| {
                    one.stamp.size > 0
                        && dir::stat_file(&one.file).is_ok_and(|(_, stamp)| same_content(stamp, one.stamp))
                };
                let at = retired.iter().take(RETIRED_MAX).position(is_at_rest).unwrap_or_default();
                retired.remove(at)
            } else {
                None
            }
        };
        if let Some(mut one) = goes
            && let Err(error) = self.look_late(&mut one, Duration::MAX)
        {
            tracing::error!(%error, rel = one.rel, "a late write to a replaced file could not be kept");
        }
    }

    pub(super) fn afterlife(&self) -> Duration {
        self.world.monotonic().saturating_add(self.settings.afterlife)
    }
}
