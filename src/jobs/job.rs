//! A job as others see it: what it does, how it stands, and how that is told.
//!
//! Pure. The queue owns the jobs; `routes` and the events tell them in the one form that is written here.

use std::borrow::Cow;
use std::fmt;

use serde_json::{Value, json};

use crate::drive::FileId;
use crate::http::date;
use crate::media::path::MediaPath;
use crate::store::queue::Row;

/// The number of a job. It is never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a job does, and to what.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Makes a local, mended MP4 of a file on Drive.
    Repair(FileId),
    /// Makes what browsers play of a file below `library.videos`, in its place.
    Convert(MediaPath),
    /// Makes a poster for a file below `library.videos`.
    Poster(MediaPath),
}

impl Kind {
    /// The word for it.
    pub fn word(&self) -> &'static str {
        match self {
            Kind::Repair(_) => "repair",
            Kind::Convert(_) => "convert",
            Kind::Poster(_) => "poster",
        }
    }

    /// What it is done to, as text; bytes of a path that are not UTF-8 become U+FFFD.
    pub fn reference(&self) -> Cow<'_, str> {
        match self {
            Kind::Repair(id) => id.as_str().into(),
            Kind::Convert(path) | Kind::Poster(path) => path.text(),
        }
    }

    /// Nobody asked for it, and the daemon would ask again by itself.
    pub fn is_housekeeping(&self) -> bool {
        matches!(self, Kind::Poster(_))
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Kind::Repair(id) => id.as_str().as_bytes(),
            Kind::Convert(path) | Kind::Poster(path) => path.as_bytes(),
        }
    }

    fn read(word: &str, reference: &[u8]) -> Option<Kind> {
        match word {
            "repair" => {
                let id = FileId::parse(std::str::from_utf8(reference).ok()?).ok()?;
                Some(Kind::Repair(id))
            }
            "convert" => MediaPath::new(reference).map(Kind::Convert),
            "poster" => MediaPath::new(reference).map(Kind::Poster),
            _ => None,
        }
    }
}

/// How a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It waits for its turn.
    Queued,
    /// It is being done.
    Running,
    /// It is done.
    Completed,
    /// It came to nothing.
    Failed,
    /// Somebody ended it.
    Cancelled,
}

impl State {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            State::Queued => "queued",
            State::Running => "running",
            State::Completed => "completed",
            State::Failed => "failed",
            State::Cancelled => "cancelled",
        }
    }

    /// Whether nothing more comes of it.
    pub fn is_final(self) -> bool {
        !matches!(self, State::Queued | State::Running)
    }

    fn read(word: &str) -> Option<State> {
        let all = [
            State::Queued,
            State::Running,
            State::Completed,
            State::Failed,
            State::Cancelled,
        ];
        all.into_iter().find(|state| state.word() == word)
    }
}

/// How far a running job is. Not kept: a restart begins anew.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    /// From 0 to 1.
    pub done: f64,
    /// Seconds of film per second.
    pub speed: Option<f64>,
    /// Seconds that it may still take.
    pub seconds_left: Option<u64>,
    /// It was stopped for somebody who watches, and goes on after.
    pub paused: bool,
}

/// What came of a job that is done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// How it was done, in a word or two.
    pub mode: Option<String>,
    /// Bytes of the result.
    pub size: Option<u64>,
}

/// A job.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Its number; later ones have larger numbers.
    pub id: JobId,
    /// What it does.
    pub kind: Kind,
    /// How it stands.
    pub state: State,
    /// How far it is, while it runs.
    pub progress: Progress,
    /// How often it was begun.
    pub attempts: u32,
    /// Why it failed, or why its last attempt did: a sentence with the remedy.
    pub error: Option<String>,
    /// What came of it.
    pub made: Made,
    /// What it must know when it is begun again.
    pub(crate) note: Option<String>,
    /// When it was asked for, in milliseconds since 1970, as are the others.
    pub created: i64,
    /// When the last attempt began.
    pub started: Option<i64>,
    /// When it ended.
    pub finished: Option<i64>,
    /// When its state changed last.
    pub updated: i64,
}

impl Job {
    /// A job that was just asked for.
    pub(crate) fn new(id: JobId, kind: Kind, now: i64) -> Job {
        Job {
            id,
            kind,
            state: State::Queued,
            progress: Progress::default(),
            attempts: 0,
            error: None,
            made: Made::default(),
            note: None,
            created: now,
            started: None,
            finished: None,
            updated: now,
        }
    }

    /// Where it is told.
    pub fn url(&self) -> String {
        format!("/api/jobs/{}", self.id)
    }

    /// As JSON: what `/api/jobs` and the events tell.
    pub fn describe(&self) -> Value {
        let done = match self.state {
            State::Completed => 1.0,
            State::Running => self.progress.done.clamp(0.0, 1.0),
            _ => 0.0,
        };
        json!({
            "id": self.id.0,
            "kind": self.kind.word(),
            "ref": self.kind.reference(),
            "state": self.state.word(),
            // A ten-thousandth is more than any bar shows.
            "progress": (done * 10_000.0).round() / 10_000.0,
            "speed": self.progress.speed.map(|speed| (speed * 100.0).round() / 100.0),
            "secondsLeft": self.progress.seconds_left,
            "paused": self.progress.paused,
            "attempts": self.attempts,
            "error": self.error,
            "mode": self.made.mode,
            "size": self.made.size,
            "createdAt": moment(self.created),
            "startedAt": self.started.map(moment),
            "finishedAt": self.finished.map(moment),
            "updatedAt": moment(self.updated),
            "url": self.url(),
        })
    }

    /// As it is kept.
    pub(crate) fn row(&self) -> Row {
        Row {
            id: self.id.0 as i64,
            kind: self.kind.word().to_owned(),
            reference: self.kind.bytes().to_vec(),
            state: self.state.word().to_owned(),
            attempts: self.attempts,
            error: self.error.clone(),
            mode: self.made.mode.clone(),
            size: self.made.size.and_then(|size| i64::try_from(size).ok()),
            note: self.note.clone(),
            created: self.created,
            started: self.started,
            finished: self.finished,
            updated: self.updated,
        }
    }

    /// As it was kept; `None` of what another version kept.
    pub(crate) fn read(row: Row) -> Option<Job> {
        Some(Job {
            id: JobId(u64::try_from(row.id).ok()?),
            kind: Kind::read(&row.kind, &row.reference)?,
            state: State::read(&row.state)?,
            progress: Progress::default(),
            attempts: row.attempts,
            error: row.error,
            made: Made {
                mode: row.mode,
                size: row.size.and_then(|size| u64::try_from(size).ok()),
            },
            note: row.note,
            created: row.created,
            started: row.started,
            finished: row.finished,
            updated: row.updated,
        })
    }
}

/// A time as JSON tells it.
pub fn moment(milliseconds: i64) -> String {
    date::rfc3339(u64::try_from(milliseconds / 1000).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_back() {
        let kinds = [
            Kind::Repair(FileId::parse("1aB_-cDeFgH").unwrap()),
            Kind::Convert(MediaPath::new(b"a/\xff.mkv").unwrap()),
            Kind::Poster(MediaPath::new(b"b.mp4").unwrap()),
        ];
        for (n, kind) in kinds.into_iter().enumerate() {
            let mut job = Job::new(JobId(n as u64 + 1), kind, 1_000);
            job.state = State::Failed;
            job.error = Some("It broke.".to_owned());
            job.finished = Some(2_000);
            job.made.size = Some(77);
            assert_eq!(Job::read(job.row()), Some(job.clone()));
            let mut strange = job.row();
            strange.kind = "transmogrify".to_owned();
            assert_eq!(Job::read(strange), None);
            let mut strange = job.row();
            strange.reference = b"../x\0".to_vec();
            assert_eq!(Job::read(strange), None);
        }
    }

    #[test]
    fn a_job_is_told() {
        let mut job = Job::new(
            JobId(7),
            Kind::Convert(MediaPath::new(b"a.mkv").unwrap()),
            0,
        );
        job.state = State::Running;
        job.progress = Progress {
            done: 0.123_456,
            speed: Some(1.999),
            seconds_left: Some(60),
            paused: true,
        };
        let told = job.describe();
        assert_eq!(told["progress"], 0.1235);
        assert_eq!(told["speed"], 2.0);
        assert_eq!(
            (&told["ref"], &told["url"]),
            (&"a.mkv".into(), &"/api/jobs/7".into())
        );
        assert_eq!(told["createdAt"], "1970-01-01T00:00:00Z");
        job.state = State::Completed;
        assert_eq!(job.describe()["progress"], 1.0);
    }
}
