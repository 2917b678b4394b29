//! A job that is on the disk before what it is to be done to has its place.

use crate::jobs::job::{Job, JobId};
use crate::store::database::Durability;
use crate::sys::executor;

use super::Queue;

/// A job that waits to be released. Dropped, it is forgotten.
#[derive(Debug)]
pub(crate) struct Held {
    pub(super) queue: Queue,
    pub(super) id: JobId,
    pub(super) released: bool,
}

impl Held {
    /// Lets it be done; the job, unless somebody cancelled it meanwhile.
    pub(crate) fn release(mut self) -> Option<Job> {
        self.released = true;
        let job = {
            let mut table = self.queue.inner.table();
            let entry = table.entries.get_mut(&self.id)?;
            entry.held = false;
            entry.job.clone()
        };
        self.queue.tell(self.id);
        (!job.state.is_final()).then_some(job)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.released {
            return;
        }
        {
            let mut table = self.queue.inner.table();
            table.entries.remove(&self.id);
            table.gone.push(self.id);
        }
        let queue = self.queue.clone();
        executor::spawn(async move { queue.try_save(Durability::Later).await }).detach();
    }
}
