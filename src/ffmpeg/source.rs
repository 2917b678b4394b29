//! Where ffmpeg reads from: a file, or a URL of our own; and what it must not read whatever the file says.
//!
//! ffmpeg knows formats that are lists of other files and URLs. Content decides the format, not the name: a playlist
//! called `film.mp4` would have ffmpeg read the box's own files, or its network. So every input is told which
//! protocols and which formats it may use, and neither list holds one that names another place.

use std::ffi::OsString;
use std::path::PathBuf;

/// Formats that hold media themselves, by the names that ffmpeg's demuxers have. `image2`, `concat`, `hls`, `dash`,
/// `sdp` and their like are missing on purpose.
pub const FORMATS: &str = "mov,matroska,webm,avi,mpegts,mpeg,mpegvideo,h264,hevc,ogg,flac,mp3,aac,ac3,eac3,wav,w64,aiff,flv,\
                           asf,dts,amr,ape,wv,tta,caf,dv,gxf,mxf,ivf,rm,m4v,truehd";

/// What is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file on the disk.
    File(PathBuf),
    /// An address of our own, and the header that it asks for.
    Url {
        /// `http://127.0.0.1:PORT/...`
        url: String,
        /// `Name: value`
        header: String,
    },
}

impl Source {
    /// The arguments that open it, `-i` and all; options of the input stand before them.
    pub fn arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = Vec::new();
        let mut push = |words: &[&str]| arguments.extend(words.iter().map(OsString::from));
        match self {
            Source::File(path) => {
                push(&["-protocol_whitelist", "file"]);
                push(&["-format_whitelist", FORMATS, "-i"]);
                // Named as a protocol, no name of a file can be taken for another one.
                let mut name = OsString::from("file:");
                name.push(path);
                arguments.push(name);
            }
            Source::Url { url, header } => {
                push(&["-protocol_whitelist", "http,tcp"]);
                push(&["-format_whitelist", FORMATS]);
                push(&["-headers", &format!("{header}\r\n"), "-i", url]);
            }
        }
        arguments
    }

    /// The end of what ffmpeg complained about, fit to be shown: without addresses, tokens and paths of ours, without
    /// what only a debugger reads, and short.
    pub fn shown(&self, stderr: &str) -> String {
        let mut text = stderr.to_owned();
        match self {
            Source::File(path) => {
                text = text.replace(&*path.to_string_lossy(), "the file");
                text = text.replace("file:the file", "the file");
            }
            Source::Url { url, header } => {
                text = text.replace(url, "the file");
                if let Some((_, token)) = header.split_once(": ") {
                    text = text.replace(token, "...");
                }
            }
        }
        let lines: Vec<String> = text
            .split(['\n', '\r'])
            .map(|line| without_pointers(line.trim()))
            .filter(|line| !line.is_empty())
            .collect();
        let first = lines.len().saturating_sub(SHOWN_LINES);
        let text = lines[first..].join("\n");
        let excess = text.chars().count().saturating_sub(SHOWN_CHARACTERS);
        text.chars().skip(excess).collect()
    }
}

/// Lines of a complaint that are shown.
const SHOWN_LINES: usize = 6;

/// Characters of a complaint that are shown.
const SHOWN_CHARACTERS: usize = 600;

/// `[h264 @ 0x55d0c8]` as `[h264]`; and no control characters.
fn without_pointers(line: &str) -> String {
    let mut rest = line;
    let mut text = String::new();
    while let Some(at) = rest.find(" @ 0x") {
        let (before, after) = rest.split_at(at);
        text.push_str(before);
        rest = after[5..].trim_start_matches(|c: char| c.is_ascii_hexdigit());
    }
    text.push_str(rest);
    text.retain(|c| !c.is_control());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_input_is_fenced() {
        for (source, protocols) in [
            (Source::File("/a/-i.mp4".into()), "file"),
            (
                Source::Url {
                    url: "http://127.0.0.1:1/x".to_owned(),
                    header: "A: b".to_owned(),
                },
                "http,tcp",
            ),
        ] {
            let arguments = source.arguments();
            assert_eq!(&arguments[..2], ["-protocol_whitelist", protocols]);
            assert_eq!(&arguments[2..4], ["-format_whitelist", FORMATS]);
            let last = arguments[arguments.len() - 1]
                .to_string_lossy()
                .into_owned();
            assert!(
                last.starts_with("file:/") || last.starts_with("http:"),
                "{last}"
            );
        }
        for dangerous in [
            "hls",
            "concat",
            "dash",
            "image2",
            "sdp",
            "rtsp",
            "tedcaptions",
            "applehttp",
        ] {
            assert!(!FORMATS.split(',').any(|format| format == dangerous));
        }
    }

    #[test]
    fn complaints_are_fit_to_be_shown() {
        let source = Source::Url {
            url: "http://127.0.0.1:4711/videos/a.mp4".to_owned(),
            header: "X-Token: 0123456789abcdef".to_owned(),
        };
        let shown = source.shown(
            "X-Token: 0123456789abcdef\r\n[mov,mp4 @ 0x55d0c8e7] moov atom \x1bnot found\n\n\
             http://127.0.0.1:4711/videos/a.mp4: Invalid data found when processing input\n",
        );
        assert_eq!(
            shown,
            "X-Token: ...\n[mov,mp4] moov atom not found\nthe file: Invalid data found when processing input"
        );
        let long = source.shown(&"é".repeat(9000));
        assert_eq!(long.chars().count(), SHOWN_CHARACTERS);
        let file = Source::File("/srv/films/a.mp4".into());
        assert_eq!(file.shown("file:/srv/films/a.mp4: No"), "the file: No");
    }
}
