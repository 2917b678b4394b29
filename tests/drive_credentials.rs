//! Who rill is to Google: keys, tokens, clocks, and what happens when they are wrong.

use std::time::Duration;

use crate::support::client::Response;
use crate::support::daemon::{Daemon, Setup, eventually};
use crate::support::drive::{
    Action, EMAIL, FakeDrive, File, Kind, REFRESH_TOKEN, pattern_mismatch,
};

const ID: &str = "pattern-file-0001";
const TARGET: &str = "/drive/files/pattern-file-0001";

fn fake_with_file() -> FakeDrive {
    let fake = FakeDrive::start();
    fake.add(File::pattern(ID, 1 << 20));
    fake
}

#[track_caller]
fn assert_plays(daemon: &Daemon) {
    let response = daemon.get_range(TARGET, "bytes=100-299");
    assert_eq!(response.status(), 206, "{}", response.text());
    assert_eq!(
        (response.body.len(), pattern_mismatch(100, &response.body)),
        (200, None)
    );
}

#[track_caller]
fn assert_refused(response: &Response, status: u16, code: &str) {
    assert_eq!(
        (response.status(), &*response.code()),
        (status, code),
        "{}",
        response.text()
    );
    let detail = response.json()["detail"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert!(
        detail.ends_with(['.', '!', '?']) && detail.len() > 20,
        "{detail:?} is a sentence"
    );
}

#[test]
fn a_service_account_plays() {
    let fake = fake_with_file();
    let daemon = Daemon::with_drive(&fake);
    let health = daemon.health();
    assert_eq!(health["drive"]["account"], EMAIL, "{health}");
    assert_plays(&daemon);
    assert_eq!(daemon.health()["drive"]["available"], true);
}

#[test]
fn an_authorized_user_plays() {
    let fake = fake_with_file();
    let daemon = Setup::new()
        .drive_as(&fake, &fake.authorized_user())
        .start();
    assert_plays(&daemon);
    fake.expire_tokens();
    assert_plays(&daemon);
    assert_eq!(fake.requests_of(Kind::Token).len(), 2);
}

#[test]
fn the_older_variables_name_the_account_too() {
    let fake = fake_with_file();
    let other = fake_with_file();
    let setup = || {
        // What the file says is overruled.
        Setup::new().drive_as(&fake, &other.stranger_account())
    };
    let inline = setup()
        .env("GOOGLE_SERVICE_ACCOUNT_JSON", &fake.service_account())
        .start();
    assert_plays(&inline);
    let setup = setup();
    let path = setup.path().join("account.json");
    std::fs::write(&path, fake.service_account()).expect("a file in the temp folder");
    let daemon = setup
        .env("GOOGLE_SERVICE_ACCOUNT_FILE", &path.to_string_lossy())
        .start();
    assert_plays(&daemon);
}

#[test]
fn a_key_that_is_not_the_accounts_is_said_so() {
    let fake = fake_with_file();
    let daemon = Setup::new()
        .drive_as(&fake, &fake.stranger_account())
        .start();
    assert_refused(&daemon.get(TARGET), 503, "drive_credentials");
    let health = daemon.health();
    assert_eq!(
        (&health["drive"]["available"], &health["drive"]["error"]),
        (&false.into(), &"drive_credentials".into()),
        "{health}"
    );
    // Signed again once, in case the clock was to blame; not hammered.
    let tries = fake.requests_of(Kind::Token).len();
    assert!(tries <= 2, "{tries} tries");
}

#[test]
fn a_revoked_refresh_token_is_said_so() {
    let fake = fake_with_file();
    let daemon = Setup::new()
        .drive_as(&fake, &fake.authorized_user())
        .start();
    fake.revoke_refresh_token(true);
    assert_refused(&daemon.get(TARGET), 503, "drive_credentials");
    fake.revoke_refresh_token(false);
    let plays = || daemon.get_range(TARGET, "bytes=0-9").status() == 206;
    assert!(
        eventually(Duration::from_secs(10), plays),
        "it recovers by itself"
    );
}

#[test]
fn a_wrong_clock_is_put_right_by_the_servers_date() {
    // A Pi without a clock boots in the past, now and then in the future.
    for seconds in [400 * 86_400, -7200, -400 * 86_400, 200] {
        let fake = fake_with_file();
        fake.set_clock_offset(seconds);
        let daemon = Daemon::with_drive(&fake);
        assert_plays(&daemon);
        assert!(
            fake.requests_of(Kind::Token).len() <= 2,
            "signed again at most once"
        );
        // The next token is signed right at once.
        fake.expire_tokens();
        assert_plays(&daemon);
        assert!(
            fake.requests_of(Kind::Token).len() <= 3,
            "the correction is kept"
        );
    }
}

#[test]
fn an_expired_token_is_replaced_unseen_and_once() {
    let fake = fake_with_file();
    let daemon = Daemon::with_drive(&fake);
    assert_plays(&daemon);
    fake.expire_tokens();
    fake.on(Kind::Token)
        .does(Action::Latency(Duration::from_millis(200)));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_plays(&daemon));
        }
    });
    let made = fake.requests_of(Kind::Token).len();
    assert!(made <= 3, "{made} tokens for one expiry");
}

#[test]
fn a_token_is_replaced_before_it_expires() {
    let fake = fake_with_file();
    fake.set_token_lifetime(Duration::from_secs(4));
    let daemon = Daemon::with_drive(&fake);
    for _ in 0..10 {
        assert_plays(&daemon);
        std::thread::sleep(Duration::from_millis(500));
    }
    let refused = fake
        .requests()
        .iter()
        .filter(|request| request.status == 401)
        .count();
    assert!(
        refused <= 1,
        "{refused} requests went out with a token that was over"
    );
    assert!(fake.requests_of(Kind::Token).len() >= 2);
}

#[test]
fn a_token_that_never_holds_is_an_error_and_not_a_loop() {
    let fake = fake_with_file();
    let daemon = Daemon::with_drive(&fake);
    fake.on(Kind::Metadata).does(Action::ExpireTokens);
    assert_refused(&daemon.get(TARGET), 503, "drive_credentials");
    assert!(
        fake.requests().len() <= 12,
        "{} requests",
        fake.requests().len()
    );
}

#[test]
fn credentials_may_come_later() {
    let fake = fake_with_file();
    let setup = Setup::new().drive(&fake);
    std::fs::remove_file(setup.credentials()).expect("the file was there");
    let daemon = setup.start();
    assert_refused(&daemon.get(TARGET), 503, "drive_not_configured");
    assert_eq!(daemon.health()["drive"]["available"], false);
    assert_eq!(daemon.get("/").status(), 200, "all else works");
    std::fs::write(daemon.setup().credentials(), fake.service_account()).expect("a file");
    daemon.sighup();
    let plays = || daemon.get_range(TARGET, "bytes=0-9").status() == 206;
    assert!(
        eventually(Duration::from_secs(10), plays),
        "{}",
        daemon.health()
    );
}

#[test]
fn sighup_reads_changed_credentials() {
    let fake = fake_with_file();
    let daemon = Setup::new()
        .drive_as(&fake, &fake.stranger_account())
        .start();
    assert_refused(&daemon.get(TARGET), 503, "drive_credentials");
    std::fs::write(daemon.setup().credentials(), fake.service_account()).expect("a file");
    daemon.sighup();
    let plays = || daemon.get_range(TARGET, "bytes=0-9").status() == 206;
    assert!(
        eventually(Duration::from_secs(10), plays),
        "{}",
        daemon.health()
    );
}

#[test]
fn broken_credentials_are_a_sentence_and_not_an_exit() {
    let fake = fake_with_file();
    let account = fake.service_account();
    let broken = [
        String::new(),
        "not JSON".to_owned(),
        "{}".to_owned(),
        "[1, 2]".to_owned(),
        r#"{"type":"external_account"}"#.to_owned(),
        account.replace("BEGIN PRIVATE", "BEGIN BROKEN"),
        account.replace("service_account", "authorized_user"),
    ];
    for text in broken {
        let daemon = Setup::new().drive_as(&fake, &text).start();
        let response = daemon.get(TARGET);
        assert_eq!(response.status(), 503, "{text:.40}");
        let code = response.code();
        assert!(
            code == "drive_credentials" || code == "drive_not_configured",
            "{code}"
        );
        assert!(
            !response.text().contains("PRIVATE KEY"),
            "the answer shows no key"
        );
        assert_eq!(daemon.get("/").status(), 200);
    }
    assert!(fake.requests().is_empty(), "nothing was asked with them");
}

#[test]
fn an_unknown_authority_is_not_trusted() {
    let fake = fake_with_file();
    let setup = Setup::new().drive(&fake).set("drive", "ca_file", "\"\"");
    let daemon = setup.start();
    let response = daemon.get(TARGET);
    assert_eq!(response.status(), 503, "{}", response.text());
    assert!(fake.requests().is_empty(), "nothing was said to a stranger");
}

#[test]
fn no_secret_reaches_the_log() {
    let fake = fake_with_file();
    for account in [
        fake.service_account(),
        fake.authorized_user(),
        fake.stranger_account(),
    ] {
        let daemon = Setup::new()
            .drive_as(&fake, &account)
            .env("RUST_LOG", "trace")
            .start();
        let _ = daemon.get(TARGET);
        daemon.sighup();
        std::thread::sleep(Duration::from_millis(300));
        let log = daemon.log();
        for secret in [
            "ya29.",
            "PRIVATE KEY",
            REFRESH_TOKEN,
            "GOCSPX",
            "assertion=",
            "Bearer ya",
        ] {
            assert!(!log.contains(secret), "{secret} in the log");
        }
    }
}
