//! The arguments of ffmpeg for each thing it does, as pure functions: never a shell, never a word that begins with
//! what a file is called.

use std::ffi::OsString;

use crate::ffmpeg::source::Source;

/// Which streams are played, by their numbers in the file, and which of them stay as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selection {
    /// The pictures.
    pub video: Option<u32>,
    /// They are H.264 with 8 bits and 4:2:0, which everything decodes.
    pub copies_video: bool,
    /// The sound.
    pub audio: Option<u32>,
    /// It is AAC already.
    pub copies_audio: bool,
    /// Each frame of it has a header of its own (ADTS), as in transport streams; an MP4 has one for all.
    pub adts: bool,
}

/// Timestamps of every kind of broken file are made anew where they are missing or jump, and start at zero.
pub const MENDED_INPUT: [&str; 2] = ["-fflags", "+genpts+igndts+discardcorrupt"];

/// The output's half of [`MENDED_INPUT`].
pub const MENDED_OUTPUT: [&str; 2] = ["-avoid_negative_ts", "make_zero"];

/// Sound that every browser decodes; gaps in the timestamps become silence, so that it stays with the picture.
pub const SOUND: [&str; 10] = [
    "-c:a",
    "aac",
    "-ac",
    "2",
    "-ar",
    "48000",
    "-b:a",
    "192k",
    "-af",
    "aresample=async=1",
];

/// Pictures that every browser decodes, no larger than full HD, with a place to start every two seconds.
pub const PICTURE: [&str; 16] = [
    "-c:v",
    "libx264",
    "-preset",
    "veryfast",
    "-crf",
    "23",
    "-profile:v",
    "high",
    "-level:v",
    "4.1",
    "-pix_fmt",
    "yuv420p",
    "-vf",
    "scale=w='trunc(min(1920,iw)/2)*2':h=-2",
    "-force_key_frames",
    "expr:gte(t,n_forced*2)",
];

/// How ffmpeg sends a compatible version of `source` to stdout while it is watched, from `start` seconds on.
///
/// Fragments are cut at key frames and after four seconds at the latest: a film with a single key frame, or music,
/// would otherwise be gathered in memory to its end.
pub fn live(source: &Source, selected: Selection, start: f64) -> Vec<OsString> {
    let mut arguments = Vec::new();
    let mut push = |words: &[&str]| arguments.extend(words.iter().map(OsString::from));
    push(&["-hide_banner", "-nostdin", "-loglevel", "error"]);
    push(&MENDED_INPUT);
    if start > 0.0 {
        push(&["-ss", &format!("{start:.3}")]);
        // Copied pictures begin at the key frame before: the sound must not be cut off up to `start`, or it would
        // come alone there.
        if selected.video.is_some() && selected.copies_video {
            push(&["-noaccurate_seek"]);
        }
    }
    arguments.extend(source.arguments());
    let mut push = |words: &[&str]| arguments.extend(words.iter().map(OsString::from));
    if let Some(index) = selected.video {
        push(&["-map", &format!("0:{index}")]);
        match selected.copies_video {
            true => push(&["-c:v", "copy"]),
            false => push(&PICTURE),
        }
    }
    if let Some(index) = selected.audio {
        push(&["-map", &format!("0:{index}")]);
        match selected.copies_audio {
            true if selected.adts => push(&["-c:a", "copy", "-bsf:a", "aac_adtstoasc"]),
            true => push(&["-c:a", "copy"]),
            false => push(&SOUND),
        }
    }
    push(&["-map_chapters", "-1", "-map_metadata", "-1"]);
    push(&MENDED_OUTPUT);
    push(&["-max_muxing_queue_size", "2048"]);
    // What an MP4 says of AAC at its beginning is known only after the first of those headers.
    match selected.audio.is_some() && selected.copies_audio && selected.adts {
        true => push(&[
            "-movflags",
            "+frag_keyframe+empty_moov+default_base_moof+delay_moov",
        ]),
        false => push(&["-movflags", "+frag_keyframe+empty_moov+default_base_moof"]),
    }
    push(&["-frag_duration", "4000000", "-f", "mp4", "pipe:1"]);
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(selected: Selection, start: f64) -> String {
        let source = Source::Url {
            url: "http://127.0.0.1:1/x".to_owned(),
            header: "A: b".to_owned(),
        };
        let words: Vec<String> = live(&source, selected, start)
            .iter()
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        words.join(" ")
    }

    const BEGIN: &str =
        "-hide_banner -nostdin -loglevel error -fflags +genpts+igndts+discardcorrupt";
    const INPUT: &str = "-protocol_whitelist http,tcp -format_whitelist FORMATS -headers A: b\r\n -i http://127.0.0.1:1/x";
    const END: &str = "-map_chapters -1 -map_metadata -1 -avoid_negative_ts make_zero -max_muxing_queue_size 2048 \
                       -movflags +frag_keyframe+empty_moov+default_base_moof -frag_duration 4000000 -f mp4 pipe:1";

    #[test]
    fn golden() {
        let all = Selection {
            video: Some(0),
            copies_video: true,
            audio: Some(2),
            copies_audio: true,
            adts: false,
        };
        let input = INPUT.replace("FORMATS", crate::ffmpeg::source::FORMATS);
        assert_eq!(
            line(all, 0.0),
            format!("{BEGIN} {input} -map 0:0 -c:v copy -map 0:2 -c:a copy {END}")
        );
        let sound = Selection {
            copies_audio: false,
            ..all
        };
        assert_eq!(
            line(sound, 61.5),
            format!(
                "{BEGIN} -ss 61.500 -noaccurate_seek {input} -map 0:0 -c:v copy -map 0:2 -c:a aac -ac 2 -ar 48000 \
                 -b:a 192k -af aresample=async=1 {END}"
            )
        );
        let both = Selection {
            copies_video: false,
            ..sound
        };
        assert_eq!(
            line(both, 61.5),
            format!(
                "{BEGIN} -ss 61.500 {input} -map 0:0 -c:v libx264 -preset veryfast -crf 23 -profile:v high -level:v 4.1 \
                 -pix_fmt yuv420p -vf scale=w='trunc(min(1920,iw)/2)*2':h=-2 -force_key_frames expr:gte(t,n_forced*2) \
                 -map 0:2 -c:a aac -ac 2 -ar 48000 -b:a 192k -af aresample=async=1 {END}"
            )
        );
        let music = Selection {
            video: None,
            ..sound
        };
        let adts = line(Selection { adts: true, ..all }, 0.0);
        assert!(
            adts.contains("-c:a copy -bsf:a aac_adtstoasc -map_chapters"),
            "{adts}"
        );
        assert!(
            adts.contains("default_base_moof+delay_moov -frag"),
            "{adts}"
        );
        assert!(
            !line(
                Selection {
                    adts: true,
                    ..sound
                },
                0.0
            )
            .contains("moov+delay")
        );
        assert!(line(music, 1.0).contains("-ss 1.000 -protocol_whitelist"));
        assert!(!line(music, 1.0).contains("-c:v"));
    }
}
