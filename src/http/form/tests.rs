//! Forms as clients send them, cut everywhere.

use proptest::prelude::*;

use super::*;

/// What a form came to: names, files' names, contents; and how it ended.
type Read = (Vec<(String, Option<String>, Vec<u8>)>, Result<bool, Fault>);

/// Reads a form that comes in these pieces, as its user does.
fn read(boundary: &[u8], pieces: &[&[u8]]) -> Read {
    let mut form = Form::new(boundary);
    let mut window: Vec<u8> = Vec::new();
    let mut parts: Vec<(String, Option<String>, Vec<u8>)> = Vec::new();
    let mut open = false;
    for piece in pieces {
        window.extend_from_slice(piece);
        loop {
            let (skip, step) = match form.step(&window) {
                Ok(stepped) => stepped,
                Err(fault) => return (parts, Err(fault)),
            };
            assert!(skip <= window.len());
            window.drain(..skip);
            match step {
                Step::More => break,
                Step::Part(head) => {
                    assert!(!open, "a part ends before the next begins");
                    open = true;
                    parts.push((head.name, head.filename, Vec::new()));
                }
                Step::Content(length) => {
                    assert!(open && length > 0 && length <= window.len());
                    let content: Vec<u8> = window.drain(..length).collect();
                    parts.last_mut().unwrap().2.extend(content);
                }
                Step::PartEnd => {
                    assert!(open);
                    open = false;
                }
                Step::End => {
                    assert!(!open && form.is_whole());
                    break;
                }
            }
        }
        assert!(window.len() < WINDOW, "{} bytes are kept", window.len());
    }
    (parts, Ok(form.is_whole()))
}

const FORM: &[u8] = b"--XyZ\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nhello\r\n--Xy\r\n\
    --XyZ \t\r\ncontent-disposition:form-data;name=f;filename=\"a \\\"b\\\".mp4\"\r\nContent-Type: video/mp4\r\n\r\n\
    \r\n\r\n--Xy--XyZ\r\r\n-\r\n--XyY\r\n--XyZ\r\nContent-Disposition: form-data; name=\"e\"; filename=\"\"\r\n\r\n\
    \r\n--XyZ--\r\nepilogue --XyZ";

fn wanted() -> Vec<(String, Option<String>, Vec<u8>)> {
    let text = str::to_owned;
    vec![
        (text("note"), None, b"hello\r\n--Xy".to_vec()),
        (
            text("f"),
            Some(text("a \"b\".mp4")),
            b"\r\n\r\n--Xy--XyZ\r\r\n-\r\n--XyY".to_vec(),
        ),
        (text("e"), Some(text("")), Vec::new()),
    ]
}

#[test]
fn a_form_cut_at_every_offset_and_byte_by_byte_is_the_same() {
    let whole = read(b"XyZ", &[FORM]);
    assert_eq!(whole, (wanted(), Ok(true)));
    for at in 0..=FORM.len() {
        assert_eq!(
            read(b"XyZ", &[&FORM[..at], &FORM[at..]]),
            whole,
            "cut at {at}"
        );
    }
    let bytes: Vec<&[u8]> = FORM.chunks(1).collect();
    assert_eq!(read(b"XyZ", &bytes), whole);
}

#[test]
fn a_form_that_ends_early_is_not_whole() {
    let end = FORM.len() - b"--\r\nepilogue --XyZ".len();
    for at in 0..end + 2 {
        assert_eq!(read(b"XyZ", &[&FORM[..at]]).1, Ok(false), "ended at {at}");
    }
    assert_eq!(read(b"XyZ", &[&FORM[..end + 2]]).1, Ok(true));
    // One that is empty, after all, is whole.
    assert_eq!(read(b"XyZ", &[b"--XyZ--"]), (vec![], Ok(true)));
    assert_eq!(
        read(b"XyZ", &[b"before\r\n--XyZ--\r\n"]),
        (vec![], Ok(true))
    );
}

#[test]
fn what_is_no_form() {
    let long = [
        b"--b\r\nContent-Disposition: form-data; name=",
        &[b'a'; HEAD_LIMIT][..],
    ]
    .concat();
    let preamble = vec![b'\n'; PREAMBLE_LIMIT + 100];
    let padding = [b"--b", &[b' '; 200][..], b"\r\n"].concat();
    for (form, fault) in [
        (&b"--bx\r\n"[..], Fault::BadBoundary),
        (b"--b-x", Fault::BadBoundary),
        (b"--b\n", Fault::BadBoundary),
        (b"--b\r\n\r\nx", Fault::BadHead),
        (b"--b\r\nX: y\r\n\r\n", Fault::BadHead),
        (
            b"--b\r\nContent-Disposition: form-data\r\n\r\n",
            Fault::BadHead,
        ),
        (
            b"--b\r\nContent-Disposition: attachment; name=a\r\n\r\n",
            Fault::BadHead,
        ),
        (
            b"--b\r\nContent-Disposition: form-data; x=a\r\n\r\n",
            Fault::BadHead,
        ),
        (b"--b\r\nnonsense\r\n\r\n", Fault::BadHead),
        (&long, Fault::HeadTooLarge),
        (&preamble, Fault::NoBoundary),
        (&padding, Fault::BadBoundary),
    ] {
        assert_eq!(read(b"b", &[form]).1, Err(fault), "{}", form.escape_ascii());
        let bytes: Vec<&[u8]> = form.chunks(7).collect();
        assert_eq!(read(b"b", &bytes).1, Err(fault), "{}", form.escape_ascii());
    }
}

#[test]
fn boundaries_of_types() {
    for (text, want) in [
        ("multipart/form-data; boundary=abc", Some("abc")),
        (
            "Multipart/Form-Data;charset=utf-8; Boundary=\"a b\"",
            Some("a b"),
        ),
        (
            "multipart/form-data; boundary=----WebKitFormBoundaryA1",
            Some("----WebKitFormBoundaryA1"),
        ),
        ("multipart/form-data", None),
        ("multipart/form-data; boundary=", None),
        ("multipart/form-data; boundary=\"a \"", None),
        ("multipart/form-data; boundary=a\u{e9}", None),
        ("multipart/form-data; boundary=\"a\\\"b\"", None),
        ("multipart/mixed; boundary=a", None),
        ("text/plain; boundary=a", None),
    ] {
        assert_eq!(
            boundary(text),
            want.map(|b| b.as_bytes().to_vec()),
            "{text}"
        );
    }
    let longest = "x".repeat(70);
    assert!(boundary(&format!("multipart/form-data; boundary={longest}")).is_some());
    assert!(boundary(&format!("multipart/form-data; boundary={longest}x")).is_none());
}

#[test]
fn names_of_files() {
    let name = |disposition: &str| {
        let form = format!("--b\r\nContent-Disposition: form-data; {disposition}\r\n\r\n");
        read(b"b", &[form.as_bytes()])
            .0
            .pop()
            .and_then(|part| part.1)
    };
    assert_eq!(
        name("name=f; filename=\"a%22%0D%0A.mp4\"").as_deref(),
        Some("a\"\r\n.mp4")
    );
    assert_eq!(
        name("name=f; filename=\"x\"; filename*=UTF-8''%E2%82%AC.mp4").as_deref(),
        Some("€.mp4")
    );
    assert_eq!(
        name("name=f; filename*=bad; filename=\"x\"").as_deref(),
        Some("x")
    );
    assert_eq!(name("filename=\"é.mkv\"").as_deref(), Some("é.mkv"));
    assert_eq!(name("name=f"), None);
}

/// Contents that are close to being a boundary.
fn content() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"\r\n--b".to_vec()),
        Just(b"\r\n--".to_vec()),
        Just(b"\r\n".to_vec()),
        Just(b"\r".to_vec()),
        Just(b"-".to_vec()),
        prop::collection::vec(any::<u8>(), 0..40),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_parts_come_through_any_cuts(
        contents in prop::collection::vec(content(), 0..5),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let mut form = Vec::new();
        for (n, content) in contents.iter().enumerate() {
            form.extend(format!("--bound\r\nContent-Disposition: form-data; name=\"{n}\"; filename=\"{n}.mp4\"\r\n\r\n").bytes());
            form.extend(content);
            form.extend(b"\r\n");
        }
        form.extend(b"--bound--");
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(form.len() + 1)).collect();
        at.sort_unstable();
        let mut pieces: Vec<&[u8]> = Vec::new();
        let mut begin = 0;
        for cut in at.into_iter().chain([form.len()]) {
            pieces.push(&form[begin..cut]);
            begin = cut;
        }
        let (parts, end) = read(b"bound", &pieces);
        prop_assert_eq!(end, Ok(true));
        prop_assert_eq!(parts.into_iter().map(|part| part.2).collect::<Vec<_>>(), contents);
    }

    #[test]
    fn nonsense_is_read_alike_whole_and_cut(bytes in prop::collection::vec(prop::sample::select(&b"\r\n-b:; =\"Cc"[..]), 0..200), at in any::<prop::sample::Index>()) {
        let form = [b"--b\r\nContent-Disposition: form-data; name=a\r\n\r\n", &bytes[..]].concat();
        let at = at.index(form.len() + 1);
        prop_assert_eq!(read(b"b", &[&form[..at], &form[at..]]), read(b"b", &[&form]));
    }
}
