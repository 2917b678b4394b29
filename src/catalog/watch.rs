//! When to read the file again: as the kernel tells, or where it cannot, by looking each second.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use smol::Timer;
use smol::channel::Sender;
use smol::future::or;

use crate::catalog::{Catalog, FILE, IMPORTED};
use crate::sys::watch::{Change, Watch};

/// How long nothing must change before the file is read. A tool that writes a file and renames it, or writes two, is
/// read once; the whole stays well within the second that is promised.
const QUIET: Duration = Duration::from_millis(100);

/// How long changes may put off a read.
const PATIENCE: Duration = Duration::from_millis(400);

/// How often the file is looked at where the kernel does not tell.
const LOOK: Duration = Duration::from_secs(1);

/// Reads the catalog now and whenever it changes.
pub(super) async fn follow(catalog: &Catalog, read: Sender<()>) {
    let mut read = Some(read);
    loop {
        // Begun before the read, so that nothing falls between the two.
        let watch = Watch::new(catalog.folder());
        let seen = look(catalog).await;
        reload(catalog).await;
        drop(read.take());
        match watch {
            Ok(watch) => told(catalog, &watch).await,
            Err(error) => {
                log::debug!(
                    "{} is looked at each second: {error}",
                    catalog.folder().display()
                );
                looked(catalog, seen).await;
            }
        }
    }
}

/// Reads on every change that the kernel tells of, until the folder is another.
async fn told(catalog: &Catalog, watch: &Watch) {
    let names = [FILE, IMPORTED];
    loop {
        match watch.changed(&names).await {
            Ok(Change::Files) => {}
            Ok(Change::Folder) => break,
            Err(error) => {
                log::debug!("the watch of the catalog failed: {error}");
                break;
            }
        }
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let more = async { watch.changed(&names).await.is_ok() };
            let quiet = async {
                Timer::after(QUIET).await;
                false
            };
            if !or(more, quiet).await {
                break;
            }
        }
        reload(catalog).await;
    }
    // A folder that went away is not asked for in a hurry.
    Timer::after(QUIET).await;
}

/// Looks each second, until the file is another; then whether the kernel tells is tried again.
async fn looked(catalog: &Catalog, seen: Seen) {
    loop {
        Timer::after(LOOK).await;
        if look(catalog).await != seen {
            return;
        }
    }
}

async fn reload(catalog: &Catalog) {
    let catalog = catalog.clone();
    smol::unblock(move || catalog.reload()).await;
}

/// What tells one state of the two files, and of their folder, from another.
type Seen = [Option<(u64, u64, i64, i64)>; 3];

async fn look(catalog: &Catalog) -> Seen {
    let folder = catalog.folder().to_owned();
    smol::unblock(move || {
        let of = |path: &Path| {
            let metadata = std::fs::metadata(path).ok()?;
            let len = if metadata.is_dir() { 0 } else { metadata.len() };
            let time = match metadata.is_dir() {
                true => (0, 0),
                false => (metadata.mtime(), metadata.mtime_nsec()),
            };
            Some((metadata.ino(), len, time.0, time.1))
        };
        [
            of(&folder),
            of(&folder.join(FILE)),
            of(&folder.join(IMPORTED)),
        ]
    })
    .await
}
