//! Whether a browser plays a file as it is, and what must be done where it does not.
//!
//! A pure policy for a screen of which nothing is known: what every browser of the last ten years plays is
//! played directly, pictures that it decodes are copied into an MP4 with a sound that it decodes, and only what
//! is left needs a conversion. A screen that plays more than this loses nothing: the file itself stays on offer.

use crate::ffmpeg::arguments::Selection;
use crate::ffmpeg::probe::{MediaInfo, Stream};
use crate::media::kind;

/// What to do with a file, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Playable {
    /// What to do.
    pub plan: Plan,
    /// Why, in a sentence for the viewer.
    pub why: String,
}

/// What to do with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Browsers play it as it is.
    Direct,
    /// Its pictures, if there are any, are copied into a fragmented MP4; cheap enough to be done while somebody
    /// watches.
    Remux(Selection),
    /// Its pictures must be encoded anew.
    Convert(Selection),
}

impl Plan {
    /// One word for it: `direct`, `remux`, `convert`.
    pub fn word(self) -> &'static str {
        match self {
            Plan::Direct => "direct",
            Plan::Remux(_) => "remux",
            Plan::Convert(_) => "convert",
        }
    }
}

/// What is played of a file.
pub fn selection(info: &MediaInfo) -> Selection {
    Selection {
        video: info.video().map(|stream| stream.index),
        copies_video: info.video().is_none_or(is_plain_h264),
        audio: info.audio().map(|stream| stream.index),
        copies_audio: info.audio().is_none_or(|stream| stream.codec == "aac"),
        adts: matches!(info.container.as_str(), "mpegts" | "mpeg" | "aac"),
    }
}

/// Judges a file by what is in it and by the type that it is served as.
pub fn judge(info: &MediaInfo, content_type: &str) -> Playable {
    let selected = selection(info);
    let container = container(info, content_type);
    let obstacle = match container {
        Some(container) => container.obstacle(info),
        None => Some(format!(
            "Browsers do not open {} files as these",
            container_name(info)
        )),
    };
    match obstacle {
        None => Playable {
            plan: Plan::Direct,
            why: "Browsers play this file as it is.".to_owned(),
        },
        Some(_) if !selected.copies_video => Playable {
            plan: Plan::Convert(selected),
            why: format!(
                "The video is {}, which many screens cannot decode; it must be converted to H.264 first.",
                info.video().map(described).unwrap_or_default()
            ),
        },
        Some(obstacle) => Playable {
            plan: Plan::Remux(selected),
            why: format!("{obstacle}; a compatible version is made while it plays."),
        },
    }
}

/// A container that browsers open.
#[derive(Clone, Copy)]
enum Container {
    Mp4,
    WebM,
    Ogg,
    Mp3,
    Flac,
    Wav,
    Aac,
}

fn container(info: &MediaInfo, content_type: &str) -> Option<Container> {
    let named = |name: &str| info.container.split(',').any(|known| known == name);
    // Types are not sniffed: one that promises no media is shown as a download.
    if !matches!(
        kind::of_type(content_type),
        kind::Kind::Video | kind::Kind::Audio
    ) {
        return None;
    }
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    match essence {
        "video/mp4" | "video/quicktime" | "audio/mp4" | "video/3gpp" if named("mp4") => {
            Some(Container::Mp4)
        }
        // Matroska is not WebM to Firefox and to most televisions, even where its codecs are the same.
        "video/webm" | "audio/webm" if named("webm") => Some(Container::WebM),
        "audio/ogg" | "video/ogg" | "application/ogg" if named("ogg") => Some(Container::Ogg),
        "audio/mpeg" if named("mp3") => Some(Container::Mp3),
        "audio/flac" if named("flac") => Some(Container::Flac),
        "audio/wav" if named("wav") => Some(Container::Wav),
        "audio/aac" if named("aac") => Some(Container::Aac),
        _ => None,
    }
}

impl Container {
    /// What in this container is not played everywhere: a sentence without its end.
    fn obstacle(self, info: &MediaInfo) -> Option<String> {
        let (videos, audios): (&[&str], &[&str]) = match self {
            Container::Mp4 => (&["h264", "vp9", "av1"], &["aac", "mp3"]),
            Container::WebM => (&["vp8", "vp9", "av1"], &["opus", "vorbis"]),
            Container::Ogg => (&[], &["opus", "vorbis", "flac"]),
            Container::Mp3 => (&[], &["mp3"]),
            Container::Flac => (&[], &["flac"]),
            Container::Wav => (&[], &["pcm_s16le", "pcm_u8", "pcm_s24le"]),
            Container::Aac => (&[], &["aac"]),
        };
        if let Some(video) = info.video() {
            let known = videos.contains(&video.codec.as_str());
            let sound = match video.codec.as_str() {
                "h264" => is_plain_h264(video),
                _ => is_plain(video),
            };
            if !known || !sound {
                return Some(format!("The video is {}", described(video)));
            }
        }
        let audio = info.audio()?;
        if audios.contains(&audio.codec.as_str()) {
            return None;
        }
        Some(format!(
            "The sound is {}, which many browsers cannot decode",
            described(audio)
        ))
    }
}

/// H.264 as every decoder does it. A probe that saw no frame knows no pixel format; then the profile says as much.
fn is_plain_h264(stream: &Stream) -> bool {
    let by_profile = || {
        let plain = ["Constrained Baseline", "Baseline", "Main", "High"];
        stream.pix_fmt.is_none()
            && stream
                .profile
                .as_deref()
                .is_some_and(|p| plain.contains(&p))
    };
    stream.codec == "h264" && (is_plain(stream) || by_profile())
}

/// Eight bits a sample, colour at half the resolution.
fn is_plain(stream: &Stream) -> bool {
    matches!(stream.pix_fmt.as_deref(), Some("yuv420p" | "yuvj420p"))
}

fn container_name(info: &MediaInfo) -> String {
    let first = info.container.split(',').next().unwrap_or_default();
    match first {
        "matroska" => "Matroska".to_owned(),
        "mov" => "MP4".to_owned(),
        "mpegts" => "MPEG-TS".to_owned(),
        "" => "such".to_owned(),
        other => other.to_ascii_uppercase(),
    }
}

/// A codec, with what makes it unusual.
fn described(stream: &Stream) -> String {
    let name = match stream.codec.as_str() {
        "h264" => "H.264",
        "hevc" => "HEVC (H.265)",
        "vp9" => "VP9",
        "vp8" => "VP8",
        "av1" => "AV1",
        "mpeg4" => "MPEG-4 (DivX, Xvid)",
        "mpeg2video" => "MPEG-2",
        "ac3" => "AC-3 (Dolby Digital)",
        "eac3" => "E-AC-3 (Dolby Digital Plus)",
        "dts" => "DTS",
        "" => "of an unknown kind",
        other => other,
    };
    let unusual = match (stream.bit_depth, stream.pix_fmt.as_deref()) {
        (Some(depth), _) if depth > 8 => format!(" with {depth} bits"),
        (_, Some(format)) if format.contains("444") => " with 4:4:4 colour".to_owned(),
        (_, Some(format)) if format.contains("422") => " with 4:2:2 colour".to_owned(),
        _ => String::new(),
    };
    format!("{name}{unusual}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ffmpeg::probe::parse;

    fn info(container: &str, video: Option<(&str, &str)>, audio: Option<&str>) -> MediaInfo {
        let mut streams = Vec::new();
        if let Some((codec, pix_fmt)) = video {
            streams.push(serde_json::json!({
                "index": 0, "codec_type": "video", "codec_name": codec, "pix_fmt": pix_fmt,
            }));
        }
        if let Some(codec) = audio {
            streams
                .push(serde_json::json!({"index": 1, "codec_type": "audio", "codec_name": codec}));
        }
        let answer = serde_json::json!({"format": {"format_name": container}, "streams": streams});
        parse(answer.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn verdicts() {
        let mp4 = "mov,mp4,m4a,3gp,3g2,mj2";
        let plain = Some(("h264", "yuv420p"));
        for (info, content_type, want, why) in [
            (
                info(mp4, plain, Some("aac")),
                "video/mp4",
                "direct",
                "as it is",
            ),
            (info(mp4, plain, None), "video/mp4", "direct", "as it is"),
            (
                info(mp4, plain, Some("aac")),
                "video/quicktime",
                "direct",
                "as it is",
            ),
            (info(mp4, plain, Some("ac3")), "video/mp4", "remux", "AC-3"),
            (
                info(mp4, Some(("h264", "yuv420p10le")), Some("aac")),
                "video/mp4",
                "convert",
                "10 bits",
            ),
            (
                info(mp4, Some(("h264", "yuv444p")), Some("aac")),
                "video/mp4",
                "convert",
                "4:4:4",
            ),
            (
                info(mp4, Some(("hevc", "yuv420p")), Some("aac")),
                "video/mp4",
                "convert",
                "HEVC",
            ),
            (
                info(mp4, plain, Some("aac")),
                "application/octet-stream",
                "remux",
                "MP4",
            ),
            (
                info("matroska,webm", plain, Some("aac")),
                "video/x-matroska",
                "remux",
                "Matroska",
            ),
            (
                info("matroska,webm", plain, Some("dts")),
                "video/x-matroska",
                "remux",
                "Matroska",
            ),
            (
                info("matroska,webm", Some(("vp9", "yuv420p")), Some("opus")),
                "video/webm",
                "direct",
                "as it is",
            ),
            (
                info("matroska,webm", Some(("vp9", "yuv420p")), Some("opus")),
                "video/x-matroska",
                "convert",
                "VP9",
            ),
            (
                info("matroska,webm", plain, Some("aac")),
                "video/webm",
                "remux",
                "H.264",
            ),
            (
                info("avi", Some(("mpeg4", "yuv420p")), Some("mp3")),
                "video/x-msvideo",
                "convert",
                "DivX",
            ),
            (
                info("mpegts", plain, Some("aac")),
                "video/mp2t",
                "remux",
                "MPEG-TS",
            ),
            (
                info("mp3", None, Some("mp3")),
                "audio/mpeg",
                "direct",
                "as it is",
            ),
            (
                info("flac", None, Some("flac")),
                "audio/flac",
                "direct",
                "as it is",
            ),
            (info(mp4, None, Some("alac")), "audio/mp4", "remux", "alac"),
            (
                info("asf", None, Some("wmav2")),
                "audio/x-ms-wma",
                "remux",
                "ASF",
            ),
        ] {
            let playable = judge(&info, content_type);
            assert_eq!(playable.plan.word(), want, "{info:?} {content_type}");
            assert!(
                playable.why.contains(why) && playable.why.ends_with('.'),
                "{}",
                playable.why
            );
        }
    }

    #[test]
    fn what_stays_as_it_is() {
        let selected = selection(&info("avi", Some(("h264", "yuvj420p")), Some("aac")));
        assert!(selected.copies_video && selected.copies_audio);
        let selected = selection(&info("avi", None, Some("wmav2")));
        assert_eq!((selected.video, selected.audio), (None, Some(1)));
        assert!(selected.copies_video && !selected.copies_audio);
    }
}
