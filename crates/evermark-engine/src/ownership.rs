//! Whether the root in its place is still the one that was opened, and still ours: whatever writes asks first.
//!
//! A volume that was taken away leaves an empty folder, or another root. A lock file that was removed lets a second process
//! in, also while this one was stopped. In both cases what we would write belongs to nobody, or to somebody else.

use crate::engine::{Inner, POISON};
use crate::error::Error;
use evermark_store::error::Error as StoreError;

impl Inner {
    /// Fails while the root is not ours. Cheap when it is. A lock file that is merely gone is made again.
    pub(crate) fn still_ours(&self) -> Result<(), Error> {
        let mut lock = self.lock.lock().expect(POISON);
        if lock.still_held() {
            return Ok(());
        }
        let lost = |reason| Err(StoreError::Lost { root: self.layout.root().to_owned(), reason }.into());
        match self.layout.identity() {
            Ok(Some(identity)) if identity.root_id == self.identity.root_id => {}
            Ok(Some(_)) => return lost("another root stands there"),
            Ok(None) | Err(_) => return lost("nothing there says which root it is; is its volume mounted?"),
        }
        lock.take_again()?;
        tracing::warn!("the root's lock file was gone and is made again");
        Ok(())
    }
}
