//! A small disk of its own, for what happens when one is full.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// A disk of a few megabytes, gone when dropped.
#[derive(Debug)]
pub struct Disk(TempDir);

impl Disk {
    /// One of `size` (as `mount` writes it); `None` where this user may not mount one.
    pub fn new(size: &str) -> Option<Disk> {
        let folder = tempfile::tempdir().expect("a temp folder");
        let options = format!("size={size}");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "none"])
            .arg(folder.path())
            .output();
        match mounted {
            Ok(done) if done.status.success() => Some(Disk(folder)),
            _ => None,
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Makes it larger.
    pub fn grow(&self, size: &str) {
        let done = Command::new("mount")
            .args(["-o", &format!("remount,size={size}")])
            .arg(self.path())
            .output()
            .expect("mount runs");
        assert!(done.status.success(), "{done:?}");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).output();
    }
}
