//! The name under which an uploaded file is kept: what the client called it, without what a name must not hold.
//!
//! Pure. Letters stay whatever their script, in the composed form that keyboards send (NFC); separators, control
//! characters, leading dots and the names that Windows keeps for devices go. There is room left for ` (2)` and for
//! the other extensions of what is made of a file.

use unicode_normalization::UnicodeNormalization;

/// The longest name, in bytes: of the 255 that file systems take, what a number, a language and an extension for
/// temporary files need is left free.
const LONGEST: usize = 200;

/// What may be uploaded.
pub const ALLOWED: &[&str] = &[
    "mp4", "m4v", "mov", "mkv", "webm", "avi", "mp3", "m4a", "flac", "ogg", "opus", "vtt", "srt",
];

/// Names that a share mounted on Windows cannot show, whatever their extension.
const DEVICES: &[&str] = &["con", "prn", "aux", "nul", "com", "lpt"];

/// A name that any file system takes, of one segment, visible, with an extension of [`ALLOWED`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    stem: String,
    /// As the client wrote it, without its dot.
    extension: String,
}

impl Name {
    /// Cleans a client's name for a file. `None` when its extension is none that may be uploaded.
    pub fn clean(raw: &str) -> Option<Name> {
        // Some send the whole path (`C:\fakepath\a.mp4`); nothing in it but its end is the file's.
        let last = raw.rsplit(['/', '\\']).next().unwrap_or_default();
        let visible: String = last.nfc().filter(|&c| is_kept(c)).collect();
        let (stem, extension) = visible.trim_end_matches(['.', ' ']).rsplit_once('.')?;
        let extension = extension.trim();
        let allowed = ALLOWED
            .iter()
            .any(|known| extension.eq_ignore_ascii_case(known));
        if !allowed {
            return None;
        }
        Some(Name {
            stem: tidy(stem, extension),
            extension: extension.to_owned(),
        })
    }

    /// The name that a file gets which is renamed: its extension stays, whether `wanted` has it or not.
    pub fn in_place_of(old: &str, wanted: &str) -> Name {
        let extension = old.rsplit_once('.').map_or("", |(_, extension)| extension);
        let last = wanted.rsplit(['/', '\\']).next().unwrap_or_default();
        let stem = match last.trim().rsplit_once('.') {
            Some((stem, end)) if end.eq_ignore_ascii_case(extension) => stem,
            _ => last,
        };
        let visible: String = stem.nfc().filter(|&c| is_kept(c)).collect();
        Name {
            stem: tidy(&visible, extension),
            extension: extension.to_owned(),
        }
    }

    /// The name without its extension.
    pub fn stem(&self) -> &str {
        &self.stem
    }

    /// The extension, in lower case.
    pub fn extension(&self) -> String {
        self.extension.to_ascii_lowercase()
    }

    /// The name as it is on the disk; the `n`th with this name is called so.
    pub fn numbered(&self, n: u32) -> String {
        match n {
            0 | 1 => format!("{}.{}", self.stem, self.extension),
            n => format!("{} ({n}).{}", self.stem, self.extension),
        }
    }

    /// The same with another extension.
    #[must_use]
    pub fn with_extension(&self, extension: &str) -> Name {
        Name {
            stem: self.stem.clone(),
            extension: extension.to_owned(),
        }
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.numbered(1))
    }
}

/// What is left of a name without its extension, of visible characters.
fn tidy(stem: &str, extension: &str) -> String {
    let most = LONGEST.saturating_sub(1 + extension.len());
    let edge = |c: char| c == '.' || c.is_whitespace();
    let stem = shorten(stem.trim_start_matches(edge), most).trim_end_matches(edge);
    match stem {
        "" => "Untitled".to_owned(),
        stem if is_device(stem) => format!("_{stem}"),
        stem => stem.to_owned(),
    }
}

/// Whether a character may stand in a name. What turns the direction of writing round goes with the control
/// characters: it shows `gpj.exe` as `exe.jpg`. Joiners stay; some scripts and many emoji are made of them.
fn is_kept(c: char) -> bool {
    !c.is_control()
        && !matches!(
            c,
            '/' | '\\'
                | '\u{fffd}'
                | '\u{feff}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
        )
}

/// As much of the beginning as fits into so many bytes.
fn shorten(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Whether Windows takes a name for a device: `con`, `NUL.tar`, `com1`.
fn is_device(stem: &str) -> bool {
    let first = stem.split('.').next().unwrap_or_default().trim_end();
    let first = first.to_ascii_lowercase();
    DEVICES
        .iter()
        .any(|device| match first.strip_prefix(device) {
            Some(rest) if matches!(*device, "com" | "lpt") => {
                rest.len() == 1 && rest.bytes().all(|b| b.is_ascii_digit())
            }
            Some(rest) => rest.is_empty(),
            None => false,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::path::MediaPath;
    use proptest::prelude::*;

    fn clean(raw: &str) -> Option<String> {
        Name::clean(raw).map(|name| name.to_string())
    }

    #[test]
    fn what_becomes_of_hostile_names() {
        for (raw, want) in [
            ("Film.mp4", "Film.mp4"),
            ("Füllhorn 日本語 🎬.MKV", "Füllhorn 日本語 🎬.MKV"),
            ("a\u{308}.mp4", "ä.mp4"),
            ("../../etc/passwd.mp4", "passwd.mp4"),
            ("C:\\fakepath\\a.mp4", "a.mp4"),
            ("..\\..\\a.mp4", "a.mp4"),
            ("...hidden.mp4", "hidden.mp4"),
            (".mp4", "Untitled.mp4"),
            (" . .mp4", "Untitled.mp4"),
            ("a\0b\r\n\x1b[31m.mp4", "ab[31m.mp4"),
            ("film\u{202e}4pm.mp4", "film4pm.mp4"),
            ("film.mp4.", "film.mp4"),
            ("film . .mp4", "film.mp4"),
            ("CON.mp4", "_CON.mp4"),
            ("nul.x.mp4", "_nul.x.mp4"),
            ("com1.mp4", "_com1.mp4"),
            ("comet.mp4", "comet.mp4"),
            ("console.mp4", "console.mp4"),
            ("a\"<b>&'c'.mp4", "a\"<b>&'c'.mp4"),
            ("-rf.mp4", "-rf.mp4"),
            ("$(reboot);`x`.mp4", "$(reboot);`x`.mp4"),
            ("100%.mp4", "100%.mp4"),
            ("a.part.mp4", "a.part.mp4"),
        ] {
            assert_eq!(clean(raw).as_deref(), Some(want), "{raw:?}");
        }
        for none in [
            "",
            "mp4",
            "a.exe",
            "a.mp4.exe",
            "a.",
            "..",
            "a.mp4/",
            "a.mp4\\b",
            "a.part",
        ] {
            assert_eq!(clean(none), None, "{none:?}");
        }
    }

    #[test]
    fn a_new_name_keeps_the_extension() {
        for (old, wanted, want) in [
            ("a.mp4", "b", "b.mp4"),
            ("a.mp4", "b.mp4", "b.mp4"),
            ("a.MP4", "b.mp4", "b.MP4"),
            ("a.mp4", "b.mkv", "b.mkv.mp4"),
            ("a.wav", "../.x", "x.wav"),
            ("a.mp4", "  ", "Untitled.mp4"),
            ("a.mp4", "S01.E02", "S01.E02.mp4"),
        ] {
            assert_eq!(Name::in_place_of(old, wanted).to_string(), want);
        }
    }

    #[test]
    fn long_names_leave_room_for_a_number() {
        let name = Name::clean(&format!("{}.mp4", "é".repeat(500))).unwrap();
        assert!(name.to_string().len() <= LONGEST && name.numbered(999).len() < 255);
        assert!(name.stem().chars().all(|c| c == 'é'));
        assert_eq!(
            name.with_extension("vtt").numbered(2),
            format!("{} (2).vtt", name.stem())
        );
        assert_eq!(Name::clean("a.MP4").unwrap().extension(), "mp4");
    }

    proptest! {
        #[test]
        fn every_name_is_a_visible_path_of_one_segment(raw in "\\PC*|.*", extension in prop::sample::select(ALLOWED)) {
            let name = Name::clean(&format!("{raw}.{extension}")).unwrap();
            for n in [1, 2, 1000] {
                let text = name.numbered(n);
                let path = MediaPath::new(text.as_bytes()).unwrap();
                prop_assert!(!path.is_hidden() && path.folder().is_empty() && text.len() < 255);
                prop_assert!(!text.chars().any(char::is_control));
            }
            // Cleaning what is clean changes nothing.
            prop_assert_eq!(Name::clean(&name.to_string()), Some(name));
        }
    }
}
