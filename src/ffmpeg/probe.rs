//! What is in a file: ffprobe's answer, of which only what a player or a conversion asks is kept.
//!
//! ffprobe is given little to read, a short while, and room for an answer of bounded length; whatever the file holds,
//! no more than [`MAX_STREAMS`] streams and short words of it come through.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Kind, Result};
use crate::ffmpeg::child::{Child, Priority, Stdout};
use crate::ffmpeg::source::Source;

/// Bytes from which ffprobe finds out what a stream is, beyond the container's index: a frame of 4K video and what
/// lies around it. With what it has read by then it stays within the first two ranges of a stream from Drive.
const PROBE_SIZE: &str = "1200000";

/// Microseconds of media that it may look at for that.
const ANALYZE_DURATION: &str = "2000000";

/// How long it may take; a file on Drive answers its first byte within seconds, on a bad day.
const PATIENCE: Duration = Duration::from_secs(45);

/// Longest answer, in bytes: some 2 KiB for each stream.
const MAX_OUTPUT: usize = 1024 * 1024;

/// Streams that are kept of a file; a film has ten, one with every language fifty.
const MAX_STREAMS: usize = 64;

/// Longest word or title that is kept, in characters.
const MAX_TEXT: usize = 200;

/// What is in a file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MediaInfo {
    /// ffmpeg's name of the container, such as `mov,mp4,m4a,3gp,3g2,mj2` or `matroska,webm`.
    pub container: String,
    /// Its length in seconds, where it says one.
    pub duration: Option<f64>,
    /// All of its streams, in the order of the file.
    pub streams: Vec<Stream>,
}

/// What kind of stream it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StreamKind {
    /// Moving pictures, or one that stands.
    Video,
    /// Sound.
    Audio,
    /// Subtitles, as text or as pictures.
    Subtitle,
    /// Data, attachments.
    Other,
}

/// One stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stream {
    /// Its number in the file, which is what `-map 0:N` means.
    pub index: u32,
    /// What it is.
    pub kind: StreamKind,
    /// ffmpeg's name of its codec, such as `h264`; empty when it knows none.
    pub codec: String,
    /// Such as `High`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Of H.264, ten times what people call it: 41 is 4.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<i32>,
    /// Such as `yuv420p`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pix_fmt: Option<String>,
    /// Of a sample of the picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bit_depth: Option<u32>,
    /// In pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// In pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// Of sound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<u32>,
    /// In hertz.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample_rate: Option<u32>,
    /// As the file calls it, mostly ISO 639-2; `und` is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// As the file calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The one to play when nobody chose.
    #[serde(default)]
    pub default: bool,
    /// Subtitles for what is spoken in another language than the film's.
    #[serde(default)]
    pub forced: bool,
    /// A picture that stands for music, and is no video.
    #[serde(default)]
    pub attached_pic: bool,
}

impl MediaInfo {
    /// The video that plays: the first that is no cover.
    pub fn video(&self) -> Option<&Stream> {
        self.streams
            .iter()
            .find(|s| s.kind == StreamKind::Video && !s.attached_pic)
    }

    /// The sound that plays: the default one, else the first.
    pub fn audio(&self) -> Option<&Stream> {
        let mut audio = self.streams.iter().filter(|s| s.kind == StreamKind::Audio);
        audio.clone().find(|s| s.default).or_else(|| audio.next())
    }

    /// The subtitles.
    pub fn subtitles(&self) -> impl Iterator<Item = &Stream> {
        self.streams
            .iter()
            .filter(|s| s.kind == StreamKind::Subtitle)
    }
}

/// Has `ffprobe` look into `source`. Dropping it ends ffprobe.
///
/// # Errors
/// `not_media` (415) when it finds neither pictures nor sound; `probe_failed` (502) when it did not come to
/// an answer.
pub async fn probe(ffprobe: &Path, source: &Source) -> Result<MediaInfo> {
    let arguments = arguments(source);
    let program = ffprobe.to_owned();
    let started =
        smol::unblock(move || Child::start(&program, &arguments, Priority::Live, Stdout::Piped));
    let failed = |why: String| {
        Error::new(
            Kind::BadGateway,
            "probe_failed",
            format!("What is in the file could not be found out ({why}); try again in a moment."),
        )
    };
    let output = match started.await {
        Ok(child) => child.output_async(MAX_OUTPUT, PATIENCE).await,
        Err(error) => Err(error),
    };
    let output = output.map_err(|error| failed(error.to_string()).because(error))?;
    let shown = source.shown(&output.stderr_tail);
    if !output.status.success() {
        // By a signal: nothing is known of the file.
        if output.status.code().is_none() {
            return Err(failed("ffprobe was killed".to_owned()).with("ffprobe", shown));
        }
        return Err(not_media().with("ffprobe", shown));
    }
    let info = parse(&output.stdout)
        .ok_or_else(|| failed("ffprobe's answer is no JSON".to_owned()).with("ffprobe", shown))?;
    match (info.video(), info.audio()) {
        (None, None) => Err(not_media()),
        _ => Ok(info),
    }
}

fn not_media() -> Error {
    Error::new(
        Kind::Unsupported,
        "not_media",
        "There is no video and no sound in this file that ffmpeg can read; it may be damaged or cut short, or no film at all.",
    )
}

/// The arguments of ffprobe.
fn arguments(source: &Source) -> Vec<OsString> {
    let options = [
        "-v",
        "error",
        "-hide_banner",
        "-print_format",
        "json=compact=1",
        "-show_format",
        "-show_streams",
        "-probesize",
        PROBE_SIZE,
        "-analyzeduration",
        ANALYZE_DURATION,
    ];
    let mut arguments: Vec<OsString> = options.iter().map(OsString::from).collect();
    if matches!(source, Source::Url { .. }) {
        // What waits in the kernel was fetched for nothing when ffprobe goes on elsewhere in the file.
        arguments.extend(["-recv_buffer_size", "65536"].map(OsString::from));
    }
    arguments.extend(source.arguments());
    arguments
}

/// Reads ffprobe's JSON. What is missing or of another type than expected is left out: what it says differs between
/// versions.
pub fn parse(json: &[u8]) -> Option<MediaInfo> {
    let answer: Value = serde_json::from_slice(json).ok()?;
    let format = &answer["format"];
    let streams = answer["streams"].as_array().map_or(&[][..], Vec::as_slice);
    let duration = number(&format["duration"]).filter(|d| d.is_finite() && *d > 0.0);
    Some(MediaInfo {
        container: text(&format["format_name"]).unwrap_or_default(),
        duration,
        streams: streams
            .iter()
            .take(MAX_STREAMS)
            .filter_map(stream)
            .collect(),
    })
}

fn stream(value: &Value) -> Option<Stream> {
    let kind = match value["codec_type"].as_str() {
        Some("video") => StreamKind::Video,
        Some("audio") => StreamKind::Audio,
        Some("subtitle") => StreamKind::Subtitle,
        _ => StreamKind::Other,
    };
    let whole = |name: &str| {
        number(&value[name])
            .filter(|n| *n > 0.0 && *n < 1e9)
            .map(|n| n as u32)
    };
    let disposition = |name: &str| number(&value["disposition"][name]) == Some(1.0);
    let tag = |name: &str| text(&value["tags"][name]);
    let pix_fmt = text(&value["pix_fmt"]);
    let depth = pix_fmt.as_deref().and_then(depth);
    Some(Stream {
        index: value["index"]
            .as_u64()
            .and_then(|n| u32::try_from(n).ok())?,
        kind,
        codec: text(&value["codec_name"]).unwrap_or_default(),
        profile: text(&value["profile"]),
        level: number(&value["level"])
            .filter(|n| *n > 0.0 && *n < 1000.0)
            .map(|n| n as i32),
        bit_depth: depth.or_else(|| whole("bits_per_raw_sample")),
        pix_fmt,
        width: whole("width"),
        height: whole("height"),
        channels: whole("channels"),
        sample_rate: whole("sample_rate"),
        language: tag("language").filter(|language| language != "und"),
        title: tag("title"),
        default: disposition("default"),
        forced: disposition("forced"),
        attached_pic: disposition("attached_pic") || disposition("still_image"),
    })
}

/// A short, printable text.
fn text(value: &Value) -> Option<String> {
    let text: String = value
        .as_str()?
        .chars()
        .filter(|c| !c.is_control())
        .take(MAX_TEXT)
        .collect();
    (!text.is_empty()).then_some(text)
}

/// A number, which ffprobe writes as one or as text.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::String(text) => text.parse().ok(),
        other => other.as_f64(),
    }
}

/// The bits of a sample, by the name of a pixel format: `yuv420p10le` has 10, those without a number 8.
fn depth(pix_fmt: &str) -> Option<u32> {
    let planar = pix_fmt.strip_prefix("yuv")?;
    let (_, after) = planar.split_once('p')?;
    let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
    match digits.as_str() {
        "" => Some(8),
        digits => digits.parse().ok().filter(|d| (8..=16).contains(d)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_answer_of_ffprobe() {
        let info = parse(
            br#"{"streams":[
              {"index":0,"codec_name":"mjpeg","codec_type":"video","disposition":{"attached_pic":1}},
              {"index":1,"codec_name":"h264","profile":"High 10","codec_type":"video","width":1920,"height":1080,
               "pix_fmt":"yuv420p10le","level":41,"bits_per_raw_sample":"10","disposition":{"default":1}},
              {"index":2,"codec_name":"ac3","codec_type":"audio","sample_rate":"48000","channels":6,
               "tags":{"language":"und"},"disposition":{"default":0}},
              {"index":3,"codec_name":"aac","codec_type":"audio","sample_rate":"44100","channels":2,
               "tags":{"language":"ger","title":"Kommentar\u0007"},"disposition":{"default":1}},
              {"index":4,"codec_type":"data"}],
              "format":{"format_name":"matroska,webm","duration":"12.500"}}"#,
        )
        .unwrap();
        assert_eq!(
            (info.container.as_str(), info.duration),
            ("matroska,webm", Some(12.5))
        );
        let video = info.video().unwrap();
        assert_eq!(
            (video.index, video.bit_depth, video.level),
            (1, Some(10), Some(41))
        );
        let audio = info.audio().unwrap();
        assert_eq!(
            (audio.index, audio.channels, audio.title.as_deref()),
            (3, Some(2), Some("Kommentar"))
        );
        assert_eq!(info.streams[2].language, None);
        let kept: MediaInfo = serde_json::from_str(&serde_json::to_string(&info).unwrap()).unwrap();
        assert_eq!(kept, info);
    }

    #[test]
    fn depths() {
        for (pix_fmt, want) in [
            ("yuv420p", Some(8)),
            ("yuvj420p", Some(8)),
            ("yuv420p10le", Some(10)),
            ("yuv444p12be", Some(12)),
            ("yuva420p", Some(8)),
            ("gbrp", None),
        ] {
            assert_eq!(depth(pix_fmt), want, "{pix_fmt}");
        }
    }

    proptest! {
        #[test]
        fn any_json_is_read(text in "[\\[\\]{}:,\"a-z_0-9.-]{0,200}") {
            let _ = parse(text.as_bytes());
            let wrapped = format!("{{\"format\":{{\"format_name\":{text:?}}},\"streams\":[{{\"index\":1,\"level\":{text:?}}}]}}");
            prop_assert!(parse(wrapped.as_bytes()).is_some());
        }
    }
}
