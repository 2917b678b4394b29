//! The disk: files that are whole or not there, and what is kept in them.

pub mod atomic;
pub mod blocks;
pub mod database;
pub mod lacks;
pub mod lock;
mod migrations;
pub mod part;
pub mod probes;
pub mod progress;
pub mod queue;
pub mod scan_state;
pub mod sink;
pub mod space;
pub mod token;
pub mod uploads;

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// Makes a folder and those above it, for the service and its group alone; one that is there stays as it is. What root
/// makes belongs to the owner of the folder that was there, as all that a command run by root writes.
///
/// # Errors
/// It cannot be made, or something else has its name.
pub fn folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let above = match path.parent() {
        Some(above) if !above.as_os_str().is_empty() => above,
        _ => Path::new("."),
    };
    if above != path {
        folder(above)?;
    }
    match DirBuilder::new().mode(0o750).create(path) {
        Ok(()) => {
            // Root is led by no link that somebody put there at this moment.
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let made = rustix::fs::open(path, flags, Mode::empty())?;
            atomic::give_to_owner(&File::from(made), above)
        }
        // Somebody else made it at this moment.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

    use super::*;

    #[test]
    fn folders_are_made_for_the_owner_of_what_was_there() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b/c");
        // Where only root may give files away, the others keep their own.
        let given = chown(root.path(), Some(12345), Some(23456)).is_ok();
        let owner = fs::metadata(root.path()).unwrap();
        folder(&path).unwrap();
        folder(&path).unwrap();
        for made in [&path, path.parent().unwrap()] {
            let made = fs::metadata(made).unwrap();
            assert_eq!(made.permissions().mode() & 0o7777, 0o750);
            assert_eq!(
                (made.uid(), made.gid()),
                (owner.uid(), owner.gid()),
                "{given}"
            );
        }
        fs::write(root.path().join("file"), b"").unwrap();
        assert!(folder(&root.path().join("file")).is_err());
        assert!(folder(&root.path().join("file/below")).is_err());
        std::os::unix::fs::symlink("nowhere", root.path().join("link")).unwrap();
        assert!(folder(&root.path().join("link")).is_err());
    }
}
