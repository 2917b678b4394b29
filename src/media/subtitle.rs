//! SubRip to WebVTT.
//!
//! Browsers show nothing but WebVTT in UTF-8 (W3C WebVTT section 4), and what people have is SubRip in
//! whatever encoding their system spoke. SubRip has no specification; what is read here is what players
//! accept: blocks of an optional number, a line with `-->`, and text up to an empty line.

use std::fmt::Write;

/// The largest subtitle that is converted, in bytes. A film's is below 200 KiB.
pub const LARGEST: u64 = 10 << 20;

/// The longest markup that is dropped, in bytes. A font with all its attributes is below 100.
const MARKUP: usize = 256;

/// Rewrites SubRip text as WebVTT, whatever its encoding and line ends; never fails.
///
/// What is no cue is left out. Of markup `<b>`, `<i>` and `<u>` stay; fonts and positions go, and
/// everything else that WebVTT would read as markup is escaped.
pub fn srt_to_vtt(srt: &[u8]) -> Vec<u8> {
    let text = decode(srt);
    let mut lines = lines(&text).peekable();
    let mut vtt = String::with_capacity(text.len() + 16);
    vtt.push_str("WEBVTT\n");

    let mut body = String::new();
    while let Some(line) = lines.next() {
        let Some((start, end)) = timing(line) else {
            continue;
        };
        body.clear();
        while let Some(line) = lines.next_if(|line| !line.is_empty() && timing(line).is_none()) {
            // Where the empty line between two cues is missing, the next one's number is no text of this one.
            if is_number(line) && lines.peek().is_some_and(|next| timing(next).is_some()) {
                break;
            }
            if !body.is_empty() {
                body.push('\n');
            }
            text_line(line, &mut body);
        }
        // A cue that ends before it begins is an error to a browser (section 6.3), and an empty one shows nothing.
        if !body.is_empty() && end > start {
            let _ = write!(vtt, "\n{} --> {}\n", stamp(start), stamp(end));
            for line in balanced(&body).lines() {
                vtt.push_str(line);
                vtt.push('\n');
            }
        }
    }
    vtt.into_bytes()
}

/// Lines without their ends and the space around them. A lone CR ends a line as well (files from old Macs).
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n')
        .flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
        .map(str::trim)
}

fn is_number(line: &str) -> bool {
    !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_digit())
}

/// Reads `HH:MM:SS,mmm --> HH:MM:SS,mmm`, in milliseconds; what follows (`X1:...` positions in pixels of
/// some other screen) is dropped.
fn timing(line: &str) -> Option<(u64, u64)> {
    let (start, rest) = line.split_once("-->")?;
    let end = rest.split_whitespace().next()?;
    Some((milliseconds(start.trim())?, milliseconds(end)?))
}

/// Reads `[H+:]M+:S+[,.]m*`. Hours may have any number of digits up to six.
fn milliseconds(stamp: &str) -> Option<u64> {
    let number = |digits: &str| match digits.len() {
        1..=6 if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse::<u64>().ok(),
        _ => None,
    };
    let (clock, fraction) = stamp.split_once([',', '.']).unwrap_or((stamp, "0"));
    let mut parts = clock.rsplit(':');
    let seconds = number(parts.next()?.trim())?;
    let minutes = number(parts.next()?.trim())?;
    let hours = parts.next().map_or(Some(0), |hours| number(hours.trim()))?;
    if parts.next().is_some() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // `,5` is half a second: digits after the comma are a decimal fraction, and the fourth is beyond us.
    let fraction = number(format!("{fraction:0<3}").get(..3)?)?;
    Some(((hours * 60 + minutes) * 60 + seconds) * 1000 + fraction)
}

/// Writes `HH:MM:SS.mmm` (section 4.1); hours take as many digits as they need.
fn stamp(ms: u64) -> String {
    let (seconds, ms) = (ms / 1000, ms % 1000);
    let (minutes, seconds) = (seconds / 60, seconds % 60);
    format!(
        "{:02}:{:02}:{seconds:02}.{ms:03}",
        minutes / 60,
        minutes % 60
    )
}

/// One line of a cue onto `out`: known tags kept, fonts and `{\an8}` dropped, the rest escaped.
fn text_line(line: &str, out: &mut String) {
    let mut rest = line;
    while let Some(next) = rest.chars().next() {
        if let Some((tag, after)) = tag(rest) {
            out.push_str(tag);
            rest = after;
            continue;
        }
        if rest.starts_with("{\\") {
            if let Some(after) = after_mark(rest, b'}') {
                rest = after;
                continue;
            }
        }
        match next {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            // What Unicode calls a line end, and controls, could split a cue.
            '\u{0}'..='\u{8}' | '\u{b}'..='\u{1f}' | '\u{7f}' => {}
            other => out.push(other),
        }
        rest = &rest[next.len_utf8()..];
    }
}

/// What follows the first `mark`, when that is near: what begins like markup and does not end soon is text. Looking
/// further from every beginning would take a line of nothing else the square of its length.
fn after_mark(text: &str, mark: u8) -> Option<&str> {
    let near = &text.as_bytes()[..text.len().min(MARKUP)];
    let at = near.iter().position(|&byte| byte == mark)?;
    text.get(at + 1..)
}

/// A tag that begins `text`, as WebVTT writes it (empty for one that is dropped), and what follows.
fn tag(text: &str) -> Option<(&'static str, &str)> {
    const KEPT: &[(&str, &str)] = &[
        ("<b>", "<b>"),
        ("</b>", "</b>"),
        ("<i>", "<i>"),
        ("</i>", "</i>"),
        ("<u>", "<u>"),
        ("</u>", "</u>"),
        ("</font>", ""),
    ];
    for (srt, vtt) in KEPT {
        if text
            .get(..srt.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(srt))
        {
            return Some((vtt, &text[srt.len()..]));
        }
    }
    let font = text
        .get(..6)
        .is_some_and(|start| start.eq_ignore_ascii_case("<font "));
    match font {
        true => Some(("", after_mark(text, b'>')?)),
        false => None,
    }
}

/// Closes tags that are left open and drops ends without a beginning.
fn balanced(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    let mut open: Vec<&str> = Vec::new();
    let mut rest = text;
    // Everything but our own tags is escaped by now, so every `<` begins one.
    while let Some(at) = rest.find('<') {
        out.push_str(&rest[..at]);
        let end = rest[at..].find('>').map_or(rest.len(), |end| at + end + 1);
        let tag = &rest[at..end];
        rest = &rest[end..];
        match tag
            .strip_prefix("</")
            .and_then(|name| name.strip_suffix('>'))
        {
            None => {
                // Depth beyond this is nobody's typography.
                if open.len() < 16 {
                    open.push(&tag[1..tag.len() - 1]);
                    out.push_str(tag);
                }
            }
            Some(name) if open.last() == Some(&name) => {
                open.pop();
                out.push_str(tag);
            }
            Some(_) => {}
        }
    }
    out.push_str(rest);
    for name in open.iter().rev() {
        let _ = write!(out, "</{name}>");
    }
    out
}

/// Text of unknown encoding: by its byte order mark, else UTF-8 when it is, else UTF-16 when every other
/// byte of its beginning is zero, else Windows-1252, which most other files in the West are.
fn decode(bytes: &[u8]) -> String {
    if let Some(rest) = bytes.strip_prefix(b"\xef\xbb\xbf") {
        return String::from_utf8_lossy(rest).into_owned();
    }
    if let Some(rest) = bytes.strip_prefix(b"\xff\xfe") {
        return utf16(rest, u16::from_le_bytes);
    }
    if let Some(rest) = bytes.strip_prefix(b"\xfe\xff") {
        return utf16(rest, u16::from_be_bytes);
    }
    // A file without a mark begins with a number: ASCII in either byte order.
    match bytes {
        [low, 0, _, 0, ..] if *low != 0 => return utf16(bytes, u16::from_le_bytes),
        [0, low, 0, _, ..] if *low != 0 => return utf16(bytes, u16::from_be_bytes),
        _ => {}
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|&byte| windows_1252(byte)).collect(),
    }
}

fn utf16(bytes: &[u8], read: fn([u8; 2]) -> u16) -> String {
    let units = bytes.chunks_exact(2).map(|pair| read([pair[0], pair[1]]));
    char::decode_utf16(units)
        .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}

/// Windows-1252 (WHATWG Encoding): Latin-1 but for 0x80 to 0x9F.
fn windows_1252(byte: u8) -> char {
    const UPPER: [char; 32] = [
        '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž',
        '\u{8f}', '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}',
        'ž', 'Ÿ',
    ];
    match byte {
        0x80..=0x9f => UPPER[usize::from(byte - 0x80)],
        other => char::from(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn vtt(srt: impl AsRef<[u8]>) -> String {
        String::from_utf8(srt_to_vtt(srt.as_ref())).unwrap()
    }

    const CUE: &str = "WEBVTT\n\n00:00:01.000 --> 00:00:02.500\nHi\n";

    #[test]
    fn a_plain_cue_in_every_shape() {
        for srt in [
            "1\n00:00:01,000 --> 00:00:02,500\nHi\n",
            "1\r\n00:00:01,000 --> 00:00:02,500\r\nHi\r\n\r\n",
            "1\r00:00:01,000 --> 00:00:02,500\rHi",
            "\u{feff}1\n00:00:01,000 --> 00:00:02,500\nHi",
            "00:00:01,000 --> 00:00:02,500\nHi",
            "00:01,000-->00:02,5 X1:100 X2:200 Y1:1 Y2:2\nHi",
            "\n\njunk\n\n1\n0:0:1.000 --> 0:0:2.500\nHi\n2\n",
        ] {
            let got = vtt(srt);
            assert!(got.starts_with(CUE), "{srt:?} gave {got:?}");
        }
    }

    #[test]
    fn encodings() {
        let srt = "1\n00:00:01,000 --> 00:00:02,500\nSeñor “é”\n";
        let want = "WEBVTT\n\n00:00:01.000 --> 00:00:02.500\nSeñor “é”\n";
        let le: Vec<u8> = srt.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let be: Vec<u8> = srt.encode_utf16().flat_map(u16::to_be_bytes).collect();
        assert_eq!(vtt(&le), want);
        assert_eq!(vtt(&be), want);
        assert_eq!(vtt([b"\xff\xfe", &le[..]].concat()), want);
        assert_eq!(vtt([b"\xfe\xff", &be[..]].concat()), want);
        let latin = b"1\n00:00:01,000 --> 00:00:02,500\nSe\xf1or \x93\xe9\x94\n";
        assert_eq!(vtt(latin), want);
    }

    #[test]
    fn text_is_escaped_and_tags_are_kept() {
        let cue = |text: &str| {
            let got = vtt(format!("00:00:01,000 --> 00:00:02,500\n{text}\n"));
            got.strip_prefix("WEBVTT\n\n00:00:01.000 --> 00:00:02.500\n")
                .unwrap_or("?")
                .to_owned()
        };
        assert_eq!(cue("<I>a</I> & <b>b"), "<i>a</i> &amp; <b>b</b>\n");
        assert_eq!(cue("a --> b"), "a --&gt; b\n");
        assert_eq!(
            cue("<script>x</script>"),
            "&lt;script&gt;x&lt;/script&gt;\n"
        );
        assert_eq!(cue("{\\an8}<font color=\"red\">x</font></i>"), "x\n");
        assert_eq!(cue("1 < 2 > 0"), "1 &lt; 2 &gt; 0\n");
    }

    #[test]
    fn long_hours_and_missing_lines() {
        let got =
            vtt("1\n100:00:01,000 --> 100:00:02,000\nA\n2\n100:00:03,000 --> 100:00:04,000\nB");
        assert!(
            got.contains("\n100:00:01.000 --> 100:00:02.000\nA\n\n100:00:03.000"),
            "{got}"
        );
        assert_eq!(vtt(""), "WEBVTT\n");
        assert_eq!(
            vtt("1\n00:00:02,000 --> 00:00:01,000\nbackwards"),
            "WEBVTT\n"
        );
    }

    #[test]
    fn markup_that_does_not_end_is_text() {
        let cue = |text: &str| vtt(format!("00:00:01,000 --> 00:00:02,500\n{text}\n"));
        assert!(cue("<font x").ends_with("\n&lt;font x\n"));
        assert!(cue("{\\an8 x").ends_with("\n{\\an8 x\n"));
        let far = format!("<font {}>x", "é".repeat(MARKUP));
        assert!(cue(&far).contains("\n&lt;font é"));
    }

    /// Each took minutes or hundreds of MiB once, or would with the obvious code.
    #[test]
    fn two_mib_of_anything_take_a_moment() {
        let head = "1\n00:00:01,000 --> 00:00:02,500\n";
        for piece in [
            "<font ",
            "<",
            "{\\",
            "<b>",
            "<b></i>",
            "1\n",
            "\n",
            "\r",
            "1",
            "-->",
            "0:0:1 --> 0:0:2\n",
            "&",
            "\u{1}",
        ] {
            let srt = format!("{head}{}", piece.repeat((2 << 20) / piece.len()));
            let began = std::time::Instant::now();
            let vtt = srt_to_vtt(srt.as_bytes());
            let took = began.elapsed();
            assert!(vtt.len() < 8 * srt.len(), "{piece:?}: {}", vtt.len());
            // Built without optimisation and on a busy machine; what is quadratic takes minutes, and all else takes
            // them where an emulated processor runs it.
            let most = if cfg!(target_arch = "x86_64") {
                20
            } else {
                300
            };
            assert!(took.as_secs() < most, "{piece:?}: {took:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_become_webvtt(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(vtt(bytes).starts_with("WEBVTT\n"));
        }

        #[test]
        fn any_text_stays_within_its_cue(text in "[a-z<>&/ibu{}\\\\:0-9 \n\r-]{0,120}") {
            let got = vtt(format!("1\n00:00:01,000 --> 00:00:02,500\n{text}"));
            for line in got.lines().skip(1) {
                let arrow = line.contains("-->");
                prop_assert!(!arrow || timing(line).is_some(), "{}", got);
            }
        }
    }
}
