//! What a failed exchange with Google means: whether to try again, and what to tell the viewer.
//!
//! Pure. A failure comes in as [`Fault`] and goes out as [`Judged`]; who waits and retries is `service`'s
//! business. Each sentence says what to do, since it is read on a television by someone who cannot ask us.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::moment;
use crate::error::{Error, Kind};

/// An error that can be handed to many who wait for the same thing.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) kind: Kind,
    pub(super) code: &'static str,
    pub(super) sentence: String,
    pub(super) retry_after: Option<Duration>,
    /// When it may work again, RFC 3339.
    pub(super) retry_at: Option<String>,
    /// What the log gets beside the sentence.
    pub(super) cause: Option<String>,
    /// The status that Google answered, when it is the request that it did not like.
    pub(super) status: Option<u16>,
}

impl Refusal {
    pub(super) fn new(kind: Kind, code: &'static str, sentence: impl Into<String>) -> Refusal {
        Refusal {
            kind,
            code,
            sentence: sentence.into(),
            retry_after: None,
            retry_at: None,
            cause: None,
            status: None,
        }
    }

    pub(super) fn after(mut self, delay: Duration) -> Refusal {
        self.retry_after = Some(delay);
        self
    }

    pub(super) fn because(mut self, cause: impl Into<String>) -> Refusal {
        self.cause = Some(cause.into());
        self
    }

    /// Whether Google refused what was asked, such as a token it does not know any more.
    pub(super) fn is_about_request(&self) -> bool {
        matches!(self.status, Some(400 | 404 | 410))
    }

    /// Whether it speaks of Google or our access as a whole, and not of one file.
    pub(super) fn concerns_service(&self) -> bool {
        matches!(
            self.code,
            "drive_credentials" | "drive_unreachable" | "drive_failed" | "drive_rate_limited"
        )
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Error {
        let mut error = Error::new(refusal.kind, refusal.code, refusal.sentence);
        if let Some(delay) = refusal.retry_after {
            error = error.retry_after(delay);
        }
        if let Some(at) = refusal.retry_at {
            error = error.with("retry_at", at);
        }
        match refusal.cause {
            Some(cause) => error.because(cause),
            None => error,
        }
    }
}

/// How an exchange failed.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// No connection came about: no network, no name, refused, or TLS failed.
    Unreachable(String),
    /// A pooled connection turned out to be dead: nothing was learnt.
    Stale(String),
    /// The connection broke, or nothing came for too long.
    Broken(String),
    /// An answer, and not a good one.
    Status(Status),
    /// An answer that is not what was asked for.
    Nonsense(String),
    /// The file on Drive is no longer the one whose metadata we know.
    Changed,
    /// Our own side gave up, or cannot begin; said already.
    Refused(Refusal),
}

/// An error answer, read to the bound.
#[derive(Clone, Debug, Default)]
pub(super) struct Status {
    pub(super) code: u16,
    /// `error.errors[0].reason`, or what stands in for it; of the token endpoint `error`.
    pub(super) reason: String,
    /// The server's own words.
    pub(super) message: String,
    pub(super) retry_after: Option<Duration>,
    /// The server's clock.
    pub(super) date: Option<SystemTime>,
}

impl Status {
    /// Reads an error body, JSON or not (502 and wrong paths come as HTML pages).
    pub(super) fn read(code: u16, body: &[u8]) -> Status {
        let value: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let error = &value["error"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let reason = [
            &error["errors"][0]["reason"],
            // Newer services say it this way; `status` is the coarsest.
            &error["details"][0]["reason"],
            &error["status"],
            // OAuth, RFC 6749 section 5.2.
            error,
        ]
        .into_iter()
        .map(text)
        .find(|reason| !reason.is_empty())
        .unwrap_or_default();
        let message = [&error["message"], &value["error_description"]]
            .into_iter()
            .map(text)
            .find(|message| !message.is_empty())
            .unwrap_or_default();
        Status {
            code,
            reason: clip(&reason, 64),
            message: clip(&message, 300),
            ..Status::default()
        }
    }
}

/// One line of at most so many characters, for logs and sentences.
fn clip(text: &str, most: usize) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(most)
        .collect()
}

/// What to do about a failure.
#[derive(Clone, Debug)]
pub(super) struct Judged {
    pub(super) verdict: Verdict,
    /// What to say when it is not tried again.
    pub(super) refusal: Refusal,
}

/// Whether another try may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It will be the same again.
    Final,
    /// It may pass; not before the server's `Retry-After`, when it said one.
    Retry(Option<Duration>),
    /// At once, on another connection.
    RetryNow,
    /// With a new token.
    NewToken,
}

/// Of whom and what a judgement speaks.
#[derive(Clone, Copy, Debug)]
pub(super) struct About<'a> {
    /// The address to share with, when known.
    pub(super) account: Option<&'a str>,
    pub(super) now: SystemTime,
}

/// Google counts downloads of a file over a day.
const QUOTA_PERIOD: Duration = Duration::from_secs(24 * 3600);
/// When a viewer may press play again after a failure that passes.
const SOON: Duration = Duration::from_secs(10);
/// After too many requests.
const LATER: Duration = Duration::from_secs(30);

/// Decides what a failure of a Drive request means.
pub(super) fn judge(fault: &Fault, about: About<'_>) -> Judged {
    match fault {
        Fault::Unreachable(cause) => Judged {
            verdict: Verdict::Retry(None),
            refusal: Refusal::new(
                Kind::Unavailable,
                "drive_unreachable",
                "Google Drive cannot be reached; check the Internet connection, the name server and \
                 the clock of this machine.",
            )
            .after(SOON)
            .because(cause.clone()),
        },
        Fault::Stale(cause) => Judged { verdict: Verdict::RetryNow, refusal: failed(cause) },
        Fault::Broken(cause) | Fault::Nonsense(cause) => {
            Judged { verdict: Verdict::Retry(None), refusal: failed(cause) }
        }
        Fault::Changed => Judged {
            verdict: Verdict::Final,
            refusal: Refusal::new(
                Kind::Unavailable,
                "drive_changed",
                "The file was replaced on Google Drive a moment ago; try again.",
            )
            .after(Duration::from_secs(1)),
        },
        Fault::Refused(refusal) => Judged { verdict: Verdict::Final, refusal: refusal.clone() },
        Fault::Status(status) => {
            let mut judged = judge_status(status, about);
            judged.refusal.status = Some(status.code);
            judged
        }
    }
}

/// What to say when the deadline passes while nothing at all is heard.
pub(super) fn judge_silence() -> Refusal {
    failed("no answer in time")
}

fn failed(cause: &str) -> Refusal {
    Refusal::new(
        Kind::BadGateway,
        "drive_failed",
        "Google Drive broke off or answered nonsense several times; try again in a minute.",
    )
    .because(cause.to_owned())
}

fn rate_limited(status: &Status) -> Judged {
    let refusal = Refusal::new(
        Kind::Unavailable,
        "drive_rate_limited",
        "Google Drive asks for fewer requests; try again in a moment.",
    )
    .after(status.retry_after.unwrap_or(LATER))
    .because(words(status));
    Judged {
        verdict: Verdict::Retry(status.retry_after),
        refusal,
    }
}

fn words(status: &Status) -> String {
    format!(
        "Drive answered {} {}: {}",
        status.code, status.reason, status.message
    )
}

fn judge_status(status: &Status, about: About<'_>) -> Judged {
    let last = |kind, code, sentence: String| Judged {
        verdict: Verdict::Final,
        refusal: Refusal::new(kind, code, sentence).because(words(status)),
    };
    match (status.code, status.reason.as_str()) {
        (401, _) => Judged { verdict: Verdict::NewToken, refusal: credentials(status) },
        (403 | 429, "downloadQuotaExceeded" | "quotaExceeded" | "sharingRateLimitExceeded" | "dailyLimitExceeded") => {
            let (whose, otherwise) = match status.reason.as_str() {
                "dailyLimitExceeded" => (
                    "The Google project of rill's credentials has used up its requests of the day",
                    "or raise its limit in the Google Cloud console",
                ),
                _ => (
                    "Too many downloads of this file: Google has locked it for everyone, usually for 24 hours",
                    "or play a copy of the file",
                ),
            };
            let at = about.now + QUOTA_PERIOD;
            let mut judged = last(
                Kind::Unavailable,
                "drive_download_quota",
                format!(
                    "{whose}; try again after {}, {otherwise}.",
                    moment::format_rfc3339(at)
                ),
            );
            judged.refusal.retry_after = Some(QUOTA_PERIOD);
            judged.refusal.retry_at = Some(moment::format_rfc3339(at));
            judged
        }
        (403, "rateLimitExceeded" | "userRateLimitExceeded" | "RATE_LIMIT_EXCEEDED" | "RESOURCE_EXHAUSTED")
        | (429, _) => rate_limited(status),
        (403, "cannotDownloadAbusiveFile") => last(
            Kind::Withheld,
            "drive_abuse",
            "Google has marked this file as malware or spam and hands it to its owner alone; who trusts it and plays \
             with the owner's credentials may add ?acknowledgeAbuse=true to its address, others ask Google for a review."
                .to_owned(),
        ),
        (403, "fileNotDownloadable") => not_downloadable(status),
        (403, "exportSizeLimitExceeded") => last(
            Kind::Unsupported,
            "drive_not_downloadable",
            "This Google document is larger than the 10 MB that Google exports; open it in Drive, or keep a PDF \
             of it there."
                .to_owned(),
        ),
        (403, "accessNotConfigured" | "SERVICE_DISABLED") => last(
            Kind::Unavailable,
            "drive_credentials",
            "The Google Drive API is switched off in the project of rill's credentials; enable it in the Google \
             Cloud console (APIs & Services)."
                .to_owned(),
        ),
        (403, "insufficientPermissions" | "ACCESS_TOKEN_SCOPE_INSUFFICIENT") => last(
            Kind::Unavailable,
            "drive_credentials",
            "rill's credentials do not include reading Drive; make them again with the scope drive.readonly."
                .to_owned(),
        ),
        (403, _) => last(
            Kind::Forbidden,
            "drive_permission",
            match about.account {
                Some(account) => format!(
                    "Google Drive does not let rill read this file; share it, or its folder, with {account}."
                ),
                None => "Google Drive does not let rill read this file; share it, or its folder, with the account \
                         that rill signs in with."
                    .to_owned(),
            },
        ),
        (404 | 410, _) => last(
            Kind::NotFound,
            "drive_not_found",
            match about.account {
                Some(account) => format!(
                    "There is no such file on Google Drive, or it is not shared with {account}; share it, and where \
                     its link has a resourcekey=, put that into this address, too."
                ),
                None => "There is no such file on Google Drive, or it is not shared with the account of rill; \
                         share it, and where its link has a resourcekey=, put that into this address, too."
                    .to_owned(),
            },
        ),
        (416, _) => judge(&Fault::Changed, about),
        (408 | 500..=599, _) => Judged {
            verdict: Verdict::Retry(status.retry_after),
            refusal: Refusal::new(
                Kind::BadGateway,
                "drive_failed",
                "Google Drive has a fault of its own at the moment; try again in a minute.",
            )
            .because(words(status)),
        },
        _ => last(
            Kind::BadGateway,
            "drive_failed",
            "Google Drive refused the request in a way that rill does not know; the log has its words.".to_owned(),
        ),
    }
}

fn not_downloadable(status: &Status) -> Judged {
    Judged {
        verdict: Verdict::Final,
        refusal: Refusal::new(
            Kind::Unsupported,
            "drive_not_downloadable",
            "This is not a file with content of its own (a folder, a form, a site); open it in Google Drive.",
        )
        .because(words(status)),
    }
}

/// Decides what a failure of the token endpoint means.
pub(super) fn judge_token(fault: &Fault, about: About<'_>) -> Judged {
    let Fault::Status(status) = fault else {
        return judge(fault, about);
    };
    match status.code {
        429 => rate_limited(status),
        408 | 500..=599 => judge_status(status, about),
        _ => Judged {
            verdict: Verdict::Final,
            refusal: credentials(status),
        },
    }
}

/// The credentials do not work; which way tells the remedy.
fn credentials(status: &Status) -> Refusal {
    let sentence = match status.reason.as_str() {
        "invalid_grant" if status.message.to_ascii_lowercase().contains("jwt") => {
            "Google refuses the service account's key; check this machine's clock, and whether the key still \
             exists in the Google Cloud console."
        }
        "invalid_grant" => {
            "Google has ended rill's access (an OAuth app in Testing loses it after 7 days); sign in again, or \
             check that the service account and its key still exist."
        }
        "invalid_client" | "unauthorized_client" | "deleted_client" | "disabled_client" => {
            "Google does not know the client or account of rill's credentials any more; make new ones in the \
             Google Cloud console."
        }
        _ => {
            "Google does not accept rill's Drive credentials; make new ones in the Google Cloud console and put \
             them in place."
        }
    };
    Refusal::new(Kind::Unavailable, "drive_credentials", sentence).because(words(status))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn google(code: u16, reason: &str) -> Judged {
        let body = format!(
            r#"{{"error":{{"errors":[{{"domain":"usageLimits","reason":"{reason}"}}],"code":{code},"message":"m"}}}}"#
        );
        let about = About {
            account: Some("rill@example.com"),
            now: SystemTime::UNIX_EPOCH,
        };
        judge(&Fault::Status(Status::read(code, body.as_bytes())), about)
    }

    #[test]
    fn each_reason_has_its_answer() {
        use Verdict::{Final, NewToken, Retry};
        for (code, reason, verdict, status, word) in [
            (401, "authError", NewToken, 503, "drive_credentials"),
            (
                403,
                "downloadQuotaExceeded",
                Final,
                503,
                "drive_download_quota",
            ),
            (
                403,
                "dailyLimitExceeded",
                Final,
                503,
                "drive_download_quota",
            ),
            (
                403,
                "rateLimitExceeded",
                Retry(None),
                503,
                "drive_rate_limited",
            ),
            (
                403,
                "userRateLimitExceeded",
                Retry(None),
                503,
                "drive_rate_limited",
            ),
            (
                403,
                "insufficientFilePermissions",
                Final,
                403,
                "drive_permission",
            ),
            (403, "forbidden", Final, 403, "drive_permission"),
            (403, "cannotDownloadAbusiveFile", Final, 451, "drive_abuse"),
            (
                403,
                "fileNotDownloadable",
                Final,
                415,
                "drive_not_downloadable",
            ),
            (
                403,
                "exportSizeLimitExceeded",
                Final,
                415,
                "drive_not_downloadable",
            ),
            (403, "accessNotConfigured", Final, 503, "drive_credentials"),
            (404, "notFound", Final, 404, "drive_not_found"),
            (
                416,
                "requestedRangeNotSatisfiable",
                Final,
                503,
                "drive_changed",
            ),
            (
                429,
                "rateLimitExceeded",
                Retry(None),
                503,
                "drive_rate_limited",
            ),
            (500, "internalError", Retry(None), 502, "drive_failed"),
            (503, "backendError", Retry(None), 502, "drive_failed"),
            (400, "invalid", Final, 502, "drive_failed"),
        ] {
            let judged = google(code, reason);
            assert_eq!(judged.verdict, verdict, "{code} {reason}");
            assert_eq!(judged.refusal.kind.status(), status, "{code} {reason}");
            assert_eq!(judged.refusal.code, word, "{code} {reason}");
            assert!(
                judged.refusal.sentence.ends_with('.'),
                "{}",
                judged.refusal.sentence
            );
        }
    }

    #[test]
    fn a_quota_says_when_and_a_permission_whom() {
        let quota = google(403, "downloadQuotaExceeded").refusal;
        assert_eq!(quota.retry_at.as_deref(), Some("1970-01-02T00:00:00Z"));
        assert_eq!(quota.retry_after, Some(QUOTA_PERIOD));
        assert!(
            google(403, "forbidden")
                .refusal
                .sentence
                .contains("rill@example.com")
        );
    }

    #[test]
    fn pages_and_other_shapes_are_read() {
        let page = Status::read(502, b"<!DOCTYPE html><title>Error 502</title>");
        assert_eq!((page.code, page.reason.as_str()), (502, ""));
        let newer = Status::read(403, br#"{"error":{"status":"PERMISSION_DENIED","details":[{"reason":"SERVICE_DISABLED"}]}}"#);
        assert_eq!(newer.reason, "SERVICE_DISABLED");
        let oauth = Status::read(
            400,
            br#"{"error":"invalid_grant","error_description":"Invalid JWT\nSignature."}"#,
        );
        assert_eq!(
            (oauth.reason.as_str(), oauth.message.as_str()),
            ("invalid_grant", "Invalid JWT Signature.")
        );
        assert!(Status::read(400, &[0xff; 9]).reason.is_empty());
        assert!(Status::read(400, br#"{"error":[[]]}"#).reason.is_empty());
    }

    #[test]
    fn a_limit_without_json_is_still_a_limit() {
        let about = About {
            account: None,
            now: SystemTime::UNIX_EPOCH,
        };
        let mut status = Status::read(429, b"slow down");
        status.retry_after = Some(Duration::from_secs(7));
        let judged = judge(&Fault::Status(status), about);
        assert_eq!(judged.verdict, Verdict::Retry(Some(Duration::from_secs(7))));
        assert_eq!(judged.refusal.retry_after, Some(Duration::from_secs(7)));
    }
}
