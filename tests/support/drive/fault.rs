//! How the fake Drive misbehaves, and for which requests.
//!
//! A [`Rule`] says what happens to the requests of one kind, of one file or of all, for the next few or always. For
//! each request the first fitting rule of every sort of action is taken, so that twenty rules "cut" wait in line for
//! twenty requests while one rule "latency" goes with all of them.

use std::time::Duration;

/// The kinds of request that rules tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any.
    Any,
    /// `POST /token`.
    Token,
    /// `files/{id}` without `alt=media`.
    Metadata,
    /// `files/{id}?alt=media`, and exports.
    Media,
    /// `files?q=`.
    List,
    /// `about` and `changes`.
    Other,
}

/// A refusal in Google's own form.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// The `reason` word that decides whether a 403 is final.
    pub reason: String,
    /// The sentence.
    pub message: String,
    /// `Retry-After`, as written.
    pub retry_after: Option<String>,
    /// A page of HTML instead of JSON.
    pub html: bool,
}

impl Refusal {
    /// A refusal with Google's wording for `reason`, where it is known.
    pub fn new(status: u16, reason: &str) -> Refusal {
        let message = match reason {
            "downloadQuotaExceeded" => "The download quota for this file has been exceeded.",
            "rateLimitExceeded" => "Rate Limit Exceeded",
            "userRateLimitExceeded" => "User Rate Limit Exceeded",
            "dailyLimitExceeded" => "Daily Limit Exceeded",
            "insufficientFilePermissions" => {
                "The user does not have sufficient permissions for this file."
            }
            "cannotDownloadAbusiveFile" => {
                "This file has been identified as malware or spam and cannot be downloaded."
            }
            "cannotDownloadFile" => "This file cannot be downloaded by the user.",
            "fileNotDownloadable" => {
                "Only files with binary content can be downloaded. Use Export with Docs Editors files."
            }
            "backendError" => "Backend Error",
            "internalError" => "Internal Error",
            "authError" => "Invalid Credentials",
            _ => "The request was refused.",
        };
        Refusal {
            status,
            reason: reason.to_owned(),
            message: message.to_owned(),
            retry_after: None,
            html: false,
        }
    }

    /// A page of HTML, as Google's front ends send with 502 and 504.
    pub fn html(status: u16) -> Refusal {
        Refusal {
            html: true,
            ..Refusal::new(status, "")
        }
    }

    /// Adds a `Retry-After`.
    #[must_use]
    pub fn retry_after(mut self, value: impl Into<String>) -> Refusal {
        self.retry_after = Some(value.into());
        self
    }
}

/// What happens to a request.
#[derive(Clone, Debug)]
pub enum Action {
    /// Nothing is said for so long.
    Latency(Duration),
    /// Bytes per second of the body.
    Bandwidth(u64),
    /// It is refused.
    Refuse(Refusal),
    /// After so many bytes of the body the connection is closed, without a TLS goodbye.
    Cut(u64),
    /// After so many bytes of the body the connection is reset.
    Reset(u64),
    /// After so many bytes of the body nothing more comes, and the connection stays open.
    Stall(u64),
    /// After so many bytes of the body nothing more comes for so long.
    Pause(u64, Duration),
    /// The connection is closed within the head.
    CutHead,
    /// The connection is closed before anything is said.
    Hangup,
    /// The range is ignored: 200 and the whole file.
    IgnoreRange,
    /// `Content-Range` names a range so many bytes further on; the body is the right one.
    ShiftContentRange(u64),
    /// 206 whose body comes from so many bytes further on, honestly labelled.
    ShiftBody(u64),
    /// The body is so many bytes shorter than the range; Content-Length agrees with the body.
    Shorter(u64),
    /// The body is so many bytes longer than the range; Content-Length agrees with the body.
    Longer(u64),
    /// 307 to the same path and query below this base (`https://host:port`).
    Redirect(String),
    /// All tokens expire before the request is looked at.
    ExpireTokens,
    /// The connection is closed so long after the answer, without a word of it in the head.
    CloseAfter(Duration),
    /// A page of the list holds at most so many entries, whatever was asked; 0 makes empty pages
    /// that still carry a token.
    PageOf(usize),
    /// The JSON of an answer is replaced by these bytes, under its own type.
    Garbage(Vec<u8>),
}

/// What a rule made of it, all together.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub latency: Option<Duration>,
    pub bandwidth: Option<u64>,
    pub refuse: Option<Refusal>,
    pub cut: Option<(u64, bool)>,
    pub stall: Option<(u64, Option<Duration>)>,
    pub cut_head: bool,
    pub hangup: bool,
    pub ignore_range: bool,
    pub shift_content_range: u64,
    pub shift_body: u64,
    pub shorter: u64,
    pub longer: u64,
    pub redirect: Option<String>,
    pub expire_tokens: bool,
    pub close_after: Option<Duration>,
    pub page_of: Option<usize>,
    pub garbage: Option<Vec<u8>>,
}

impl Plan {
    fn add(&mut self, action: Action) {
        match action {
            Action::Latency(delay) => self.latency = Some(delay),
            Action::Bandwidth(rate) => self.bandwidth = Some(rate.max(1)),
            Action::Refuse(refusal) => self.refuse = Some(refusal),
            Action::Cut(after) => self.cut = Some((after, false)),
            Action::Reset(after) => self.cut = Some((after, true)),
            Action::Stall(after) => self.stall = Some((after, None)),
            Action::Pause(after, time) => self.stall = Some((after, Some(time))),
            Action::CutHead => self.cut_head = true,
            Action::Hangup => self.hangup = true,
            Action::IgnoreRange => self.ignore_range = true,
            Action::ShiftContentRange(by) => self.shift_content_range = by,
            Action::ShiftBody(by) => self.shift_body = by,
            Action::Shorter(by) => self.shorter = by,
            Action::Longer(by) => self.longer = by,
            Action::Redirect(base) => self.redirect = Some(base),
            Action::ExpireTokens => self.expire_tokens = true,
            Action::CloseAfter(delay) => self.close_after = Some(delay),
            Action::PageOf(entries) => self.page_of = Some(entries),
            Action::Garbage(bytes) => self.garbage = Some(bytes),
        }
    }
}

/// Names a rule, to end it early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleId(pub u64);

#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) id: RuleId,
    pub(super) kind: Kind,
    pub(super) file: Option<String>,
    pub(super) skip: u32,
    pub(super) left: Option<u32>,
    pub(super) action: Action,
}

/// Takes from `rules` what applies to one request. A listing is of every folder that its query names.
pub(super) fn plan(rules: &mut Vec<Rule>, kind: Kind, file: Option<&str>, query: &str) -> Plan {
    let mut plan = Plan::default();
    let mut taken = Vec::new();
    for rule in rules.iter_mut() {
        let sort = std::mem::discriminant(&rule.action);
        let fits = (rule.kind == Kind::Any || rule.kind == kind)
            && rule.file.as_deref().is_none_or(|wanted| {
                Some(wanted) == file || (kind == Kind::List && query.contains(wanted))
            });
        if !fits || taken.contains(&sort) || rule.left == Some(0) {
            continue;
        }
        if rule.skip > 0 {
            rule.skip -= 1;
            continue;
        }
        taken.push(sort);
        if let Some(left) = &mut rule.left {
            *left -= 1;
        }
        plan.add(rule.action.clone());
    }
    rules.retain(|rule| rule.left != Some(0));
    plan
}
