//! The name that a file gets which has arrived.

use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::AtFlags;

use super::{Taken, no_random};
use crate::error::{Error, Result};
use crate::media::name::Name;
use crate::media::path::MediaPath;
use crate::media::shelf;
use crate::store::part::{self, Part};
use crate::store::space;

/// Files of one name at most.
const NUMBERED: u32 = 1000;

/// The numbers that are tried behind a name.
pub(super) fn numbers(taken: Taken) -> Range<u32> {
    match taken {
        Taken::Number => 1..NUMBERED,
        Taken::Refuse => 1..2,
    }
}

/// The path of a name in a folder.
pub(super) fn path(folder: &[u8], text: &str) -> Result<MediaPath> {
    let path = match folder {
        b"" => MediaPath::new(text.as_bytes()),
        folder => MediaPath::new(&[folder, b"/", text.as_bytes()].concat()),
    };
    path.ok_or_else(|| Error::internal("A name that was cleaned is no path."))
}

/// Whether nobody has a name at this moment.
pub(super) async fn is_free(root: &Path, folder: &[u8], text: &str) -> Result<bool> {
    let (root, folder, text) = (root.to_owned(), folder.to_owned(), text.to_owned());
    smol::unblock(move || {
        let place = shelf::folder(&root, &folder)?;
        Ok(!is_taken(place.as_fd(), &text))
    })
    .await
}

/// Whether something has a name in a folder, whatever it is. Blocks.
fn is_taken(place: BorrowedFd<'_>, text: &str) -> bool {
    rustix::fs::statat(place, text, AtFlags::SYMLINK_NOFOLLOW).is_ok()
}

/// Gives a part this very name, unless that is taken; whether it has it now. Blocks.
pub(super) fn name(root: &Path, part: &mut Part, folder: &[u8], text: &str) -> Result<bool> {
    let place = shelf::folder(root, folder)?;
    part.name(place.as_fd(), text).map_err(space::write_failed)
}

/// Gives a part its name. A subtitle that was converted gets its original's name beside it, or neither gets one.
pub(super) fn shelve(
    root: &Path,
    part: &mut Part,
    folder: &[u8],
    name: &Name,
    taken: Taken,
    vtt: Option<&[u8]>,
) -> Result<MediaPath> {
    let place = shelf::folder(root, folder)?;
    let mut beside = vtt.map(|vtt| beside(root, vtt)).transpose()?;
    for n in numbers(taken) {
        let text = name.numbered(n);
        if let Some(beside) = &mut beside {
            // Looked up first: the converted one must not take a name whose original's is another's.
            if is_taken(place.as_fd(), &text) {
                continue;
            }
            let vtt = name.with_extension("vtt").numbered(n);
            if !beside
                .name(place.as_fd(), &vtt)
                .map_err(space::write_failed)?
            {
                continue;
            }
        }
        if part
            .name(place.as_fd(), &text)
            .map_err(space::write_failed)?
        {
            return path(folder, &text);
        }
    }
    Err(shelf::name_taken(&name.to_string()))
}

/// A part that holds a converted subtitle.
fn beside(root: &Path, vtt: &[u8]) -> Result<Part> {
    use std::os::unix::fs::FileExt;
    let id = part::new_id().map_err(no_random)?;
    let part = Part::create(root, &id).map_err(space::write_failed)?;
    let file = part.file();
    file.write_all_at(vtt, 0)
        .and_then(|()| file.sync_all())
        .map_err(space::write_failed)?;
    Ok(part)
}
