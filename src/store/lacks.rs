//! What the daemon's folders lack, as it was last seen: for health and pages, which must not ask a disk that hangs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Sentences, of which clones see the same.
#[derive(Clone, Debug, Default)]
pub struct Lacks(Arc<Mutex<Vec<String>>>);

impl Lacks {
    /// What is lacking now, in place of what was.
    pub fn set(&self, sentences: Vec<String>) {
        *self.lock() = sentences;
    }

    /// What was lacking last, all in one; `None` when nothing was.
    pub fn sentence(&self) -> Option<String> {
        let sentences = self.lock();
        (!sentences.is_empty()).then(|| sentences.join("; "))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
