//! The fake Drive itself: a double that is wrong would let wrong code pass.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::support::drive::{
    Action, CA, EMAIL, FakeDrive, File, Kind, pattern_byte, pattern_fill, pattern_mismatch,
};

type Answer = ureq::http::Response<ureq::Body>;

fn agent() -> ureq::Agent {
    let certificate = ureq::tls::Certificate::from_pem(CA.as_bytes()).expect("the CA is PEM");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ureq::tls::TlsConfig::builder()
        .root_certs(ureq::tls::RootCerts::new_with_certs(&[
            certificate.to_owned()
        ]))
        .unversioned_rustls_crypto_provider(provider)
        .build();
    let config = ureq::Agent::config_builder()
        .tls_config(tls)
        .http_status_as_error(false);
    config.max_redirects(0).build().into()
}

fn media(fake: &FakeDrive, agent: &ureq::Agent, id: &str, range: &str) -> Answer {
    let url = format!("{}/drive/v3/files/{id}?alt=media", fake.endpoint());
    let request = agent
        .get(url)
        .header("Authorization", format!("Bearer {}", fake.token()));
    request.header("Range", range).call().expect("an answer")
}

/// Signs `claims` with the account's key and asks for a token.
fn grant(fake: &FakeDrive, credentials: &str, change: impl FnOnce(&mut Value)) -> (u16, Value) {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("it is after 1970")
        .as_secs();
    let mut claims = json!({
        "iss": EMAIL,
        "scope": "https://www.googleapis.com/auth/drive.readonly",
        "aud": format!("{}/token", fake.endpoint()),
        "iat": now - 10,
        "exp": now + 3590,
    });
    change(&mut claims);
    let credentials: Value = serde_json::from_str(credentials).expect("credentials are JSON");
    let pem = credentials["private_key"].as_str().expect("a key");
    let key: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let key = base64::engine::general_purpose::STANDARD
        .decode(key)
        .expect("PEM is base64");
    let key = ring::signature::RsaKeyPair::from_pkcs8(&key).expect("a PKCS#8 key");
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!(
        "{}.{}",
        part(&json!({"alg": "RS256", "typ": "JWT"})),
        part(&claims)
    );
    let mut signature = vec![0; key.public().modulus_len()];
    let random = ring::rand::SystemRandom::new();
    key.sign(
        &ring::signature::RSA_PKCS1_SHA256,
        &random,
        signed.as_bytes(),
        &mut signature,
    )
    .expect("a signature");
    let assertion = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
    let form = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
        ("assertion", &assertion),
    ];
    let url = format!("{}/token", fake.endpoint());
    let mut answer = agent().post(url).send_form(form).expect("an answer");
    let text = answer.body_mut().read_to_string().expect("a body");
    (
        answer.status().as_u16(),
        serde_json::from_str(&text).expect("JSON"),
    )
}

#[test]
fn a_pattern_is_a_function_of_its_offset() {
    let mut whole = vec![0; 4096];
    pattern_fill(0, &mut whole);
    for (offset, byte) in whole.iter().enumerate() {
        assert_eq!(*byte, pattern_byte(offset as u64));
    }
    for (offset, len) in [(1, 1), (3, 2), (5, 100), (8, 8), (4000, 96), (7, 0)] {
        let mut part = vec![0; len];
        pattern_fill(offset as u64, &mut part);
        assert_eq!(part, whole[offset..offset + len]);
        assert_eq!(pattern_mismatch(offset as u64, &part), None);
    }
    whole[2049] ^= 1;
    assert_eq!(pattern_mismatch(0, &whole), Some(2049));
}

#[test]
fn only_a_true_assertion_earns_a_token() {
    let fake = FakeDrive::start();
    let account = fake.service_account();
    let (status, answer) = grant(&fake, &account, |_| {});
    assert_eq!(
        (status, answer["expires_in"].as_u64()),
        (200, Some(3599)),
        "{answer}"
    );
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("it is after 1970")
        .as_secs();
    let refused = |change: &dyn Fn(&mut Value)| grant(&fake, &account, change).1["error"].clone();
    assert_eq!(
        refused(&|claims| claims["aud"] = json!("https://elsewhere/token")),
        "invalid_grant"
    );
    assert_eq!(
        refused(&|claims| claims["iss"] = json!("nobody@example.com")),
        "invalid_grant"
    );
    assert_eq!(
        refused(&|claims| claims["scope"] = json!("")),
        "invalid_scope"
    );
    assert_eq!(
        refused(&|claims| claims["exp"] = json!(now - 1)),
        "invalid_grant"
    );
    assert_eq!(
        refused(&|claims| claims["exp"] = json!(now + 7200)),
        "invalid_grant"
    );
    assert_eq!(
        refused(&|claims| claims["iat"] = json!(now + 400)),
        "invalid_grant"
    );
    // A scope that is not Drive's gives an identity and nothing to call with.
    let (status, answer) = grant(&fake, &account, |claims| claims["scope"] = json!("email"));
    assert_eq!((status, answer.get("access_token")), (200, None));
    let (status, answer) = grant(&fake, &fake.stranger_account(), |_| {});
    assert_eq!((status, &answer["error"]), (400, &json!("invalid_grant")));
    // The fake's own clock decides, and its answers tell the time.
    fake.set_clock_offset(86_400);
    assert_eq!(grant(&fake, &account, |_| {}).1["error"], "invalid_grant");
}

#[test]
fn ranges_are_answered_as_drive_does() {
    let fake = FakeDrive::start();
    fake.add(File::pattern("pattern-0001", 1000))
        .add(File::pattern("empty-000001", 0));
    let agent = agent();
    let mut part = media(&fake, &agent, "pattern-0001", "bytes=10-19");
    assert_eq!(part.status(), 206);
    assert_eq!(part.headers()["content-range"], "bytes 10-19/1000");
    assert!(part.headers().get("etag").is_none() && part.headers().get("accept-ranges").is_none());
    let body = part.body_mut().read_to_vec().expect("a body");
    assert_eq!((body.len(), pattern_mismatch(10, &body)), (10, None));
    assert_eq!(
        media(&fake, &agent, "pattern-0001", "bytes=0-1,5-6").status(),
        200
    );
    let beyond = media(&fake, &agent, "pattern-0001", "bytes=1000-");
    assert_eq!(
        (beyond.status().as_u16(), &beyond.headers()["content-range"]),
        (416, &"bytes */1000".parse().expect("a value"))
    );
    assert_eq!(
        media(&fake, &agent, "empty-000001", "bytes=0-").status(),
        416
    );
    fake.on(Kind::Media).once().does(Action::IgnoreRange);
    assert_eq!(
        media(&fake, &agent, "pattern-0001", "bytes=1-2").status(),
        200
    );
    fake.on(Kind::Media).once().does(Action::Longer(5));
    assert_eq!(
        media(&fake, &agent, "pattern-0001", "bytes=1-2").headers()["content-length"],
        "7"
    );
}

#[test]
fn faults_wait_in_line_and_are_seen_on_record() {
    let fake = FakeDrive::start();
    fake.add(File::pattern("pattern-0001", 1 << 20));
    let agent = agent();
    fake.on(Kind::Media).once().does(Action::Cut(1000));
    fake.on(Kind::Media).once().does(Action::Cut(2000));
    fake.on(Kind::Media)
        .skip(2)
        .once()
        .refuses(503, "backendError");
    for wanted in [1000, 2000] {
        let mut answer = media(&fake, &agent, "pattern-0001", "bytes=0-");
        assert!(
            answer.body_mut().read_to_vec().is_err(),
            "the body breaks off"
        );
        assert_eq!(
            fake.requests().last().map(|request| request.sent),
            Some(wanted)
        );
    }
    assert_eq!(
        media(&fake, &agent, "pattern-0001", "bytes=0-").status(),
        503
    );
    let mut answer = media(&fake, &agent, "pattern-0001", "bytes=0-");
    assert_eq!(
        answer.body_mut().read_to_vec().map(|body| body.len()).ok(),
        Some(1 << 20)
    );
    assert!(fake.wait_until(Duration::from_secs(1), |fake| fake.open_transfers() == 0));
    assert_eq!(fake.bytes_sent(), 3000 + (1 << 20));
    assert_eq!(fake.rules_left(), 0);
}

#[test]
fn a_stalled_transfer_ends_when_its_reader_leaves() {
    let fake = FakeDrive::start();
    fake.add(File::pattern("pattern-0001", 1 << 20));
    fake.on(Kind::Media).does(Action::Stall(5000));
    let agent = agent();
    let answer = media(&fake, &agent, "pattern-0001", "bytes=0-");
    assert!(fake.wait_until(Duration::from_secs(2), |fake| fake.bytes_sent() == 5000));
    assert_eq!(fake.open_transfers(), 1);
    let left = Instant::now();
    drop((answer, agent));
    assert!(fake.wait_until(Duration::from_secs(2), |fake| fake.open_transfers() == 0));
    assert!(left.elapsed() < Duration::from_secs(1));
}

#[test]
fn it_goes_away_and_comes_back_on_the_same_port() {
    let fake = FakeDrive::start();
    fake.add(File::pattern("pattern-0001", 10));
    assert_eq!(
        media(&fake, &agent(), "pattern-0001", "bytes=0-").status(),
        206
    );
    fake.refuse_connections();
    assert!(std::net::TcpStream::connect(("127.0.0.1", fake.port())).is_err());
    fake.accept_connections();
    assert_eq!(
        media(&fake, &agent(), "pattern-0001", "bytes=0-").status(),
        206
    );
}

#[test]
fn lists_speak_the_query_language() {
    let fake = FakeDrive::start();
    fake.add(File::folder("folder-00001", "Folder"));
    for (id, name) in [
        ("file-000001", "it's.mp4"),
        ("file-000002", "A.mp4"),
        ("file-000003", "a.MP4"),
    ] {
        fake.add(File::bytes(id, name, "video/mp4", "x").within("folder-00001"));
    }
    fake.change("file-000003", |file| file.trashed = true);
    let agent = agent();
    let list = |query: &str, more: &str| -> Value {
        let query: String =
            percent_encoding::utf8_percent_encode(query, percent_encoding::NON_ALPHANUMERIC)
                .to_string();
        let url = format!("{}/drive/v3/files?q={query}{more}", fake.endpoint());
        let request = agent
            .get(url)
            .header("Authorization", format!("Bearer {}", fake.token()));
        let mut answer = request.call().expect("an answer");
        let text = answer.body_mut().read_to_string().expect("a body");
        serde_json::from_str(&text).expect("JSON")
    };
    let names = |value: &Value| -> Vec<String> {
        let files = value["files"].as_array().cloned().unwrap_or_default();
        files
            .iter()
            .filter_map(|file| Some(file["name"].as_str()?.to_owned()))
            .collect()
    };
    let all = list("'folder-00001' in parents and trashed = false", "");
    assert_eq!(names(&all), ["it's.mp4", "A.mp4"]);
    assert_eq!(
        all["files"][0].get("size"),
        None,
        "only what is asked for is told"
    );
    let sized = list(
        "name = 'it\\'s.mp4'",
        "&fields=files(size,name),nextPageToken",
    );
    assert_eq!(sized, json!({"files": [{"name": "it's.mp4", "size": "1"}]}));
    assert_eq!(names(&list("name = 'a.mp4'", "")), ["A.mp4", "a.MP4"]);
    assert_eq!(
        list("'unknown-id-1' in parents", "")["error"]["message"],
        "File not found: ."
    );
    assert_eq!(list("name = ", "")["error"]["code"], 400);
    // A page may be empty and still not be the last.
    fake.on(Kind::List).once().does(Action::PageOf(0));
    let first = list("trashed = false", "");
    assert_eq!(names(&first), [""; 0]);
    let token = first["nextPageToken"].as_str().expect("a token");
    assert_eq!(
        names(&list("trashed = false", &format!("&pageToken={token}"))).len(),
        3
    );
}
