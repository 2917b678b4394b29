//! One child of a folder, and how the children of a folder are kept: as compact bytes, since a library has a
//! hundred thousand of them and a Pi has better uses for its memory.

/// A child of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Drive's id, or the path below the local root. A shortcut's own.
    pub id: String,
    /// Its name, as it is.
    pub name: String,
    /// What it is; of a shortcut, what it points at.
    pub kind: Kind,
    /// Id of what a shortcut points at.
    pub target: Option<String>,
    /// The key without which Drive does not show it (or what it points at) to whoever has nothing but its link.
    pub key: Option<String>,
}

/// What a child is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A folder.
    Folder,
    /// A file with bytes.
    File,
    /// A Google document that is sent as PDF.
    Document,
    /// A Google drawing, sent as PNG.
    Drawing,
    /// Something of Google's that cannot be sent.
    Other,
}

/// Set in a kind's byte when a target follows, and when a key does.
const POINTS: u8 = 0x80;
const KEYED: u8 = 0x40;

impl Entry {
    /// The id under which it is opened.
    pub fn reference(&self) -> &str {
        self.target.as_deref().unwrap_or(&self.id)
    }
}

impl Kind {
    /// The kind that Google's type stands for.
    pub fn of_mime(mime: &str) -> Kind {
        match mime.strip_prefix("application/vnd.google-apps.") {
            Some("folder") => Kind::Folder,
            Some("document" | "spreadsheet" | "presentation") => Kind::Document,
            Some("drawing") => Kind::Drawing,
            Some(_) => Kind::Other,
            None => Kind::File,
        }
    }

    fn byte(self) -> u8 {
        match self {
            Kind::Folder => 0,
            Kind::File => 1,
            Kind::Document => 2,
            Kind::Drawing => 3,
            Kind::Other => 4,
        }
    }

    fn of_byte(byte: u8) -> Option<Kind> {
        Some(match byte {
            0 => Kind::Folder,
            1 => Kind::File,
            2 => Kind::Document,
            3 => Kind::Drawing,
            4 => Kind::Other,
            _ => return None,
        })
    }
}

/// The bytes of a folder's children. They are sorted first, so that the order of an answer does not matter.
pub fn encode(entries: &mut Vec<Entry>) -> Vec<u8> {
    entries.sort_by(|a, b| (&a.id, &a.name).cmp(&(&b.id, &b.name)));
    entries.dedup_by(|a, b| a.id == b.id);
    let mut bytes = Vec::with_capacity(entries.len() * 96);
    for entry in entries.iter() {
        let points = entry.target.as_ref().map_or(0, |_| POINTS);
        let keyed = entry.key.as_ref().map_or(0, |_| KEYED);
        bytes.push(entry.kind.byte() | points | keyed);
        let texts = [
            Some(&entry.id),
            Some(&entry.name),
            entry.target.as_ref(),
            entry.key.as_ref(),
        ];
        for text in texts.into_iter().flatten() {
            let mut length = text.len();
            while length >= 0x80 {
                bytes.push(length as u8 | 0x80);
                length >>= 7;
            }
            bytes.push(length as u8);
            bytes.extend_from_slice(text.as_bytes());
        }
    }
    bytes
}

/// Reads what [`encode`] wrote; `None` for anything else.
pub fn decode(mut bytes: &[u8]) -> Option<Vec<Entry>> {
    let mut entries = Vec::new();
    while let Some((first, rest)) = bytes.split_first() {
        bytes = rest;
        let kind = Kind::of_byte(first & !(POINTS | KEYED))?;
        let id = text(&mut bytes)?;
        let name = text(&mut bytes)?;
        let target = match first & POINTS {
            0 => None,
            _ => Some(text(&mut bytes)?),
        };
        let key = match first & KEYED {
            0 => None,
            _ => Some(text(&mut bytes)?),
        };
        entries.push(Entry {
            id,
            name,
            kind,
            target,
            key,
        });
    }
    Some(entries)
}

fn text(bytes: &mut &[u8]) -> Option<String> {
    let mut length = 0_usize;
    for shift in [0, 7, 14, 21, 28] {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        length |= usize::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            let text = bytes.get(..length)?;
            *bytes = &bytes[length..];
            return std::str::from_utf8(text).ok().map(str::to_owned);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn what_is_kept_comes_back(names in proptest::collection::vec(("[a-z]{1,4}", "\\PC{0,200}", proptest::bool::ANY), 0..20)) {
            let mut entries: Vec<Entry> = names.into_iter().enumerate().map(|(i, (id, name, points))| Entry {
                id: format!("{id}{i}"), name, kind: Kind::of_byte((i % 5) as u8).unwrap(), target: points.then(|| "t".to_owned()), key: (i % 3 == 0).then(|| "0-k".to_owned()),
            }).collect();
            let bytes = encode(&mut entries);
            proptest::prop_assert_eq!(decode(&bytes), Some(entries));
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(0..=255_u8, 0..60)) {
            let _ = decode(&bytes);
        }
    }
}
