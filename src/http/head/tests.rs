//! Tables of heads that are read and of heads that are refused, and the properties of both.

use super::*;
use proptest::prelude::*;

fn parse(text: &str) -> Result<Head> {
    Head::parse(text.as_bytes())
}

#[test]
fn the_forms_of_a_target() {
    for (line, host, path, query) in [
        ("GET / HTTP/1.1", "h", "/", None),
        ("GET /a%2F..?b?c HTTP/1.1", "h", "/a%2F..", Some("b?c")),
        ("GET //x HTTP/1.1", "h", "//x", None),
        ("GET /? HTTP/1.1", "h", "/", Some("")),
        ("GET http://o:80/p?q HTTP/1.1", "o:80", "/p", Some("q")),
        ("GET HTTP://o HTTP/1.1", "o", "/", None),
        ("GET http://o?q HTTP/1.1", "o", "/", Some("q")),
        ("OPTIONS * HTTP/1.1", "h", "*", None),
    ] {
        let head = parse(&format!("{line}\r\nHost: h\r\n\r\n")).unwrap();
        assert_eq!(
            (head.host(), head.path(), head.query()),
            (Some(host), path, query),
            "{line}"
        );
    }
    let old = parse("GET / HTTP/1.0\r\n\r\n").unwrap();
    assert!(old.is_http_1_0 && !old.keep_alive && old.host().is_none());
    assert!(
        parse("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n")
            .unwrap()
            .keep_alive
    );
    assert!(
        !parse("GET / HTTP/1.1\r\nHost: h\r\nConnection: x, Close\r\n\r\n")
            .unwrap()
            .keep_alive
    );
}

#[test]
fn what_is_refused_and_how() {
    let line = |line: &str| format!("{line}\r\nHost: h\r\n\r\n");
    let field = |field: &str| format!("POST / HTTP/1.1\r\nHost: h\r\n{field}\r\n\r\n");
    let host = |host: &str| format!("GET / HTTP/1.1\r\nHost:{host}\r\n\r\n");
    let mut cases: Vec<(String, Kind)> = Vec::new();
    for text in [
        "GET  / HTTP/1.1",
        "GET /\tHTTP/1.1",
        " GET / HTTP/1.1",
        "GET /",
        "GET / HTTP/1.1 ",
        "GET / http/1.1",
        "GET / HTTP/1",
        "GET / HTTP/11",
        "GET /#f HTTP/1.1",
        "GET /\u{e9} HTTP/1.1",
        "GET /\0 HTTP/1.1",
        "GET x HTTP/1.1",
        "GET * HTTP/1.1",
        "GET ftp://h/ HTTP/1.1",
        "GET http:///x HTTP/1.1",
        "GET http://a@h/ HTTP/1.1",
        "G(T / HTTP/1.1",
        "/ HTTP/1.1",
        "GET /\u{7f} HTTP/1.1",
    ] {
        cases.push((line(text), Kind::BadRequest));
    }
    for text in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5, 5",
        "Content-Length: +5",
        "Content-Length: -5",
        "Content-Length: 0x5",
        "Content-Length:",
        "Content-Length: 18446744073709551616",
        "Content-Length: 5 5",
        "Content-Length : 5",
        "Content-Length\t: 5",
        " Content-Length: 5",
        "X: a\r\n b",
        "X: a\rb",
        "X: a\nb",
        "X: a\0b",
        "X: a\u{8}b",
        ": x",
        "no colon",
        "X\u{e9}: a",
        "Host: h",
        "Host: other",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: ",
        "Transfer-Encoding: chunked,",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: ",
        "X: a\u{7f}",
        "Transfer-Encoding: \r\nTransfer-Encoding: chunked",
    ] {
        cases.push((field(text), Kind::BadRequest));
    }
    for text in [
        "",
        " ",
        " a b",
        " a/b",
        " localhost/api?x=",
        " a@b",
        " a:b",
        " a:65536",
        " a:123456",
        " :80",
        " [::1",
        " [x]",
        " [::1]x",
        " a,b",
        " m\u{fc}sli",
        " a%41",
        " a:8 0",
        " \u{b}h",
    ] {
        cases.push((host(text), Kind::BadRequest));
    }
    cases.push(("GET / HTTP/1.1\r\n\r\n".to_owned(), Kind::BadRequest));
    cases.push((
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
        Kind::BadRequest,
    ));
    cases.push((
        "GET http://o/ HTTP/1.1\r\nHost: a b\r\n\r\n".to_owned(),
        Kind::BadRequest,
    ));
    cases.push(("GET / HTTP/1.1\nHost: h\n\n".to_owned(), Kind::BadRequest));
    for text in [
        "get / HTTP/1.1",
        "CONNECT h:80 HTTP/1.1",
        "TRACE / HTTP/1.1",
        "PROPFIND / HTTP/1.1",
    ] {
        cases.push((line(text), Kind::NotImplemented));
    }
    for text in [
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: identity",
    ] {
        cases.push((field(text), Kind::NotImplemented));
    }
    for text in ["GET / HTTP/2.0", "GET / HTTP/0.9", "PRI * HTTP/2.0"] {
        cases.push((line(text), Kind::Version));
    }
    cases.push((field("Expect: 200-ok"), Kind::ExpectationFailed));
    cases.push((
        field("Expect: 100-continue\r\nExpect: x"),
        Kind::ExpectationFailed,
    ));
    cases.push((field(&"A: b\r\n".repeat(101)), Kind::BadRequest));
    for (text, kind) in cases {
        match parse(&text) {
            Ok(_) => panic!("{text:?} was read"),
            Err(error) if text.contains("A: b\r\nA: b") => {
                assert!(matches!(
                    error.kind(),
                    Kind::HeadTooLarge | Kind::BadRequest
                ));
            }
            Err(error) => assert_eq!(error.kind(), kind, "{text:?}"),
        }
    }
}

#[test]
fn fields_and_framing() {
    let mut head = parse(
        "PUT /x HTTP/1.1\r\nHost: [::1]:8080\r\nX-A:\t v w \r\nAccept: a\r\naccept: b\r\nRange: x\r\nRange: y\r\n\
         Cookie: a=1\r\nCookie: b=2\r\nContent-Length: 007\r\nExpect: 100-Continue\r\n\r\n",
    )
    .unwrap();
    head.join_lists();
    assert_eq!(head.host(), Some("[::1]:8080"));
    assert_eq!(head.field("x-a"), Some("v w"));
    assert_eq!(head.field("accept"), Some("a, b"));
    assert_eq!(head.field("cookie"), Some("a=1; b=2"));
    assert_eq!(head.field("range"), None);
    assert_eq!(head.field("absent"), None);
    assert_eq!(head.framing, Framing::Sized(7));
    assert!(head.expects_continue && head.keep_alive);
    let chunked =
        parse("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n").unwrap();
    assert_eq!(chunked.framing, Framing::Chunked);
    let latin = Head::parse(b"GET / HTTP/1.1\r\nHost: h\r\nX: \xe9\r\n\r\n").unwrap();
    assert_eq!(latin.field("x"), Some("\u{fffd}"));
}

#[test]
fn the_bounds() {
    let line = |n: usize| format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(n));
    assert!(parse(&line(LINE_LIMIT - 100)).is_ok());
    assert_eq!(
        parse(&line(LINE_LIMIT)).unwrap_err().kind(),
        Kind::TargetTooLong
    );
    assert_eq!(
        progress(line(9000).as_bytes(), 0).unwrap_err().kind(),
        Kind::TargetTooLong
    );
    let large = format!(
        "GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n",
        "a".repeat(HEAD_LIMIT)
    );
    assert_eq!(
        progress(large.as_bytes(), 0).unwrap_err().kind(),
        Kind::HeadTooLarge
    );
    assert_eq!(parse(&large).unwrap_err().kind(), Kind::HeadTooLarge);
    // A head whose bytes all grow threefold still fits the spans.
    let mut bytes = b"GET / HTTP/1.1\r\nHost: h\r\nAccept: ".to_vec();
    bytes.extend([0xff; 3900]);
    bytes.extend(b"\r\nAccept: ");
    bytes.extend([0xff; 3900]);
    bytes.extend(b"\r\n\r\n");
    let mut head = Head::parse(&bytes).unwrap();
    head.join_lists();
    assert_eq!(
        head.field("accept").map(|value| value.chars().count()),
        Some(7802)
    );
}

/// Feeds bytes in pieces, as a connection does, and says what comes of it.
fn fed(bytes: &[u8], cuts: &[usize]) -> Option<Result<(Head, usize), Kind>> {
    let mut searched = 0;
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    ends.push(bytes.len());
    ends.sort_unstable();
    for end in ends {
        match progress(&bytes[..end], searched) {
            Err(error) => return Some(Err(error.kind())),
            Ok(Progress::Partial) => searched = end,
            Ok(Progress::Whole(at)) => {
                return Some(
                    Head::parse(&bytes[..at])
                        .map(|head| (head, at))
                        .map_err(|error| error.kind()),
                );
            }
        }
    }
    None
}

fn near_heads() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(&b"GET / HTTP/1.1\r\n"[..]),
        Just(&b"POST http://h/a?b HTTP/1.1\r\n"[..]),
        Just(&b"OPTIONS * HTTP/1.0\r\n"[..]),
        Just(&b"Host: h\r\n"[..]),
        Just(&b"Content-Length: 5\r\n"[..]),
        Just(&b"Transfer-Encoding: chunked\r\n"[..]),
        Just(&b"Accept: \xff\xfe\r\n"[..]),
        Just(&b"Cookie: x\r\n"[..]),
        Just(&b"\r\n"[..]),
        Just(&b"\n"[..]),
        Just(&b"\r"[..]),
        Just(&b": "[..]),
        Just(&b"\0"[..]),
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = progress(&bytes, 0);
        let _ = Head::parse(&bytes);
    }

    #[test]
    fn it_does_not_matter_how_bytes_are_split(
        bytes in near_heads(),
        cuts in proptest::collection::vec(any::<usize>(), 0..20),
    ) {
        prop_assert_eq!(fed(&bytes, &cuts), fed(&bytes, &[]));
    }

    #[test]
    fn what_is_read_holds_no_control_character(bytes in near_heads()) {
        if let Ok(mut head) = Head::parse(&bytes) {
            head.join_lists();
            prop_assert!(!head.text.bytes().any(is_control));
            prop_assert!(head.path().starts_with('/') || head.path() == "*");
        }
    }
}
