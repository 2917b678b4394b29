//! What lies directly in one folder, for those who walk a library by its folders.
//!
//! It names every file that is served, films or not, and no other: nothing hidden, nothing that leads outside. A link
//! to a folder is not named: what it shows inside is named where it lies, and so no circle of links can hold a walker.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::media::listing::{self, Item};
use crate::media::path::MediaPath;

/// Files and folders of one folder that are named. A page of so many takes some MiB, for as long as it is sent.
pub const MOST: usize = 50_000;

/// What one folder holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Folders, by name.
    pub folders: Vec<Item>,
    /// Files, by name.
    pub files: Vec<Item>,
    /// Whether there is more than [`MOST`].
    pub has_more: bool,
}

impl Contents {
    /// How many are named.
    pub fn count(&self) -> usize {
        self.folders.len() + self.files.len()
    }
}

/// Reads the folder at `folder` below `root`, or `root` itself. Blocks.
pub(super) fn read(root: &Path, folder: Option<&MediaPath>) -> io::Result<Contents> {
    let root = fs::canonicalize(root)?;
    let place = folder.map_or(root.clone(), |path| root.join(path.as_path()));
    let mut contents = Contents::default();
    for entry in listing::entries(&root, folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let path = MediaPath::child(folder, name.as_bytes()).filter(|path| !path.is_hidden());
        let (Some(path), Ok(file_type)) = (path, entry.file_type()) else {
            continue;
        };
        let metadata = if file_type.is_symlink() {
            let target = fs::canonicalize(place.join(&name)).ok();
            let inside = target.filter(|target| target.starts_with(&root));
            inside
                .and_then(|target| fs::metadata(target).ok())
                .filter(fs::Metadata::is_file)
        } else {
            entry.metadata().ok()
        };
        let Some(metadata) = metadata.filter(|found| found.is_file() || found.is_dir()) else {
            continue;
        };
        if contents.count() == MOST {
            contents.has_more = true;
            break;
        }
        let (kind, bytes) = match metadata.is_dir() {
            true => (&mut contents.folders, 0),
            false => (&mut contents.files, metadata.len()),
        };
        kind.push(Item {
            path,
            bytes,
            modified: metadata.mtime(),
        });
    }
    for kind in [&mut contents.folders, &mut contents.files] {
        kind.sort_by(|a, b| listing::natural(&a.path, &b.path));
    }
    Ok(contents)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_folder_names_what_is_served_from_it() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::NamedTempFile::new().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("sub/deep")).unwrap();
        fs::create_dir(root.join(".hidden")).unwrap();
        for name in [
            "b 10.mp4",
            "b 2.mp4",
            "notes.txt",
            ".secret",
            "c.mp4.part",
            "sub/d.mp4",
        ] {
            fs::write(root.join(name), name).unwrap();
        }
        symlink(root, root.join("circle")).unwrap();
        symlink("b 2.mp4", root.join("inside.mp4")).unwrap();
        symlink(outside.path(), root.join("outside.mp4")).unwrap();
        symlink("nowhere", root.join("dangling.mp4")).unwrap();
        let names = |items: &[Item]| -> Vec<String> {
            items
                .iter()
                .map(|item| item.path.text().into_owned())
                .collect()
        };
        let top = read(root, None).unwrap();
        assert_eq!(names(&top.folders), ["sub"]);
        assert_eq!(
            names(&top.files),
            ["b 2.mp4", "b 10.mp4", "inside.mp4", "notes.txt"]
        );
        assert_eq!(top.files[0].bytes, 7);
        let sub = MediaPath::new(b"sub").unwrap();
        let sub = read(root, Some(&sub)).unwrap();
        assert_eq!(
            (names(&sub.folders), names(&sub.files)),
            (vec!["sub/deep".to_owned()], vec!["sub/d.mp4".to_owned()])
        );
        for not_a_folder in ["circle", "b 2.mp4", "missing"] {
            let path = MediaPath::new(not_a_folder.as_bytes()).unwrap();
            assert!(read(root, Some(&path)).is_err(), "{not_a_folder}");
        }
    }
}
