//! The files that other tests stand on are what they say they are.

use std::process::Command;

use crate::support::media;

#[test]
fn media_are_what_their_names_say() {
    if !media::available() {
        return;
    }
    let codecs = |name: &str| {
        let output = Command::new("ffprobe")
            .args([
                "-v",
                "error",
                "-show_entries",
                "stream=codec_name",
                "-of",
                "csv=p=0",
            ])
            .arg(media::file(name))
            .output()
            .expect("ffprobe is installed");
        String::from_utf8_lossy(&output.stdout)
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    };
    for (name, want) in [
        ("h264_aac.mp4", "h264 aac"),
        ("h264_aac_last.mp4", "h264 aac"),
        ("h264_aac.mkv", "h264 aac"),
        ("h264_ac3.mkv", "h264 ac3 subrip subrip"),
        ("large.mkv", "h264 ac3"),
        ("h264_10bit.mkv", "h264 aac"),
        ("h264_444.mp4", "h264 aac"),
        ("hevc_aac.mkv", "hevc aac"),
        ("vp9_opus.webm", "vp9 opus"),
        ("vp9_opus.mkv", "vp9 opus"),
        ("mpeg4_mp3.avi", "mpeg4 mp3"),
        ("silent.mkv", "h264"),
        ("tone.mp3", "mp3"),
        ("tone.flac", "flac"),
        ("tone.m4a", "aac"),
        ("tone.ogg", "vorbis"),
        ("tone.opus", "opus"),
        ("tone.wav", "pcm_s16le"),
        ("tone.ac3", "ac3"),
        ("cover.mp3", "mp3 mjpeg"),
        // ffprobe tells the streams of a transport stream once more for its programme.
        ("broken.ts", "h264 aac h264 aac"),
        ("truncated.mkv", "h264 ac3 subrip subrip"),
        ("truncated.mp4", "h264 aac"),
        ("empty.mp4", ""),
        ("text.mp4", ""),
    ] {
        assert_eq!(codecs(name), want, "{name}");
    }
    let mp4 = media::bytes("h264_aac.mp4");
    let at = |what: &[u8]| mp4.windows(4).position(|window| window == what);
    assert!(at(b"moov") < at(b"mdat"));
}
