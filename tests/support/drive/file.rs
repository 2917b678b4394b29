//! What lies on the fake Drive: files, and where their bytes come from.
//!
//! A [`Content::Pattern`] stores nothing: each byte is a function of its offset, so that a test
//! compares gigabytes without holding them, and a byte from the wrong place never passes for the right one.

use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};

/// The type of a folder.
pub const FOLDER: &str = "application/vnd.google-apps.folder";
/// The type of a shortcut.
pub const SHORTCUT: &str = "application/vnd.google-apps.shortcut";

/// The eight bytes that a pattern has at offset `8 * index`.
fn pattern_word(index: u64) -> [u8; 8] {
    let mixed = index.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed ^ (mixed >> 32)).to_le_bytes()
}

/// The byte that a pattern has at `offset`.
pub fn pattern_byte(offset: u64) -> u8 {
    pattern_word(offset / 8)[(offset % 8) as usize]
}

/// Fills `buffer` with what a pattern has from `offset` on.
pub fn pattern_fill(offset: u64, buffer: &mut [u8]) {
    let head = (offset.wrapping_neg() % 8).min(buffer.len() as u64) as usize;
    let (first, rest) = buffer.split_at_mut(head);
    for (i, byte) in first.iter_mut().enumerate() {
        *byte = pattern_byte(offset + i as u64);
    }
    let mut index = (offset + head as u64) / 8;
    let mut words = rest.chunks_exact_mut(8);
    for word in &mut words {
        word.copy_from_slice(&pattern_word(index));
        index += 1;
    }
    let last = words.into_remainder();
    let len = last.len();
    last.copy_from_slice(&pattern_word(index)[..len]);
}

/// Where the first byte of `bytes` lies that differs from the pattern at `offset`.
pub fn pattern_mismatch(offset: u64, bytes: &[u8]) -> Option<u64> {
    let mut expected = vec![0; bytes.len().min(64 * 1024)];
    for (i, chunk) in bytes.chunks(64 * 1024).enumerate() {
        let at = offset + (i * 64 * 1024) as u64;
        let expected = &mut expected[..chunk.len()];
        pattern_fill(at, expected);
        if expected != chunk {
            let place = chunk.iter().zip(expected.iter()).position(|(a, b)| a != b);
            return place.map(|place| at + place as u64);
        }
    }
    None
}

/// Where the bytes of a file come from.
#[derive(Clone, Debug)]
pub enum Content {
    /// None: folders, shortcuts, Google's own documents.
    None,
    /// Bytes in memory.
    Bytes(Arc<Vec<u8>>),
    /// So many bytes of the pattern.
    Pattern(u64),
    /// A file of this disk.
    Path(PathBuf),
}

impl Content {
    /// Length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Content::None => 0,
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::Pattern(size) => *size,
            Content::Path(path) => std::fs::metadata(path).map_or(0, |meta| meta.len()),
        }
    }

    /// Something to read it by.
    pub fn open(&self) -> io::Result<Reader> {
        Ok(match self {
            Content::None => Reader::Bytes(Arc::new(Vec::new())),
            Content::Bytes(bytes) => Reader::Bytes(bytes.clone()),
            Content::Pattern(_) => Reader::Pattern,
            Content::Path(path) => Reader::File(std::fs::File::open(path)?),
        })
    }
}

/// An open [`Content`].
pub enum Reader {
    /// Bytes in memory.
    Bytes(Arc<Vec<u8>>),
    /// The pattern.
    Pattern,
    /// A file of this disk.
    File(std::fs::File),
}

impl Reader {
    /// Fills `buffer` from `offset` on; zeros beyond the end (a body longer than its file is a fault one may ask for).
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        match self {
            Reader::Pattern => pattern_fill(offset, buffer),
            Reader::Bytes(bytes) => {
                let start = usize::try_from(offset)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                let len = buffer.len().min(bytes.len() - start);
                buffer[..len].copy_from_slice(&bytes[start..start + len]);
                buffer[len..].fill(0);
            }
            Reader::File(file) => {
                let mut done = 0;
                while done < buffer.len() {
                    match file.read_at(&mut buffer[done..], offset + done as u64)? {
                        0 => {
                            buffer[done..].fill(0);
                            break;
                        }
                        n => done += n,
                    }
                }
            }
        }
        Ok(())
    }
}

/// A file, folder, shortcut or document on the fake Drive.
#[derive(Clone, Debug)]
pub struct File {
    /// Id.
    pub id: String,
    /// Name; may repeat within a folder and hold anything.
    pub name: String,
    /// `mimeType`.
    pub mime: String,
    /// Ids of its folders; empty for a shared root.
    pub parents: Vec<String>,
    /// Drive does not say what its folders are.
    pub parents_hidden: bool,
    /// `md5Checksum`; made up by [`File::new`] for what has bytes.
    pub md5: Option<String>,
    /// `modifiedTime`, RFC 3339.
    pub modified: String,
    /// `videoMediaMetadata`: width, height, milliseconds.
    pub video: Option<(u32, u32, u64)>,
    /// `shortcutDetails`: target's id and type.
    pub shortcut: Option<(String, String)>,
    /// `shortcutDetails.targetResourceKey`.
    pub shortcut_key: Option<String>,
    /// Id of the shared drive it lies on; then `supportsAllDrives` is needed to see it.
    pub shared_drive: Option<String>,
    /// Key without which it is not found.
    pub resource_key: Option<String>,
    /// In the bin.
    pub trashed: bool,
    /// Google thinks it malware: its bytes come only when the abuse is acknowledged.
    pub abusive: bool,
    /// Its owner forbids downloads (`capabilities.canDownload` false).
    pub no_download: bool,
    /// The bytes.
    pub content: Content,
}

impl File {
    /// A file with `content`.
    pub fn new(id: &str, name: &str, mime: &str, content: Content) -> File {
        let md5 = match content {
            Content::None => None,
            _ => {
                let hash = (id.bytes().chain(content.len().to_le_bytes()))
                    .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
                    });
                Some(format!("{hash:016x}{:016x}", hash.rotate_left(17)))
            }
        };
        File {
            id: id.to_owned(),
            name: name.to_owned(),
            mime: mime.to_owned(),
            parents: Vec::new(),
            parents_hidden: false,
            md5,
            modified: "2026-03-14T09:26:53.589Z".to_owned(),
            video: None,
            shortcut: None,
            shortcut_key: None,
            shared_drive: None,
            resource_key: None,
            trashed: false,
            abusive: false,
            no_download: false,
            content,
        }
    }

    /// An MP4 by name and type, whose bytes are `size` bytes of the pattern.
    pub fn pattern(id: &str, size: u64) -> File {
        File::new(
            id,
            &format!("{id}.mp4"),
            "video/mp4",
            Content::Pattern(size),
        )
    }

    /// A file of bytes in memory.
    pub fn bytes(id: &str, name: &str, mime: &str, bytes: impl Into<Vec<u8>>) -> File {
        File::new(id, name, mime, Content::Bytes(Arc::new(bytes.into())))
    }

    /// A folder.
    pub fn folder(id: &str, name: &str) -> File {
        File::new(id, name, FOLDER, Content::None)
    }

    /// A shortcut to `target`, which has the type `target_mime`.
    pub fn shortcut_to(id: &str, name: &str, target: &str, target_mime: &str) -> File {
        let mut file = File::new(id, name, SHORTCUT, Content::None);
        file.shortcut = Some((target.to_owned(), target_mime.to_owned()));
        file
    }

    /// One of Google's own documents (`document`, `spreadsheet`, ...), exported as `text`.
    pub fn document(id: &str, name: &str, kind: &str, text: &str) -> File {
        let mime = format!("application/vnd.google-apps.{kind}");
        let mut file = File::new(id, name, &mime, Content::None);
        file.content = Content::Bytes(Arc::new(text.as_bytes().to_vec()));
        file
    }

    /// Puts it into a folder.
    #[must_use]
    pub fn within(mut self, folder: &str) -> File {
        self.parents.push(folder.to_owned());
        self
    }

    /// Changes whatever else should differ.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut File)) -> File {
        change(&mut self);
        self
    }

    /// Whether it is one of Google's own kinds, which have no bytes to download.
    pub fn is_google(&self) -> bool {
        self.mime.starts_with("application/vnd.google-apps.")
    }

    /// All that `files.get?fields=*` says of it.
    pub fn describe(&self) -> Value {
        let mut text = json!({
            "kind": "drive#file",
            "id": self.id,
            "name": self.name,
            "mimeType": self.mime,
            "trashed": self.trashed,
            "explicitlyTrashed": self.trashed,
            "createdTime": self.modified,
            "modifiedTime": self.modified,
            "capabilities": { "canDownload": !self.no_download },
        });
        if !self.parents.is_empty() && !self.parents_hidden {
            text["parents"] = json!(self.parents);
        }
        if !self.is_google() {
            text["size"] = json!(self.content.len().to_string());
            text["originalFilename"] = json!(self.name);
            if let Some((_, extension)) = self.name.rsplit_once('.') {
                text["fileExtension"] = json!(extension);
            }
        }
        if let Some(md5) = &self.md5 {
            text["md5Checksum"] = json!(md5);
        }
        if let Some((width, height, milliseconds)) = self.video {
            text["videoMediaMetadata"] = json!({
                "width": width,
                "height": height,
                "durationMillis": milliseconds.to_string(),
            });
        }
        if let Some((target, mime)) = &self.shortcut {
            text["shortcutDetails"] = json!({ "targetId": target, "targetMimeType": mime });
            if let Some(key) = &self.shortcut_key {
                text["shortcutDetails"]["targetResourceKey"] = json!(key);
            }
        }
        if let Some(drive) = &self.shared_drive {
            text["driveId"] = json!(drive);
        }
        if let Some(key) = &self.resource_key {
            text["resourceKey"] = json!(key);
        }
        text
    }
}

/// What a `Range` header asks of a file of `size` bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    /// The whole file, 200.
    Whole,
    /// A part, 206.
    Part(Range<u64>),
    /// Nothing that there is, 416.
    Nothing,
}

/// Reads a `Range` header as Drive does: several ranges are the whole file, any range of an empty
/// file is 416.
pub fn asked(range: Option<&str>, size: u64) -> Asked {
    let Some(spec) = range.and_then(|text| text.trim().strip_prefix("bytes=")) else {
        return Asked::Whole;
    };
    if spec.contains(',') {
        return Asked::Whole;
    }
    let Some((first, last)) = spec.split_once('-') else {
        return Asked::Whole;
    };
    let (first, last) = (first.trim().parse::<u64>(), last.trim().parse::<u64>());
    let range = match (first, last) {
        (Ok(first), Ok(last)) if last >= first => first..last.saturating_add(1).min(size),
        (Ok(_), Ok(_)) => return Asked::Whole,
        (Ok(first), Err(_)) => first..size,
        (Err(_), Ok(suffix)) => size.saturating_sub(suffix)..size,
        (Err(_), Err(_)) => return Asked::Whole,
    };
    if range.start >= size {
        Asked::Nothing
    } else {
        Asked::Part(range)
    }
}
