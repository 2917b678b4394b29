//! Whether the queue may touch the database, as whoever builds it says.

use std::fmt;
use std::sync::Arc;

use crate::error::Result;

/// Asked before the first touch; it waits for nothing.
#[derive(Clone)]
pub struct Gate(Arc<dyn Fn() -> Result<()> + Send + Sync>);

impl Gate {
    /// One that `allows`, or refuses with an error.
    pub fn new(allows: impl Fn() -> Result<()> + Send + Sync + 'static) -> Gate {
        Gate(Arc::new(allows))
    }

    /// One that lets everybody through.
    pub fn open() -> Gate {
        Gate::new(|| Ok(()))
    }

    pub(super) fn ask(&self) -> Result<()> {
        (self.0)()
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gate")
    }
}
