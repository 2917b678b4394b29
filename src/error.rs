//! The one error type: a kind for the program, a code and a sentence for people.
//!
//! A failure is given its kind where its meaning is known and its sentence where the noun is known
//! (the path, the file, the account); it becomes an HTTP status in [`Kind::status`] and nowhere else.
//! How an error is written as JSON or as a page is the business of `routes`; exit codes are `main`'s.

use std::fmt;
use std::time::Duration;

/// What went wrong, coarsely enough for a program to act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request itself is malformed: 400.
    BadRequest,
    /// The admin token is missing or wrong: 401.
    Unauthorized,
    /// Understood and refused: 403.
    Forbidden,
    /// Nothing is there: 404.
    NotFound,
    /// The route exists, the method does not: 405.
    MethodNotAllowed,
    /// The client took too long to say what it wants: 408.
    Timeout,
    /// The state of the thing forbids it now: 409.
    Conflict,
    /// It was there, and will not come back: 410.
    Gone,
    /// A body without a length where one is needed: 411.
    LengthRequired,
    /// A precondition of the request does not hold: 412.
    PreconditionFailed,
    /// More bytes than the route takes: 413.
    TooLarge,
    /// A target longer than is read: 414.
    TargetTooLong,
    /// A media type that cannot be served or taken: 415.
    Unsupported,
    /// An `Expect` other than `100-continue`: 417.
    ExpectationFailed,
    /// The Host names another machine: 421.
    Misdirected,
    /// Somebody else is at it: 423.
    Locked,
    /// Too many wrong tries: 429.
    TooMany,
    /// A head larger than is read: 431.
    HeadTooLarge,
    /// Withheld by its host for abuse or law: 451.
    Withheld,
    /// What came is not what was sent: 460, a status of tus and of nobody else.
    Checksum,
    /// A fault of ours: 500.
    Internal,
    /// A method that is not served: 501.
    NotImplemented,
    /// What is behind us answered nonsense or broke off: 502.
    BadGateway,
    /// Not now: a limit is reached, or a part is missing or unreachable: 503.
    Unavailable,
    /// A version of HTTP that is not served: 505.
    Version,
    /// No space is left for it: 507.
    NoSpace,
    /// The configuration is wrong: exit 78 (EX_CONFIG) where nobody waits, 503 on sockets that systemd holds.
    Misconfigured,
}

impl Kind {
    /// The HTTP status of a failure of this kind.
    pub fn status(self) -> u16 {
        match self {
            Kind::BadRequest => 400,
            Kind::Unauthorized => 401,
            Kind::Forbidden => 403,
            Kind::NotFound => 404,
            Kind::MethodNotAllowed => 405,
            Kind::Timeout => 408,
            Kind::Conflict => 409,
            Kind::Gone => 410,
            Kind::LengthRequired => 411,
            Kind::PreconditionFailed => 412,
            Kind::TooLarge => 413,
            Kind::TargetTooLong => 414,
            Kind::Unsupported => 415,
            Kind::ExpectationFailed => 417,
            Kind::Misdirected => 421,
            Kind::Locked => 423,
            Kind::TooMany => 429,
            Kind::HeadTooLarge => 431,
            Kind::Withheld => 451,
            Kind::Checksum => 460,
            Kind::Internal => 500,
            Kind::NotImplemented => 501,
            Kind::BadGateway => 502,
            Kind::Unavailable => 503,
            Kind::Version => 505,
            Kind::NoSpace => 507,
            Kind::Misconfigured => 503,
        }
    }
}

/// A failure: what kind, under which stable code, in one sentence with its remedy, and from what.
///
/// Boxed inside, so that a `Result` stays a pointer wide on the paths that succeed.
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    code: &'static str,
    sentence: String,
    fields: Vec<(&'static str, serde_json::Value)>,
    retry_after: Option<Duration>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The result of whatever can fail with an [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A failure of `kind`; `code` is a stable snake_case word listed in the README, `sentence` one
    /// sentence for a person, with the remedy.
    pub fn new(kind: Kind, code: &'static str, sentence: impl Into<String>) -> Error {
        Error(Box::new(Inner {
            kind,
            code,
            sentence: sentence.into(),
            fields: Vec::new(),
            retry_after: None,
            source: None,
        }))
    }

    /// A fault of rill itself, or of the machine under it, that no caller can mend.
    pub fn internal(sentence: impl Into<String>) -> Error {
        Error::new(Kind::Internal, "internal", sentence)
    }

    /// Adds a field of its own to the JSON answer.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<serde_json::Value>) -> Error {
        self.0.fields.push((name, value.into()));
        self
    }

    /// Says when another try may succeed; sent as `Retry-After`, in whole seconds, rounded up.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Error {
        self.0.retry_after = Some(delay);
        self
    }

    /// Keeps what caused it, for the log.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        self.0.source = Some(source.into());
        self
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The stable word for programs.
    pub fn code(&self) -> &'static str {
        self.0.code
    }

    /// The sentence for people.
    pub fn sentence(&self) -> &str {
        &self.0.sentence
    }

    /// The fields beside `error` and `detail`.
    pub fn fields(&self) -> &[(&'static str, serde_json::Value)] {
        &self.0.fields
    }

    /// When another try may succeed.
    pub fn retry_delay(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The sentence and everything that caused it, joined by colons: for the log and the terminal.
    pub fn chain(&self) -> String {
        let mut text = self.0.sentence.clone();
        let mut next = std::error::Error::source(self);
        while let Some(error) = next {
            text.push_str(": ");
            text.push_str(&error.to_string());
            next = error.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.sentence)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}: {}", self.0.kind, self.0.code, self.chain())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0.source {
            Some(source) => Some(&**source),
            None => None,
        }
    }
}
