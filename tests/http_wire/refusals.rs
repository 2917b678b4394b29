//! Every request gets an answer: what is malformed, smuggled, too large or not served is refused and closed.

use super::client::Client;
use super::server::Server;

/// Sends bytes, and expects one refusal and the end of the connection.
fn refused(server: &Server, bytes: &[u8], status: u16, code: &str) {
    let mut client = Client::new(server.address);
    client.send(bytes);
    let answer = client.answer();
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(120)]);
    assert_eq!(answer.status, status, "{shown:?}: {answer:?}");
    assert_eq!(
        answer.text(),
        format!("{{\"error\":\"{code}\"}}"),
        "{shown:?}"
    );
    assert_eq!(answer.header("connection"), Some("close"), "{shown:?}");
    assert!(answer.header("date").is_some() && answer.header("x-content-type-options").is_some());
    client.finish();
    assert!(client.is_closed(), "{shown:?}");
}

#[test]
fn smuggling_is_closed() {
    let server = Server::start();
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5, 5",
        "Content-Length: +5",
        "Content-Length: -1",
        "Content-Length: 99999999999999999999",
        "Content-Length : 5",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: chunked, chunked",
        "X: a\rContent-Length: 5",
        "X: a\0b",
        "X: a\r\n folded",
        "\tX: a",
        "Host: other",
        "X: a\nContent-Length: 5",
        ": empty",
        "no colon",
        "X y: z",
    ] {
        let text = format!("POST /echo HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n\r\n0\r\n\r\n");
        refused(&server, text.as_bytes(), 400, "malformed_request");
    }
    let text = "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n";
    refused(&server, text.as_bytes(), 501, "not_implemented");
    let text = "POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    refused(&server, text.as_bytes(), 400, "malformed_request");
}

#[test]
fn what_is_malformed_or_not_served() {
    let server = Server::start();
    for (text, status, code) in [
        ("GET / HTTP/1.1\r\n\r\n", 400, "malformed_request"),
        (
            "GET / HTTP/1.1\r\nHost: localhost/api/refresh?x=\r\n\r\n",
            400,
            "malformed_request",
        ),
        ("GET / HTTP/1.1\nHost: h\n\n", 400, "malformed_request"),
        (
            "GET /a b HTTP/1.1\r\nHost: h\r\n\r\n",
            400,
            "malformed_request",
        ),
        (
            "GET /#a HTTP/1.1\r\nHost: h\r\n\r\n",
            400,
            "malformed_request",
        ),
        ("GET\r\n\r\n", 400, "malformed_request"),
        ("\u{16}\u{3}\u{1}\u{2}", 400, "malformed_request"),
        ("get / HTTP/1.1\r\nHost: h\r\n\r\n", 501, "not_implemented"),
        (
            "CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n",
            501,
            "not_implemented",
        ),
        (
            "TRACE / HTTP/1.1\r\nHost: h\r\n\r\n",
            501,
            "not_implemented",
        ),
        (
            "PROPFIND / HTTP/1.1\r\nHost: h\r\n\r\n",
            501,
            "not_implemented",
        ),
        ("GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505, "http_version"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "http_version"),
        (
            "GET / HTTP/1.1\r\nHost: h\r\nExpect: tea\r\n\r\n",
            417,
            "expectation_failed",
        ),
    ] {
        refused(&server, text.as_bytes(), status, code);
    }
    // A head that the client breaks off.
    let mut client = Client::new(server.address);
    assert_eq!(
        client.send("GET / HTTP/1.1\r\nHo").finish().answer().status,
        400
    );
}

#[test]
fn what_is_too_large() {
    let server = Server::start();
    let long = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(10_000));
    refused(&server, long.as_bytes(), 414, "target_too_long");
    let large = format!(
        "GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n",
        "a".repeat(10_000)
    );
    refused(&server, large.as_bytes(), 431, "head_too_large");
    // Without a line end, and far more than is read: the answer still arrives.
    let mut client = Client::new(server.address);
    let answer = client.send(vec![b'a'; 4 << 20]).answer();
    assert_eq!(answer.status, 414);
    let many = format!(
        "GET / HTTP/1.1\r\nHost: h\r\n{}\r\n",
        "A: b\r\n".repeat(101)
    );
    refused(&server, many.as_bytes(), 431, "head_too_large");
}

#[test]
fn a_refused_head_request_has_no_body() {
    let server = Server::start();
    let mut client = Client::new(server.address);
    client.send("HEAD / HTTP/1.1\r\nHost: a b\r\n\r\n").finish();
    assert_eq!(client.head().unwrap().status, 400);
    assert!(client.is_closed());
}

#[test]
fn a_panic_ends_one_request_alone() {
    let server = Server::start();
    let mut other = Client::new(server.address);
    other.request("GET /slow", "");
    let mut client = Client::new(server.address);
    let answer = client.request("GET /panic", "").answer();
    assert_eq!(
        (answer.status, answer.text()),
        (500, "{\"error\":\"internal\"}")
    );
    assert_eq!(other.answer().text(), "slow");
    assert_eq!(
        Client::new(server.address)
            .request("GET /", "")
            .answer()
            .status,
        200
    );
}
