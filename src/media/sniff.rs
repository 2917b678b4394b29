//! What a file is, by its first bytes: for a box without ffprobe, which would know better.
//!
//! Only what is certain is said: that browsers play it, that it is media of a kind that needs ffmpeg, or that it is no
//! media of the kind its name promises. Every byte is a stranger's, and few are read.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use memchr::memmem;

/// Bytes of the beginning that are looked at.
const HEAD: usize = 4096;

/// Boxes of an MP4 that are passed over on the way to its index.
const BOXES: usize = 64;

/// The largest index of an MP4 that is read: ten hours of film have 20 MB.
const INDEX: u64 = 32 << 20;

/// What a file looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looks {
    /// Browsers play it.
    Playable,
    /// It is media, of which nobody knows without ffmpeg whether browsers play it.
    Media,
    /// It is not what its extension says.
    Nothing,
}

/// Looks at a file whose name has this extension, in lower case. Blocks.
///
/// # Errors
/// The disk's.
pub fn look(file: &File, extension: &str) -> io::Result<Looks> {
    let mut head = vec![0; HEAD];
    let read = read_at_most(file, &mut head, 0)?;
    let head = &head[..read];
    let playable = |is: bool| match is {
        true => Looks::Playable,
        false => Looks::Nothing,
    };
    Ok(match extension {
        "mp4" | "m4v" | "m4a" | "mov" => return isobmff(file, head),
        "webm" | "mkv" => match (is_ebml(head), memmem::find(head, b"webm").is_some()) {
            // What calls itself WebM holds VP8, VP9 or AV1, and Vorbis or Opus: nothing else is allowed in it.
            (true, true) if extension == "webm" => Looks::Playable,
            (true, _) => Looks::Media,
            (false, _) => Looks::Nothing,
        },
        "avi" if head.starts_with(b"RIFF") && head.get(8..12) == Some(b"AVI ") => Looks::Media,
        "mp3" => playable(head.starts_with(b"ID3") || is_mpeg_audio(head)),
        "flac" => playable(head.starts_with(b"fLaC")),
        "ogg" | "opus" if head.starts_with(b"OggS") => {
            let known = [&b"OpusHead"[..], b"\x01vorbis", b"\x7fFLAC"];
            match known
                .iter()
                .any(|codec| memmem::find(head, codec).is_some())
            {
                true => Looks::Playable,
                false => Looks::Media,
            }
        }
        _ => Looks::Nothing,
    })
}

/// Whether the index of an MP4 stands before its media, so that it plays from its first bytes on; true of what is none
/// (ISO/IEC 14496-12 section 4.2). Blocks.
///
/// # Errors
/// The disk's.
pub fn is_ready(file: &File) -> io::Result<bool> {
    let length = file.metadata()?.len();
    let mut at = 0;
    for _ in 0..BOXES {
        let mut header = [0; 16];
        let read = read_at_most(file, &mut header, at)?;
        let Some((size, kind, _)) = box_header(&header[..read], length.saturating_sub(at)) else {
            break;
        };
        match &kind {
            b"mdat" => return Ok(false),
            b"ftyp" | b"free" | b"skip" | b"wide" | b"uuid" | b"sidx" | b"styp" | b"pnot"
            | b"udta" => {}
            _ => break,
        }
        at = at.saturating_add(size);
    }
    Ok(true)
}

fn is_ebml(head: &[u8]) -> bool {
    head.starts_with(b"\x1a\x45\xdf\xa3")
}

/// A frame of MPEG audio, layer III: eleven bits of sync, a layer, a bit rate and a sample rate that there are.
fn is_mpeg_audio(head: &[u8]) -> bool {
    let Some(&[a, b, c]) = head.first_chunk::<3>() else {
        return false;
    };
    a == 0xff && b & 0xe6 == 0xe2 && !matches!(c >> 4, 0 | 15) && c >> 2 & 3 != 3
}

/// An MP4 or QuickTime file: the codecs stand in the sample descriptions (`stsd`) of its index (`moov`), which may be
/// at either end.
fn isobmff(file: &File, head: &[u8]) -> io::Result<Looks> {
    if !matches!(
        head.get(4..8),
        Some(b"ftyp" | b"moov" | b"mdat" | b"wide" | b"free")
    ) {
        return Ok(Looks::Nothing);
    }
    let length = file.metadata()?.len();
    let mut at = 0;
    for _ in 0..BOXES {
        let mut header = [0; 16];
        let read = read_at_most(file, &mut header, at)?;
        let Some((size, kind, _)) = box_header(&header[..read], length - at) else {
            return Ok(Looks::Nothing);
        };
        if &kind == b"moov" {
            let mut index = vec![0; size.min(INDEX).min(length - at) as usize];
            let read = read_at_most(file, &mut index, at)?;
            return Ok(codecs(&index[..read]));
        }
        at = at.saturating_add(size);
        if at >= length {
            break;
        }
    }
    // Without an index nobody plays it.
    Ok(Looks::Nothing)
}

/// Size, kind and length of the header of a box (ISO 14496-12 section 4.2).
fn box_header(bytes: &[u8], left: u64) -> Option<(u64, [u8; 4], usize)> {
    let size = u32::from_be_bytes(*bytes.first_chunk()?);
    let kind = *bytes.get(4..)?.first_chunk()?;
    let (size, header) = match size {
        0 => (left, 8),
        1 => (u64::from_be_bytes(*bytes.get(8..)?.first_chunk()?), 16),
        size => (u64::from(size), 8),
    };
    (size >= header as u64).then_some((size, kind, header))
}

fn codecs(index: &[u8]) -> Looks {
    let entries = memmem::find_iter(index, b"stsd")
        // Version and flags, the number of entries, the size of the first.
        .filter_map(|at| index.get(at + 16..)?.first_chunk::<4>().copied());
    let mut looks = Looks::Media;
    for codec in entries.take(64) {
        looks = match &codec {
            b"avc1" | b"avc3" | b"vp08" | b"vp09" | b"av01" | b"mp4a" | b".mp3" | b"fLaC"
            | b"Opus" => Looks::Playable,
            // Subtitles and time codes are nobody's hindrance.
            b"tx3g" | b"text" | b"tmcd" | b"wvtt" | b"mp4s" => continue,
            _ => return Looks::Media,
        };
    }
    looks
}

fn read_at_most(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match file.read_at(&mut buffer[read..], at + read as u64) {
            Ok(0) => break,
            Ok(n) => read += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn looks(bytes: &[u8], extension: &str) -> Looks {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        look(&file, extension).unwrap()
    }

    fn mp4(codecs: &[&[u8; 4]], index_last: bool) -> Vec<u8> {
        let mut moov = Vec::new();
        for codec in codecs {
            moov.extend(b"\0\0\0\x20stsd\0\0\0\0\0\0\0\x01\0\0\0\x10");
            moov.extend(*codec);
            moov.extend([0; 8]);
        }
        let moov = [&(moov.len() as u32 + 8).to_be_bytes()[..], b"moov", &moov].concat();
        let mdat = b"\0\0\0\x01mdat\0\0\0\0\0\0\x20\0"
            .iter()
            .copied()
            .chain([7; 0x2000 - 16]);
        let mdat: Vec<u8> = mdat.collect();
        let ftyp = b"\0\0\0\x10ftypisom\0\0\0\0".to_vec();
        match index_last {
            true => [ftyp, mdat, moov].concat(),
            false => [ftyp, moov, mdat].concat(),
        }
    }

    #[test]
    fn what_files_look_like() {
        for last in [false, true] {
            assert_eq!(
                looks(&mp4(&[b"avc1", b"mp4a"], last), "mp4"),
                Looks::Playable
            );
            assert_eq!(looks(&mp4(&[b"hvc1", b"mp4a"], last), "mp4"), Looks::Media);
            assert_eq!(
                looks(&mp4(&[b"avc1", b"ac-3", b"tx3g"], last), "m4v"),
                Looks::Media
            );
            assert_eq!(looks(&mp4(&[], last), "mov"), Looks::Media);
        }
        let whole = mp4(&[b"avc1"], true);
        assert_eq!(
            looks(&whole[..whole.len() / 2], "mp4"),
            Looks::Nothing,
            "its index is cut off"
        );
        for (bytes, extension, want) in [
            (
                &b"\x1a\x45\xdf\xa3\x9f\x42\x82\x84webm"[..],
                "webm",
                Looks::Playable,
            ),
            (
                b"\x1a\x45\xdf\xa3\x9f\x42\x82\x88matroska",
                "webm",
                Looks::Media,
            ),
            (b"\x1a\x45\xdf\xa3\x9f\x42\x82\x84webm", "mkv", Looks::Media),
            (b"RIFF\0\0\0\0AVI LIST", "avi", Looks::Media),
            (b"RIFF\0\0\0\0WAVE", "avi", Looks::Nothing),
            (b"ID3\x04", "mp3", Looks::Playable),
            (b"\xff\xfb\x90\x64", "mp3", Looks::Playable),
            (b"\xff\xff\xff\xff", "mp3", Looks::Nothing),
            (b"fLaC\0", "flac", Looks::Playable),
            (b"OggS\0OpusHead", "opus", Looks::Playable),
            (b"OggS\0theora", "ogg", Looks::Media),
            (b"This is a text.", "mp4", Looks::Nothing),
            (b"\0\0\0\0ftyp", "mp4", Looks::Nothing),
            (b"\0\0\0\x01ftyp\0\0\0\0\0\0\0\0", "mp4", Looks::Nothing),
            (
                b"\0\0\0\x01ftyp\xff\xff\xff\xff\xff\xff\xff\xff",
                "mp4",
                Looks::Nothing,
            ),
            (b"", "mp4", Looks::Nothing),
            (b"", "exe", Looks::Nothing),
        ] {
            assert_eq!(
                looks(bytes, extension),
                want,
                "{} {extension}",
                bytes.escape_ascii()
            );
        }
    }

    #[test]
    fn where_the_index_of_an_mp4_is() {
        let ready = |boxes: &[(&[u8; 4], u32)]| {
            let mut bytes = Vec::new();
            for (kind, length) in boxes {
                bytes.extend(length.to_be_bytes());
                bytes.extend(*kind);
                bytes.resize(bytes.len() + (*length as usize).saturating_sub(8), 0);
            }
            bytes.resize(bytes.len() + 16, 0);
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&bytes).unwrap();
            is_ready(&file).unwrap()
        };
        assert!(ready(&[(b"ftyp", 24), (b"moov", 100), (b"mdat", 100)]));
        assert!(!ready(&[
            (b"ftyp", 24),
            (b"free", 8),
            (b"mdat", 100),
            (b"moov", 100)
        ]));
        assert!(ready(&[(b"ID3\x03", 24)]) && ready(&[]));
        assert!(ready(&[(b"free", 1), (b"free", 3)]));
    }
}
