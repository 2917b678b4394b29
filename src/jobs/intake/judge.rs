//! What a file that has arrived is, whatever it is called: taken as it is, taken and converted, or refused.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use crate::error::{Error, Kind, Result};
use crate::ffmpeg::Programs;
use crate::ffmpeg::probe;
use crate::ffmpeg::source::Source;
use crate::media::kind;
use crate::media::name::Name;
use crate::media::playable::{self, Plan};
use crate::media::sniff::{self, Looks};
use crate::media::subtitle;
use crate::store::part::Part;

/// What becomes of a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Browsers do not play it as it is, or not from its beginning.
    pub(super) convert: bool,
    /// What it is as WebVTT, when it is another subtitle.
    pub(super) vtt: Option<Vec<u8>>,
}

/// Judges a part that is to be called `name`.
///
/// # Errors
/// `not_media` (415), `ffmpeg_not_available` (503) of what would have to be converted, `probe_failed` (502).
pub(super) async fn judge(programs: &Programs, part: &Part, name: &Name) -> Result<Verdict> {
    let extension = name.extension();
    if matches!(extension.as_str(), "vtt" | "srt") {
        let file = part.file().clone();
        return smol::unblock(move || subtitle(&file, extension == "srt")).await;
    }
    let Ok(ffprobe) = programs.ffprobe_path() else {
        let file = part.file().clone();
        let looks = smol::unblock(move || sniff::look(&file, &extension)).await;
        return match looks.map_err(unreadable)? {
            Looks::Playable => Ok(Verdict::default()),
            Looks::Media => Err(needs_ffmpeg(programs)),
            Looks::Nothing => Err(not_media(name)),
        };
    };
    let source = Source::File(part.path().to_owned());
    let info = probe::probe(&ffprobe, &source).await?;
    let playable = playable::judge(&info, kind::by_name(name.to_string().as_bytes()));
    let plays = playable.plan == Plan::Direct;
    if plays && is_ready(part).await? {
        return Ok(Verdict::default());
    }
    if programs.ffmpeg_path().is_err() {
        return match plays {
            true => Ok(Verdict::default()),
            false => Err(needs_ffmpeg(programs)),
        };
    }
    Ok(Verdict {
        convert: true,
        vtt: None,
    })
}

/// Whether it plays from its first bytes on. One whose index is at its end plays too, but a screen reads its end before
/// it begins, and some read all of it.
async fn is_ready(part: &Part) -> Result<bool> {
    let file = part.file().clone();
    let ready = smol::unblock(move || sniff::is_ready(&file)).await;
    ready.map_err(unreadable)
}

fn unreadable(error: std::io::Error) -> Error {
    Error::internal("What was sent cannot be read again; check the disk.").because(error)
}

fn subtitle(file: &Arc<File>, is_srt: bool) -> Result<Verdict> {
    let mut text = Vec::new();
    // By a path of its own: the part's offset is nobody's.
    let mut reader = At { file, at: 0 }.take(subtitle::LARGEST + 1);
    reader.read_to_end(&mut text).map_err(unreadable)?;
    if text.len() as u64 > subtitle::LARGEST {
        return Err(Error::new(
            Kind::TooLarge,
            "subtitle_too_large",
            "Subtitles above 10 MB are not taken; this file is probably none.",
        ));
    }
    let no_subtitle = || {
        Error::new(
            Kind::Unsupported,
            "not_media",
            "There is no subtitle in this file that browsers could show; save it as WebVTT or SubRip.",
        )
    };
    if is_srt {
        let vtt = subtitle::srt_to_vtt(&text);
        // A file that holds no cue comes out as the bare signature.
        return match vtt.windows(3).any(|three| three == b"-->") {
            true => Ok(Verdict {
                convert: false,
                vtt: Some(vtt),
            }),
            false => Err(no_subtitle()),
        };
    }
    // "WEBVTT", then a space, a tab or the end of the line (W3C WebVTT section 4.1).
    let bare = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text);
    match bare.strip_prefix(b"WEBVTT") {
        Some([] | [b' ' | b'\t' | b'\r' | b'\n', ..]) => Ok(Verdict::default()),
        _ => Err(no_subtitle()),
    }
}

fn not_media(name: &Name) -> Error {
    Error::new(
        Kind::Unsupported,
        "not_media",
        format!(
            "This is no {} file, whatever its name says; it may be damaged, or another kind of file.",
            name.extension()
        ),
    )
}

fn needs_ffmpeg(programs: &Programs) -> Error {
    let why = [programs.ffmpeg(), programs.ffprobe()]
        .into_iter()
        .find(|program| !program.available)
        .and_then(|program| program.error)
        .unwrap_or_else(|| "ffmpeg is not there".to_owned());
    Error::new(
        Kind::Unavailable,
        "ffmpeg_not_available",
        format!("Browsers do not play this as it is, and it cannot be converted: {why}."),
    )
}

/// Reads a file from an offset of one's own.
struct At<'a> {
    file: &'a File,
    at: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        use std::os::unix::fs::FileExt;
        let n = self.file.read_at(buffer, self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}
