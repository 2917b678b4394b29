//! Whole exchanges: pipelining, HTTP/1.0, bodies, HEAD, ranges, the bytes of each answer.

use std::time::Duration;

use super::client::Client;
use super::server::{FILE_LEN, Server, byte_at};

#[test]
fn the_forms_of_a_request() {
    let server = Server::start();
    let mut client = Client::new(server.address);
    for (request, want) in [
        (
            "GET /a%2e%2e/?b HTTP/1.1\r\nHost: h:1\r\n\r\n",
            "GET /a%2e%2e/ b h:1",
        ),
        ("\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", "GET / - h"),
        ("GET /later HTTP/1.2\r\nHost: h\r\n\r\n", "GET /later - h"),
        (
            "GET http://o:80/p HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET /p - o:80",
        ),
        ("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", "OPTIONS * - h"),
        ("DELETE /x HTTP/1.1\r\nhOsT:h\r\n\r\n", "DELETE /x - h"),
        (
            "PATCH /x HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
            "PATCH /x - h",
        ),
    ] {
        assert_eq!(client.send(request).answer().text(), want);
    }
    // Byte by byte is the same request.
    for byte in b"GET /slowly HTTP/1.1\r\nHost: h\r\n\r\n" {
        client.send([*byte]);
    }
    assert_eq!(client.answer().text(), "GET /slowly - h");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = Server::start();
    let mut client = Client::new(server.address);
    let get = |n: usize| format!("GET /{n} HTTP/1.1\r\nHost: h\r\n\r\n");
    let post = "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello";
    let chunked = "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\
                   3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: f\u{fc}r\r\n\r\n";
    let unread = "POST /unread HTTP/1.1\r\nHost: h\r\nContent-Length: 7\r\n\r\nGET /no";
    let all = [&get(1), post, &get(2), chunked, &get(3), unread, &get(4)].concat();
    client.send(&all);
    for want in [
        "GET /1 - h",
        "hello",
        "GET /2 - h",
        "abcde",
        "GET /3 - h",
        "POST /unread - h",
    ] {
        assert_eq!(client.answer().text(), want);
    }
    assert_eq!(client.answer().text(), "GET /4 - h");
    let many: String = (0..500).map(get).collect();
    client.send(many);
    for n in 0..500 {
        assert_eq!(client.answer().text(), format!("GET /{n} - h"));
    }
}

#[test]
fn http_1_0() {
    let server = Server::start();
    let mut client = Client::new(server.address);
    let answer = client.send("GET /x HTTP/1.0\r\n\r\n").answer();
    assert_eq!(
        (answer.text(), answer.header("connection")),
        ("GET /x - -", Some("close"))
    );
    assert!(client.is_closed());
    let mut client = Client::new(server.address);
    for _ in 0..2 {
        let answer = client
            .send("GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            .answer();
        assert_eq!(answer.header("connection"), Some("keep-alive"));
    }
    let answer = client
        .send("GET /chunked HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        .answer();
    assert_eq!(answer.header("transfer-encoding"), None);
    assert_eq!(
        (answer.header("connection"), answer.text()),
        (Some("close"), "xxxxxxxx")
    );
    let mut client = Client::new(server.address);
    let post = "POST /echo HTTP/1.0\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\nhi";
    assert_eq!(client.send(post).answer().text(), "hi");
}

#[test]
fn connection_close_is_kept() {
    let server = Server::start();
    let mut client = Client::new(server.address);
    let answer = client.request("GET /", "Connection: close\r\n").answer();
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(client.is_closed());
    // Pipelined bytes behind it are not answered, and do not cost the answer.
    let mut client = Client::new(server.address);
    let text = "GET /file HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".to_owned()
        + &"GET / HTTP/1.1\r\nHost: h\r\n\r\n".repeat(1000);
    assert_eq!(client.send(text).answer().body.len() as u64, FILE_LEN);
    client.finish();
    assert!(client.is_closed());
}

#[test]
fn answers_without_a_body() {
    let server = Server::start();
    let mut client = Client::new(server.address);
    let none = client.request("GET /none", "").answer();
    assert_eq!((none.status, none.header("content-length")), (204, None));
    assert_eq!(none.header("transfer-encoding"), None);
    let empty = client.request("GET /empty", "").answer();
    assert_eq!(
        (empty.status, empty.header("content-length")),
        (200, Some("0"))
    );
    client.request("HEAD /file", "");
    let head = client.head().unwrap();
    assert_eq!(
        head.header("content-length"),
        Some(FILE_LEN.to_string().as_str())
    );
    assert_eq!(head.header("accept-ranges"), Some("bytes"));
    client.request("HEAD /chunked", "");
    let head = client.head().unwrap();
    assert_eq!(
        (head.status, head.header("transfer-encoding")),
        (200, Some("chunked"))
    );
    client.request("HEAD /other", "");
    assert_eq!(client.head().unwrap().header("content-length"), Some("23"));
    let tag = client.request("GET /file", "Range: bytes=0-0\r\n").answer();
    let tag = tag.header("etag").unwrap().to_owned();
    let same = client
        .request("GET /file", &format!("If-None-Match: {tag}\r\n"))
        .answer();
    assert_eq!((same.status, same.header("content-length")), (304, None));
    assert_eq!(
        (same.header("etag"), same.header("cache-control")),
        (Some(&*tag), Some("no-cache"))
    );
    // Nothing was left over of any of them.
    assert_eq!(
        client.request("GET /end", "").answer().text(),
        "GET /end - localhost"
    );
}

#[test]
fn files_by_range() {
    let server = Server::start();
    let mut client = Client::new(server.address);
    let want = |range: std::ops::Range<u64>| range.map(byte_at).collect::<Vec<u8>>();
    assert!(client.request("GET /file", "").answer().body == want(0..FILE_LEN));
    for (field, range) in [
        ("bytes=0-1", 0..2),
        ("bytes=1000000-", 1_000_000..FILE_LEN),
        ("bytes=-5", FILE_LEN - 5..FILE_LEN),
        ("bytes=5-99999999999999999999", 5..FILE_LEN),
    ] {
        let answer = client
            .request("GET /file", &format!("Range: {field}\r\n"))
            .answer();
        assert_eq!(answer.status, 206);
        let said = format!("bytes {}-{}/{FILE_LEN}", range.start, range.end - 1);
        assert_eq!(answer.header("content-range"), Some(said.as_str()));
        assert!(answer.body == want(range), "{field}");
    }
    let several = client
        .request("GET /file", "Range: bytes=0-9,2000000-2500000,-3\r\n")
        .answer();
    assert_eq!(several.status, 206);
    let boundary = several
        .header("content-type")
        .unwrap()
        .split_once("boundary=")
        .unwrap()
        .1;
    let mut whole = Vec::new();
    for (n, range) in [0..10, 2_000_000..2_500_001, FILE_LEN - 3..FILE_LEN]
        .into_iter()
        .enumerate()
    {
        let before = if n == 0 { "" } else { "\r\n" };
        whole.extend_from_slice(
            format!(
                "{before}--{boundary}\r\nContent-Type: video/mp4\r\nContent-Range: bytes {}-{}/{FILE_LEN}\r\n\r\n",
                range.start,
                range.end - 1
            )
            .as_bytes(),
        );
        whole.extend(want(range));
    }
    whole.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    assert!(several.body == whole);
    let beyond = client
        .request("GET /file", &format!("Range: bytes={FILE_LEN}-\r\n"))
        .answer();
    assert_eq!(beyond.status, 416);
    assert_eq!(
        beyond.header("content-range"),
        Some(format!("bytes */{FILE_LEN}").as_str())
    );
}

#[test]
fn bytes_and_their_twin() {
    let server = Server::start();
    let plain = server.service.bytes.to_vec().unwrap();
    let mut client = Client::new(server.address);
    for _ in 0..3 {
        let answer = client.request("GET /bytes", "").answer();
        assert!(answer.body == plain && answer.header("vary") == Some("Accept-Encoding"));
        let packed = client
            .request("GET /bytes", "Accept-Encoding: gzip\r\n")
            .answer();
        assert_eq!(packed.header("content-encoding"), Some("gzip"));
        assert!(packed.body.len() < plain.len() / 10 && packed.body.starts_with(&[0x1f, 0x8b]));
    }
    let several = client
        .request("GET /bytes", "Range: bytes=0-0,-1\r\n")
        .answer();
    assert_eq!(several.status, 206);
    assert!(several.body.windows(5).any(|five| five == b"\r\n\r\n{"));
}

#[test]
fn expect_is_answered_at_the_first_read() {
    let server = Server::start();
    let mut client = Client::new(server.address);
    let fields = "Content-Length: 5\r\nExpect: 100-continue\r\n";
    client.request("POST /echo", fields);
    assert_eq!(client.head().unwrap().head, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(client.send("hello").answer().text(), "hello");
    client.request(
        "POST /echo",
        "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n",
    );
    assert_eq!(client.head().unwrap().status, 100);
    assert_eq!(client.send("2\r\nhi\r\n0\r\n\r\n").answer().text(), "hi");
    // Who does not read does not ask for the body, and cannot know what comes next.
    let answer = client.request("POST /unread", fields).answer();
    assert_eq!(
        (answer.status, answer.header("connection")),
        (200, Some("close"))
    );
    // A body beyond the route's limit is refused before it is sent.
    let mut client = Client::new(server.address);
    let fields = "Content-Length: 5000000\r\nExpect: 100-continue\r\n";
    assert_eq!(client.request("POST /echo", fields).answer().status, 413);
}

#[test]
fn what_is_left_of_a_body() {
    let server = Server::start();
    let mut client = Client::new(server.address);
    let small = client
        .request("POST /unread", "Content-Length: 60000\r\n")
        .answer();
    assert_eq!((small.status, small.header("connection")), (200, None));
    client.send(vec![b'x'; 60_000]);
    assert_eq!(
        client.request("GET /next", "").answer().text(),
        "GET /next - localhost"
    );
    // More than is drained: the answer arrives, though the client is still sending.
    client
        .request("POST /unread", "Content-Length: 1000000000\r\n")
        .send(vec![b'x'; 8 << 20]);
    let large = client.answer();
    assert_eq!(
        (large.status, large.header("connection")),
        (200, Some("close"))
    );
    let mut client = Client::new(server.address);
    client
        .request("POST /echo", "Content-Length: 2000000\r\n")
        .send(vec![b'x'; 2_000_000]);
    assert_eq!(client.answer().status, 413);
}

#[test]
fn bodies_that_are_broken() {
    let server = Server::start();
    for (fields, body, want) in [
        ("Content-Length: 9", "hello", "UnexpectedEof after 5"),
        (
            "Transfer-Encoding: chunked",
            "5\r\nhello\r\n",
            "UnexpectedEof after 5",
        ),
        (
            "Transfer-Encoding: chunked",
            "5\r\nhelloX",
            "InvalidData after 5",
        ),
        ("Transfer-Encoding: chunked", "g\r\n", "InvalidData after 0"),
        (
            "Transfer-Encoding: chunked",
            "fffffffffffffffff\r\n",
            "InvalidData after 0",
        ),
    ] {
        let mut client = Client::new(server.address);
        client
            .request("POST /count", &format!("{fields}\r\n"))
            .send(body)
            .finish();
        let answer = client.answer();
        assert_eq!(
            (answer.text(), answer.header("connection")),
            (want, Some("close")),
            "{body:?}"
        );
        let mut client = Client::new(server.address);
        client
            .request("POST /echo", &format!("{fields}\r\n"))
            .send(body)
            .finish();
        assert_eq!(client.answer().status, 400);
    }
}

#[test]
fn a_large_body_is_read_in_pieces_of_any_size() {
    let server = Server::start();
    let mut client = Client::new(server.address);
    client.request("POST /count", "Content-Length: 3000000\r\n");
    for _ in 0..3 {
        client.send(vec![b'x'; 1_000_000]);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(client.answer().text(), "3000000");
    let mut chunked = Vec::new();
    for size in [1, 70_000, 8191, 8192, 8193, 3, 200_000] {
        chunked.extend(format!("{size:x}\r\n").bytes());
        chunked.extend(vec![b'y'; size]);
        chunked.extend(b"\r\n");
    }
    chunked.extend(b"0\r\n\r\n");
    client
        .request("POST /count", "Transfer-Encoding: chunked\r\n")
        .send(chunked);
    assert_eq!(client.answer().text(), "294580");
}

#[test]
fn headers_cannot_split_a_head_nor_panic() {
    let server = Server::start();
    let mut client = Client::new(server.address);
    let answer = client
        .request("GET /header", "X-Test: f\u{fc}r\r\n")
        .answer();
    assert_eq!(
        (answer.text(), answer.header("x-split")),
        ("f\u{fc}r", None)
    );
    assert_eq!(
        (answer.header("x-back"), answer.header("x-fine")),
        (None, Some("f\u{fc}r"))
    );
    client.send(b"GET /header HTTP/1.1\r\nHost: h\r\nX-Test: \xff\xfe\r\n\r\n");
    assert_eq!(client.answer().text(), "\u{fffd}\u{fffd}");
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-resource-policy", "same-site"),
    ] {
        assert_eq!(answer.header(name), Some(value));
    }
    assert!(answer.header("date").unwrap().ends_with(" GMT"));
}
