//! How a file becomes one that every browser plays: which streams are copied, which are encoded anew, and the words
//! that tell ffmpeg so. Pure.

use std::ffi::OsString;
use std::path::Path;

use crate::ffmpeg::arguments::{MENDED_OUTPUT, PICTURE};
use crate::ffmpeg::probe::{MediaInfo, Stream, StreamKind};
use crate::ffmpeg::source::Source;

/// Tracks of sound that are kept; a film with more has commentaries in every language.
const SOUNDS: usize = 16;

/// Tracks of subtitles that are kept.
const SUBTITLES: usize = 32;

/// Channels that are kept: AAC in browsers and televisions ends at 5.1.
const CHANNELS: u32 = 6;

/// Bits a second for each channel of a sound that is encoded anew.
const BITS_PER_CHANNEL: u32 = 96_000;

/// How an input is read: timestamps that are missing are made. Those that are there are not ignored, though a live
/// stream does so: where they jump in the middle, ffmpeg mends the jump by them, and without them makes hundreds of
/// wrong ones.
pub(crate) const INPUT: [&str; 2] = ["-fflags", "+genpts+discardcorrupt"];

/// Codecs of subtitles that are text; the others are pictures, which no browser shows.
const TEXTS: &[&str] = &[
    "subrip",
    "srt",
    "webvtt",
    "ass",
    "ssa",
    "mov_text",
    "text",
    "microdvd",
    "mpl2",
    "subviewer",
    "subviewer1",
    "sami",
    "realtext",
    "jacosub",
    "pjs",
    "vplayer",
    "stl",
];

/// What the result is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Container {
    /// A film.
    Mp4,
    /// Music.
    M4a,
}

/// What is made of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) container: Container,
    /// The pictures, and whether they are copied.
    pub(crate) video: Option<(u32, bool)>,
    /// The sounds, the one to play first, whether each is copied, and its channels otherwise.
    pub(crate) sounds: Vec<Sound>,
    /// The subtitles that are text.
    pub(crate) subtitles: Vec<Subtitle>,
    /// A picture that stands for music.
    pub(crate) cover: Option<u32>,
}

/// A sound of the result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sound {
    pub(crate) index: u32,
    pub(crate) copied: bool,
    pub(crate) channels: u32,
}

/// Subtitles of the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subtitle {
    pub(crate) index: u32,
    /// As the file calls it; `None` when it does not.
    pub(crate) language: Option<String>,
    pub(crate) forced: bool,
}

impl Container {
    /// The extension of a name.
    pub(crate) fn extension(self) -> &'static str {
        match self {
            Container::Mp4 => "mp4",
            Container::M4a => "m4a",
        }
    }
}

impl Plan {
    /// What is made of a file in which `info` was found; `None` when there is nothing to make anything of.
    pub(crate) fn of(info: &MediaInfo) -> Option<Plan> {
        let video = info
            .video()
            .map(|stream| (stream.index, copies_video(stream)));
        let first = info.audio().map(|stream| stream.index);
        let mut sounds: Vec<Sound> = info
            .streams
            .iter()
            // ffmpeg cannot encode anew what it has no name for.
            .filter(|stream| stream.kind == StreamKind::Audio && !stream.codec.is_empty())
            .map(|stream| Sound {
                index: stream.index,
                copied: matches!(stream.codec.as_str(), "aac" | "mp3"),
                channels: stream.channels.unwrap_or(2).clamp(1, CHANNELS),
            })
            .collect();
        // Browsers play the first.
        sounds.sort_by_key(|sound| Some(sound.index) != first);
        sounds.truncate(SOUNDS);
        if video.is_none() && sounds.is_empty() {
            return None;
        }
        let texts = info
            .subtitles()
            .filter(|stream| TEXTS.contains(&stream.codec.as_str()));
        let subtitles = texts.take(SUBTITLES).map(|stream| Subtitle {
            index: stream.index,
            language: stream.language.clone().filter(|language| language != "und"),
            forced: stream.forced,
        });
        let cover = info
            .streams
            .iter()
            .find(|stream| stream.attached_pic && matches!(stream.codec.as_str(), "mjpeg" | "png"));
        Some(Plan {
            container: match video {
                Some(_) => Container::Mp4,
                None => Container::M4a,
            },
            video,
            sounds,
            subtitles: subtitles.collect(),
            cover: cover.filter(|_| video.is_none()).map(|stream| stream.index),
        })
    }

    /// The same in an MP4 without subtitles: for what is mended, and shown by a page that has its own.
    pub(crate) fn mended(mut self) -> Plan {
        self.container = Container::Mp4;
        self.subtitles.clear();
        self.cover = None;
        self
    }

    /// What it amounts to, in a word.
    pub(crate) fn mode(&self) -> &'static str {
        let copies_sounds = self.sounds.iter().all(|sound| sound.copied);
        match (self.video, copies_sounds) {
            (Some((_, false)), _) => "reencode",
            (_, true) => "copy",
            (_, false) => "audio",
        }
    }

    /// Whether `result` has everything that the plan has.
    pub(crate) fn is_met_by(&self, result: &MediaInfo) -> bool {
        let sounds = result
            .streams
            .iter()
            .filter(|s| s.kind == StreamKind::Audio);
        result.video().is_some() == self.video.is_some() && sounds.count() == self.sounds.len()
    }

    /// The arguments that make it: the film at `part`, each of the subtitles at one of `texts`. `input` are the options
    /// of the input.
    pub(crate) fn arguments(
        &self,
        source: &Source,
        input: &[&str],
        part: &Path,
        texts: &[&Path],
    ) -> Vec<OsString> {
        let mut words: Vec<OsString> = Vec::new();
        let mut push = |new: &[&str]| words.extend(new.iter().map(OsString::from));
        push(&[
            "-hide_banner",
            "-nostdin",
            "-y",
            "-loglevel",
            "error",
            "-progress",
            "pipe:1",
        ]);
        push(input);
        words.extend(source.arguments());
        let mut push = |new: &[&str]| words.extend(new.iter().map(OsString::from));
        if let Some((index, copied)) = self.video {
            push(&["-map", &format!("0:{index}")]);
            match copied {
                true => push(&["-c:v", "copy"]),
                false => push(&PICTURE),
            }
        }
        for (n, sound) in self.sounds.iter().enumerate() {
            push(&["-map", &format!("0:{}", sound.index)]);
            match sound.copied {
                true => push(&[&format!("-c:a:{n}"), "copy"]),
                false => {
                    let bits = (sound.channels * BITS_PER_CHANNEL).to_string();
                    push(&[&format!("-c:a:{n}"), "aac", &format!("-b:a:{n}"), &bits]);
                    push(&[&format!("-ac:a:{n}"), &sound.channels.to_string()]);
                    push(&[&format!("-ar:a:{n}"), "48000"]);
                    // Gaps become silence, so that it stays with the picture.
                    push(&[&format!("-filter:a:{n}"), "aresample=async=1"]);
                }
            }
            let disposition = if n == 0 { "default" } else { "0" };
            push(&[&format!("-disposition:a:{n}"), disposition]);
        }
        if let Some(index) = self.cover {
            push(&[
                "-map",
                &format!("0:{index}"),
                "-c:v",
                "copy",
                "-disposition:v:0",
                "attached_pic",
            ]);
        }
        push(&["-map_chapters", "-1", "-dn", "-sn"]);
        push(&MENDED_OUTPUT);
        push(&[
            "-max_muxing_queue_size",
            "2048",
            "-movflags",
            "+faststart",
            "-f",
            "mp4",
        ]);
        words.push(file(part));
        for (subtitle, text) in self.subtitles.iter().zip(texts) {
            let map = format!("0:{}", subtitle.index);
            let new = [
                "-map",
                &map,
                "-c:s",
                "webvtt",
                "-map_metadata",
                "-1",
                "-f",
                "webvtt",
            ];
            words.extend(new.map(OsString::from));
            words.push(file(text));
        }
        words
    }
}

/// The name of a file as ffmpeg takes it for nothing else.
fn file(path: &Path) -> OsString {
    let mut name = OsString::from("file:");
    name.push(path);
    name
}

/// Pictures that browsers decode from an MP4, in the colours that they do it in.
fn copies_video(stream: &Stream) -> bool {
    let known = matches!(stream.codec.as_str(), "h264" | "vp9" | "av1");
    known && matches!(stream.pix_fmt.as_deref(), Some("yuv420p" | "yuvj420p"))
}

/// How long a result is beside what it was made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// As long.
    Same,
    /// All that could be read of a source that promises more: one that was cut short.
    Short,
    /// Something is wrong with it.
    Wrong,
}

/// Compares the length of a result with that of what it was made of, both in seconds. `written` is the time that ffmpeg
/// wrote.
///
/// Where the timestamps of the source were broken its length was a guess, and more than it may come of it; `mended`
/// allows that, as long as the result holds all that was written.
pub(crate) fn compare(
    source: Option<f64>,
    result: Option<f64>,
    written: f64,
    mended: bool,
) -> Length {
    let Some(result) = result else {
        return Length::Wrong;
    };
    let holds_all = (result - written).abs() <= 1.0;
    match source {
        Some(source) if (source - result).abs() <= 1.0 => Length::Same,
        Some(source) if mended && result > source && holds_all => Length::Same,
        Some(source) if result < source && result > 0.0 && holds_all => Length::Short,
        Some(_) => Length::Wrong,
        // Nothing to compare with but what was written.
        None if holds_all => Length::Same,
        None => Length::Wrong,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ffmpeg::probe::parse;
    use serde_json::{Value, json};

    fn info(streams: &[Value]) -> MediaInfo {
        let mut streams = streams.to_vec();
        for (index, stream) in streams.iter_mut().enumerate() {
            stream["index"] = index.into();
        }
        let answer = json!({"format": {"format_name": "matroska,webm", "duration": "12"}, "streams": streams});
        parse(answer.to_string().as_bytes()).unwrap()
    }

    fn line(plan: &Plan) -> String {
        let source = Source::File("/v/-a b.mkv".into());
        let texts = [Path::new("/v/1.part"), Path::new("/v/2.part")];
        let words = plan.arguments(
            &source,
            &["-fflags", "+genpts"],
            Path::new("/v/0.part"),
            &texts,
        );
        let words: Vec<String> = words
            .iter()
            .map(|w| w.to_string_lossy().into_owned())
            .collect();
        let line = words.join(" ");
        line.split("-i ").nth(1).unwrap().to_owned()
    }

    #[test]
    fn a_film_is_copied_and_its_sounds_where_they_can_be() {
        let info = info(&[
            json!({"codec_type": "video", "codec_name": "h264", "pix_fmt": "yuv420p"}),
            json!({"codec_type": "audio", "codec_name": "ac3", "channels": 6}),
            json!({"codec_type": "audio", "codec_name": "aac", "channels": 2, "disposition": {"default": 1}}),
            json!({"codec_type": "subtitle", "codec_name": "subrip", "tags": {"language": "spa"}}),
            json!({"codec_type": "subtitle", "codec_name": "hdmv_pgs_subtitle"}),
            json!({"codec_type": "subtitle", "codec_name": "ass", "tags": {"language": "und"}, "disposition": {"forced": 1}}),
            json!({"codec_type": "video", "codec_name": "mjpeg", "disposition": {"attached_pic": 1}}),
            json!({"codec_type": "attachment", "codec_name": "ttf"}),
        ]);
        let plan = Plan::of(&info).unwrap();
        assert_eq!(plan.mode(), "audio");
        assert_eq!(plan.subtitles.len(), 2);
        assert_eq!(plan.subtitles[0].language.as_deref(), Some("spa"));
        assert_eq!(
            (
                plan.subtitles[1].language.as_deref(),
                plan.subtitles[1].forced
            ),
            (None, true)
        );
        assert_eq!(
            line(&plan),
            "file:/v/-a b.mkv -map 0:0 -c:v copy -map 0:2 -c:a:0 copy -disposition:a:0 default -map 0:1 -c:a:1 aac \
             -b:a:1 576000 -ac:a:1 6 -ar:a:1 48000 -filter:a:1 aresample=async=1 -disposition:a:1 0 -map_chapters -1 -dn \
             -sn -avoid_negative_ts make_zero -max_muxing_queue_size 2048 -movflags +faststart -f mp4 file:/v/0.part \
             -map 0:3 -c:s webvtt -map_metadata -1 -f webvtt file:/v/1.part -map 0:5 -c:s webvtt -map_metadata -1 \
             -f webvtt file:/v/2.part"
        );
        let mended = plan.mended();
        assert!(!line(&mended).contains("webvtt"));
        assert!(mended.is_met_by(&info));
    }

    #[test]
    fn what_no_browser_decodes_is_encoded_anew() {
        for (codec, pix_fmt, copied) in [
            ("h264", "yuv420p", true),
            ("h264", "yuv420p10le", false),
            ("h264", "yuv444p", false),
            ("hevc", "yuv420p", false),
            ("mpeg4", "yuv420p", false),
            ("vp8", "yuv420p", false),
            ("vp9", "yuv420p", true),
            ("av1", "yuv420p", true),
        ] {
            let info =
                info(&[json!({"codec_type": "video", "codec_name": codec, "pix_fmt": pix_fmt})]);
            let plan = Plan::of(&info).unwrap();
            assert_eq!(plan.video, Some((0, copied)), "{codec} {pix_fmt}");
            assert_eq!(plan.mode(), if copied { "copy" } else { "reencode" });
        }
    }

    #[test]
    fn music_keeps_its_cover() {
        let music = info(&[
            json!({"codec_type": "audio", "codec_name": "wmav2", "channels": 1}),
            json!({"codec_type": "video", "codec_name": "mjpeg", "disposition": {"attached_pic": 1}}),
        ]);
        let plan = Plan::of(&music).unwrap();
        assert_eq!(
            (plan.container, plan.cover, plan.mode()),
            (Container::M4a, Some(1), "audio")
        );
        assert!(line(&plan).contains("-disposition:v:0 attached_pic"));
        assert_eq!(
            Plan::of(&info(&[
                json!({"codec_type": "subtitle", "codec_name": "srt"})
            ])),
            None
        );
    }

    #[test]
    fn lengths() {
        for (source, result, written, mended, want) in [
            (Some(12.0), Some(12.9), 12.9, false, Length::Same),
            (Some(12.0), Some(7.0), 7.0, true, Length::Short),
            (Some(12.0), Some(7.0), 12.0, true, Length::Wrong),
            (Some(12.0), Some(24.0), 24.0, false, Length::Wrong),
            (Some(12.0), Some(24.0), 24.0, true, Length::Same),
            (Some(12.0), Some(0.0), 0.0, true, Length::Wrong),
            (Some(12.0), None, 12.0, true, Length::Wrong),
            (None, Some(5.0), 5.2, false, Length::Same),
        ] {
            assert_eq!(compare(source, result, written, mended), want);
        }
    }
}
