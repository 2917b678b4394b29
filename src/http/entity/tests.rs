//! What an entity answers, without a socket.

use super::*;

const NOW: u64 = 1_700_000_000;

struct Counting;

impl RangeSource for Counting {
    fn open(&self, range: Range<u64>) -> Boxed<Result<Box<dyn ByteStream>>> {
        struct Numbers(Range<u64>);
        impl ByteStream for Numbers {
            fn next(&mut self) -> Boxed<io::Result<Option<Chunk>>> {
                let piece: Vec<u8> = self.0.by_ref().take(7).map(|n| n as u8).collect();
                let piece = (!piece.is_empty()).then(|| Box::new(piece) as Chunk);
                Box::pin(async move { Ok(piece) })
            }
        }
        Box::pin(async move { Ok(Box::new(Numbers(range)) as Box<dyn ByteStream>) })
    }
}

fn remote(len: u64) -> Entity {
    let modified = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(NOW - 100);
    Entity::remote(
        Arc::new(Counting),
        len,
        ETag::strong("r"),
        Some(modified),
        "video/mp4",
    )
    .header("cache-control", "no-cache")
    .header("content-disposition", "inline")
}

fn answer(entity: Entity, method: Method, headers: &[(&str, &str)]) -> Response {
    let request = Request::for_test(method, "/", headers);
    smol::block_on(entity.respond_at(&request, NOW)).unwrap()
}

fn body(response: Response) -> Vec<u8> {
    match response.body {
        Body::Empty => Vec::new(),
        Body::Text(text) => text,
        Body::Shared(bytes, gzip, range) => bytes.form(gzip).read(range).unwrap(),
        Body::Stream(mut stream, len) => smol::block_on(async {
            let mut all = Vec::new();
            while let Some(chunk) = stream.next().await.unwrap() {
                all.extend_from_slice((*chunk).as_ref());
            }
            assert_eq!(len, Some(all.len() as u64));
            all
        }),
        other => panic!("{other:?}"),
    }
}

fn numbers(range: Range<u64>) -> Vec<u8> {
    range.map(|n| n as u8).collect()
}

#[test]
fn whole_partial_and_head() {
    let whole = answer(remote(500), Method::Get, &[]);
    assert_eq!(whole.status() as u16, 200);
    for (name, value) in [
        ("etag", "\"r\""),
        ("accept-ranges", "bytes"),
        ("content-type", "video/mp4"),
        ("cache-control", "no-cache"),
        ("content-disposition", "inline"),
        ("last-modified", "Tue, 14 Nov 2023 22:11:40 GMT"),
    ] {
        assert_eq!(whole.get(name), Some(value));
    }
    assert_eq!(body(whole), numbers(0..500));
    let part = answer(remote(500), Method::Get, &[("range", "bytes=0-1")]);
    assert_eq!(
        (part.status() as u16, part.get("content-range")),
        (206, Some("bytes 0-1/500"))
    );
    assert_eq!(
        (part.get("etag"), part.get("content-type")),
        (Some("\"r\""), Some("video/mp4"))
    );
    assert_eq!(body(part), numbers(0..2));
    let head = answer(remote(500), Method::Head, &[("range", "bytes=0-1")]);
    assert_eq!(
        (head.status() as u16, head.length, head.body.len()),
        (200, Some(500), Some(0))
    );
    assert_eq!(head.get("accept-ranges"), Some("bytes"));
    let none = answer(remote(500), Method::Get, &[("range", "bytes=500-")]);
    assert_eq!(
        (none.status() as u16, none.get("content-range")),
        (416, Some("bytes */500"))
    );
    assert_eq!(answer(remote(0), Method::Get, &[]).body.len(), Some(0));
    assert_eq!(
        answer(remote(0), Method::Get, &[("range", "bytes=0-")]).status() as u16,
        416
    );
}

#[test]
fn several_ranges_are_framed_and_counted() {
    let response = answer(remote(500), Method::Get, &[("range", "bytes=0-9,-1")]);
    assert_eq!(response.status() as u16, 206);
    assert_eq!(response.get("content-range"), None);
    let kind = response.get("content-type").unwrap().to_owned();
    let boundary = kind
        .strip_prefix("multipart/byteranges; boundary=")
        .unwrap()
        .to_owned();
    let part = |range: Range<u64>| {
        let head = format!(
            "--{boundary}\r\nContent-Type: video/mp4\r\nContent-Range: bytes {}-{}/500\r\n\r\n",
            range.start,
            range.end - 1
        );
        [head.into_bytes(), numbers(range)].concat()
    };
    let want = [
        part(0..10),
        b"\r\n".to_vec(),
        part(499..500),
        format!("\r\n--{boundary}--\r\n").into_bytes(),
    ];
    assert_eq!(body(response), want.concat());
    let other = answer(remote(500), Method::Get, &[("range", "bytes=0-9,-1")]);
    assert_ne!(other.get("content-type"), Some(kind.as_str()));
}

#[test]
fn conditions() {
    for (headers, status) in [
        (&[("if-none-match", "\"r\"")][..], 304),
        (&[("if-none-match", "W/\"r\""), ("range", "bytes=0-1")], 304),
        (
            &[("if-modified-since", "Tue, 14 Nov 2023 22:11:40 GMT")],
            304,
        ),
        (&[("if-match", "\"x\"")], 412),
        (&[("if-range", "\"r\""), ("range", "bytes=0-1")], 206),
        (&[("if-range", "W/\"r\""), ("range", "bytes=0-1")], 200),
        (
            &[
                ("if-range", "Tue, 14 Nov 2023 22:11:40 GMT"),
                ("range", "bytes=0-1"),
            ],
            206,
        ),
        (
            &[
                ("if-range", "Tue, 14 Nov 2023 22:11:39 GMT"),
                ("range", "bytes=0-1"),
            ],
            200,
        ),
        (
            &[
                ("if-range", "Tue, 14 Nov 2023 22:11:41 GMT"),
                ("range", "bytes=0-1"),
            ],
            200,
        ),
        (&[("if-range", "\"x\""), ("range", "bytes=900-")], 200),
    ] {
        assert_eq!(
            answer(remote(500), Method::Get, headers).status() as u16,
            status,
            "{headers:?}"
        );
    }
    let kept = answer(remote(500), Method::Get, &[("if-none-match", "*")]);
    assert_eq!(
        (kept.get("etag"), kept.get("cache-control")),
        (Some("\"r\""), Some("no-cache"))
    );
    assert_eq!(
        (
            kept.get("last-modified").is_some(),
            kept.get("content-disposition")
        ),
        (true, None)
    );
    // A file of the future is said to be of now.
    let future = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(NOW + 1000);
    let entity = Entity::remote(
        Arc::new(Counting),
        5,
        ETag::strong("f"),
        Some(future),
        "a/b",
    );
    assert_eq!(
        answer(entity, Method::Get, &[]).get("last-modified"),
        Some(date::format(NOW).as_str())
    );
}

#[test]
fn the_gzip_twin_has_a_tag_of_its_own() {
    let plain = b"abc".repeat(1000);
    let bytes = Arc::new(Bytes::new(plain.clone()));
    let entity = || Entity::bytes(bytes.clone(), "application/json");
    let packed = answer(entity(), Method::Get, &[("accept-encoding", "br, gzip")]);
    assert_eq!(
        (packed.get("content-encoding"), packed.get("vary")),
        (Some("gzip"), Some("Accept-Encoding"))
    );
    let tag = packed.get("etag").unwrap().to_owned();
    assert!(tag.ends_with("-gz\"") && body(packed).len() < 200);
    let identity = answer(entity(), Method::Get, &[("accept-encoding", "gzip;q=0")]);
    assert_eq!(
        (identity.get("content-encoding"), identity.get("vary")),
        (None, Some("Accept-Encoding"))
    );
    assert_eq!(body(identity), plain);
    let part = answer(
        entity(),
        Method::Get,
        &[("accept-encoding", "gzip"), ("range", "bytes=0-2")],
    );
    assert_eq!(
        (part.status() as u16, part.get("content-encoding")),
        (206, None)
    );
    assert_eq!(body(part), b"abc");
    for (accept, status) in [("gzip", 304), ("identity", 200)] {
        let headers = [("accept-encoding", accept), ("if-none-match", tag.as_str())];
        let answered = answer(entity(), Method::Get, &headers);
        assert_eq!(
            (answered.status() as u16, answered.get("vary").is_some()),
            (status, true)
        );
    }
    let head = answer(entity(), Method::Head, &[("accept-encoding", "gzip")]);
    assert_eq!(head.length, bytes.gzip().map(|gzip| gzip.len()));
    let small = Arc::new(Bytes::new(b"x".to_vec()));
    assert_eq!(
        answer(
            Entity::bytes(small, "a/b"),
            Method::Get,
            &[("accept-encoding", "*")]
        )
        .get("vary"),
        None
    );
}

#[test]
fn the_tag_of_a_file_follows_its_content() {
    use std::io::Write;
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"one").unwrap();
    let tag = |file: &File| {
        let entity = Entity::file(Arc::new(file.try_clone().unwrap()), "a/b").unwrap();
        answer(entity, Method::Get, &[])
            .get("etag")
            .unwrap()
            .to_owned()
    };
    let before = tag(&file);
    assert_eq!(before, tag(&file));
    file.write_all(b"two").unwrap();
    assert_ne!(before, tag(&file));
}
