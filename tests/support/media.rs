//! Films and music of every kind that the tests need, made by ffmpeg once and kept in the target folder.
//!
//! Tests run in processes of their own, several at once: each file is made under a name of its maker and moved to its
//! place, so that whoever finds it finds all of it. The place names the recipe, so that a changed one is made anew.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Twelve seconds of a moving picture at 25 frames a second with B frames and a key frame every second, and a tone.
const PICTURE: &str = "-f lavfi -i testsrc2=size=320x240:rate=25:duration=12 -f lavfi -i sine=frequency=440:sample_rate=48000:duration=12";

const H264: &str = "-c:v libx264 -preset veryfast -pix_fmt yuv420p -g 25 -bf 2";

/// Whether the files can be made here.
pub fn available() -> bool {
    let version = |program: &str| {
        Command::new(program)
            .arg("-version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    version("ffmpeg") && version("ffprobe")
}

/// The path of a file by its name:
///
/// | name | what it is |
/// |---|---|
/// | `h264_aac.mp4` | its index first; plays everywhere |
/// | `h264_aac_last.mp4` | its index last |
/// | `h264_aac.mkv`, `h264_aac.ts` | the same in other containers |
/// | `h264_ac3.mkv` | 5.1 sound, text subtitles in English and French |
/// | `large.mkv` | the same with much noise and no subtitles: some 30 MB in a minute |
/// | `h264_10bit.mkv`, `h264_444.mp4` | H.264 that few screens decode |
/// | `hevc_aac.mkv`, `vp9_opus.webm`, `vp9_opus.mkv`, `mpeg4_mp3.avi` | other codecs |
/// | `silent.mkv` | H.264 without sound |
/// | `tone.mp3`, `tone.flac`, `tone.m4a`, `tone.ogg`, `tone.opus`, `tone.wav`, `tone.ac3` | music |
/// | `cover.mp3` | music with a picture |
/// | `broken.ts` | timestamps that jump back in the middle |
/// | `truncated.mkv`, `truncated.mp4` | the first 60 % of a file |
/// | `empty.mp4`, `text.mp4`, `playlist.mp4` | no media: nothing, prose, a playlist that names `secret.txt` |
pub fn file(name: &str) -> PathBuf {
    let cut = |source: &str| {
        let whole = fs::read(file(source)).expect("a media file");
        whole[..whole.len() * 6 / 10].to_vec()
    };
    match name {
        "broken.ts" => {
            let once = fs::read(file("h264_aac.ts")).expect("a media file");
            written(name, &[once.as_slice(), &once].concat())
        }
        "truncated.mkv" => written(name, &cut("h264_ac3.mkv")),
        "truncated.mp4" => written(name, &cut("h264_aac.mp4")),
        "empty.mp4" => written(name, b""),
        "text.mp4" => written(name, b"This is a text, whatever its name says.\n".repeat(100).as_slice()),
        "playlist.mp4" => written(
            name,
            b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nsecret.txt\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
        ),
        _ => made(name, &recipe(name)),
    }
}

/// The bytes of [`file`].
pub fn bytes(name: &str) -> Vec<u8> {
    fs::read(file(name)).expect("a media file")
}

/// The arguments that make a file, without its name.
fn recipe(name: &str) -> String {
    let tone = "-f lavfi -i sine=frequency=440:sample_rate=48000:duration=12";
    match name {
        "h264_aac.mp4" => format!("{PICTURE} {H264} -c:a aac -ac 2 -movflags +faststart"),
        "h264_aac_last.mp4" => format!("{PICTURE} {H264} -c:a aac -ac 2"),
        "h264_aac.mkv" | "h264_aac.ts" => format!("{PICTURE} {H264} -c:a aac -ac 2"),
        "h264_ac3.mkv" => format!(
            "{PICTURE} -i {{subtitles}} -i {{subtitles}} -map 0:v -map 1:a -map 2 -map 3 {H264} -c:a ac3 -ac 6 -c:s srt \
             -metadata:s:s:0 language=eng -metadata:s:s:1 language=fre -metadata:s:a:0 language=ger"
        ),
        "large.mkv" => "-f lavfi -i testsrc2=size=640x360:rate=25:duration=60,noise=alls=30:allf=t -f lavfi -i \
             sine=frequency=440:sample_rate=48000:duration=60 -c:v libx264 -preset ultrafast -b:v 4M -pix_fmt yuv420p \
             -g 25 -c:a ac3 -ac 2".to_owned(),
        "h264_10bit.mkv" => {
            format!("{PICTURE} -c:v libx264 -preset veryfast -pix_fmt yuv420p10le -c:a aac")
        }
        "h264_444.mp4" => {
            format!("{PICTURE} -c:v libx264 -preset veryfast -pix_fmt yuv444p -c:a aac")
        }
        "hevc_aac.mkv" => {
            format!("{PICTURE} -c:v libx265 -preset ultrafast -x265-params log-level=none -c:a aac")
        }
        "vp9_opus.webm" | "vp9_opus.mkv" => {
            format!("{PICTURE} -c:v libvpx-vp9 -deadline realtime -cpu-used 8 -c:a libopus")
        }
        "mpeg4_mp3.avi" => format!("{PICTURE} -c:v mpeg4 -c:a libmp3lame"),
        "silent.mkv" => format!("{PICTURE} -map 0:v {H264}"),
        "tone.mp3" => format!("{tone} -c:a libmp3lame"),
        "tone.flac" | "tone.wav" | "tone.ac3" => tone.to_owned(),
        "tone.m4a" => format!("{tone} -c:a aac"),
        "tone.ogg" => format!("{tone} -c:a libvorbis"),
        "tone.opus" => format!("{tone} -c:a libopus"),
        "cover.mp3" => format!(
            "{tone} -f lavfi -i color=red:size=64x64:duration=0.04 -map 0 -map 1 -c:a libmp3lame -c:v mjpeg -frames:v 1 \
             -disposition:v attached_pic"
        ),
        other => panic!("no recipe makes {other}"),
    }
}

fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("media");
    fs::create_dir_all(&folder).expect("a folder in the target folder");
    folder
}

fn written(name: &str, bytes: &[u8]) -> PathBuf {
    let place = folder().join(name);
    if fs::read(&place).is_ok_and(|there| there == bytes) {
        return place;
    }
    let draft = draft(name);
    fs::write(&draft, bytes).expect("a file in the target folder");
    fs::rename(&draft, &place).expect("a file in the target folder");
    place
}

/// A name that no other process writes to; the extension stays, which is how ffmpeg knows the container.
fn draft(name: &str) -> PathBuf {
    let thread = format!("{:?}", std::thread::current().id());
    let thread: String = thread.chars().filter(char::is_ascii_digit).collect();
    folder().join(format!("draft-{}-{thread}-{name}", std::process::id()))
}

fn made(name: &str, recipe: &str) -> PathBuf {
    // FNV-1a: the same in every build, as `Hasher`s of the standard library need not be.
    let hash = recipe
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
    let place = folder().join(format!("{hash:016x}-{name}"));
    if place.exists() {
        return place;
    }
    let subtitles = written(
        "subtitles.srt",
        b"1\n00:00:01,000 --> 00:00:03,000\nOne\n\n2\n00:00:05,000 --> 00:00:08,000\nTwo\n\n",
    );
    let draft = draft(name);
    let arguments = recipe.split_whitespace().map(|word| match word {
        "{subtitles}" => subtitles.clone().into_os_string(),
        word => word.into(),
    });
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-y"])
        .args(arguments)
        .arg(&draft)
        .output()
        .expect("ffmpeg is installed");
    assert!(
        output.status.success(),
        "ffmpeg does not make {name}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    fs::rename(&draft, &place).expect("a file in the target folder");
    place
}
