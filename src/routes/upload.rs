//! `/upload` and `PUT /videos/{path}`: files that come in one request, by a browser's form or by `curl -T`.
//!
//! A form is read as it comes: each file goes to the disk by itself, and what is wrong with one hinders none of the
//! others. What becomes of a file that has arrived is the business of `jobs::intake`.

use http_types::Method;
use serde_json::{Value, json};

use crate::error::{Error, Kind, Result};
use crate::http::form::{self, Fault, Form, Step};
use crate::http::{Request, RequestBody, Response, StatusCode, body_error};
use crate::jobs::intake::{Admission, Arrived, Draft, Poured, Taken, gather, pour};
use crate::media::name::Name;
use crate::media::path::MediaPath;
use crate::routes::{App, answer};
use crate::store::sink::PIECE;
use crate::web::{self, url};

/// Files of one form at most.
const FILES: usize = 200;

/// Bytes of refused files that are read over, so that the browser reads why: it listens to nothing before it has sent
/// everything. Above, the connection is ended.
const PASSED_OVER: u64 = 4 << 30;

/// `GET /upload`: the form, or the way to it. `POST /upload`: `multipart/form-data` of any number of files.
pub(super) async fn upload(app: &App, request: &mut Request) -> Result<Response> {
    let admin = app.access().require_admin(request).await;
    if request.method() == Method::Post {
        admin?;
        return form(app, request).await;
    }
    if let Err(error) = admin {
        // What this page is, it does not tell strangers; what they need is the way in, and back here.
        return match error.kind() {
            Kind::Unauthorized => Ok(answer::page(StatusCode::Ok, web::login("/upload", None))),
            _ => Err(error),
        };
    }
    let limit = web::figure::bytes(app.config.limits.upload);
    Ok(answer::player_page(web::upload(&limit)))
}

/// `PUT /videos/{path}`: a file under this very name, or, where the name holds what none may, under what is left of it.
pub(super) async fn put(app: &App, request: &mut Request, path: &MediaPath) -> Result<Response> {
    app.access().require_admin(request).await?;
    if request.has("content-range") {
        return Err(Error::new(
            Kind::BadRequest,
            "partial_put",
            "A part of a file cannot be put; send all of it, or go on with an upload at /api/uploads.",
        ));
    }
    let name = app.intake.name(&path.name_text())?;
    let length = request.content_length();
    if let Some(length) = length {
        app.intake.check_length(length)?;
    }
    app.intake.check_free(path.folder(), &name).await?;
    let admission = app.intake.admit(length).await?;
    let mut draft = app.intake.draft(&admission).await?;
    match pour(&mut request.body(), &mut draft.sink).await? {
        Poured::Whole => {}
        Poured::Cut(error) => return Err(body_error(error)),
    }
    let settled = app
        .intake
        .settle(draft, path.folder(), &name, Taken::Refuse);
    let arrived = settled.await?;
    Ok(success(&arrived, describe(&arrived)))
}

/// One file that came in, and the answer to it alone.
fn success(arrived: &Arrived, told: Value) -> Response {
    let (status, location) = match &arrived.job {
        Some(job) => (StatusCode::Accepted, job.url()),
        None => (StatusCode::Created, url::video(&arrived.path)),
    };
    answer::json(status, &told).header("location", location)
}

/// A file that has arrived, as JSON.
pub(super) fn describe(arrived: &Arrived) -> Value {
    let mut told = json!({
        "name": arrived.path.text(),
        "status": if arrived.job.is_some() { 202 } else { 201 },
        "bytes": arrived.bytes,
        "url": url::video(&arrived.path),
        "watch": url::video_page(&arrived.path),
    });
    if let Some(job) = &arrived.job {
        told["job"] = job.describe();
    }
    if let Some(note) = &arrived.note {
        told["note"] = note.as_str().into();
    }
    told
}

/// A file of a form, and what became of it.
#[derive(Debug)]
struct Outcome {
    /// As the client called it.
    name: String,
    result: Result<Arrived>,
}

impl Outcome {
    fn status(&self) -> u16 {
        match &self.result {
            Ok(arrived) if arrived.job.is_some() => 202,
            Ok(_) => 201,
            Err(error) => error.kind().status(),
        }
    }

    fn describe(&self) -> Value {
        match &self.result {
            Ok(arrived) => describe(arrived),
            Err(error) => json!({
                "name": self.name,
                "status": self.status(),
                "error": error.code(),
                "detail": error.sentence(),
            }),
        }
    }

    /// The line of a page: what it is called, where it is watched, and what there is to know of it.
    fn line(&self) -> web::Sent {
        match &self.result {
            Ok(arrived) => web::Sent {
                name: arrived.path.text().into_owned(),
                watch: Some(url::video_page(&arrived.path)),
                note: match (&arrived.job, &arrived.note) {
                    (Some(_), _) => Some(
                        "It is being converted to what every screen plays; that may take a while."
                            .to_owned(),
                    ),
                    (None, note) => note.clone(),
                },
            },
            Err(error) => web::Sent {
                name: self.name.clone(),
                watch: None,
                note: Some(error.sentence().to_owned()),
            },
        }
    }
}

/// `POST /upload`
async fn form(app: &App, request: &mut Request) -> Result<Response> {
    let boundary = request
        .header("content-type")
        .and_then(form::boundary)
        .ok_or_else(|| {
            Error::new(
                Kind::Unsupported,
                "not_a_form",
                "Files are sent here as multipart/form-data with a boundary, as browsers and `curl -F` do; \
                 or by PUT to /videos/NAME.",
            )
        })?;
    let admission = app.intake.admit(request.content_length()).await?;
    let mut reading = Reading {
        app,
        admission,
        form: Form::new(&boundary),
        body: request.body(),
        buffer: vec![0; PIECE],
        start: 0,
        end: 0,
        passed_over: 0,
        outcomes: Vec::new(),
    };
    let read = reading.read().await;
    let outcomes = reading.outcomes;
    match read {
        Ok(()) => Ok(respond(request, &outcomes)),
        // Who reads this, sent a form that broke in its middle, and wants to know what came before.
        Err(error) if !outcomes.is_empty() => {
            let files: Vec<Value> = outcomes.iter().map(Outcome::describe).collect();
            Err(error.with("files", files))
        }
        Err(error) => Err(error),
    }
}

fn respond(request: &Request, outcomes: &[Outcome]) -> Response {
    let status = match outcomes {
        [one] => one.status(),
        _ => 207,
    };
    let status = StatusCode::try_from(status).unwrap_or(StatusCode::MultiStatus);
    if answer::wants_page(request) {
        let lines: Vec<web::Sent> = outcomes.iter().map(Outcome::line).collect();
        return answer::page(status, web::sent(&lines));
    }
    let files: Vec<Value> = outcomes.iter().map(Outcome::describe).collect();
    let mut told = json!({ "files": files });
    match outcomes {
        [
            Outcome {
                result: Ok(arrived),
                ..
            },
        ] => {
            if let Some(job) = &arrived.job {
                told["job"] = job.describe();
            }
            success(arrived, told)
        }
        [
            Outcome {
                result: Err(error), ..
            },
        ] => {
            told["error"] = error.code().into();
            told["detail"] = error.sentence().into();
            answer::json(status, &told)
        }
        _ => answer::json(status, &told),
    }
}

/// What the part that is being read is.
enum Current {
    /// A field that is no file, or no file at all: a browser sends an empty one when none was chosen.
    Nothing,
    /// A file; its name, and where it goes.
    File(Name, Box<Draft>, String),
    /// A file that was refused.
    Refused,
}

/// A form that is being read.
struct Reading<'a> {
    app: &'a App,
    admission: Admission,
    form: Form,
    body: RequestBody,
    /// What was read and not yet used lies from `start` to `end`.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    passed_over: u64,
    outcomes: Vec<Outcome>,
}

impl Reading<'_> {
    async fn read(&mut self) -> Result<()> {
        let mut current = Current::Nothing;
        loop {
            let window = &self.buffer[self.start..self.end];
            let (skip, step) = self.form.step(window).map_err(malformed)?;
            self.start += skip;
            match step {
                Step::More => self.more().await?,
                Step::Part(head) => {
                    current = match head.filename {
                        Some(name) if !name.is_empty() => self.begin(name).await?,
                        _ => Current::Nothing,
                    };
                }
                Step::Content(length) => current = self.content(current, length).await?,
                Step::PartEnd => {
                    let ended = std::mem::replace(&mut current, Current::Nothing);
                    if let Current::File(name, draft, raw) = ended {
                        let settled = self.app.intake.settle(*draft, b"", &name, Taken::Number);
                        let result = settled.await;
                        self.outcomes.push(Outcome { name: raw, result });
                    }
                }
                Step::End => break,
            }
        }
        match self.outcomes.is_empty() {
            false => Ok(()),
            true => Err(Error::new(
                Kind::BadRequest,
                "no_file",
                "No file was chosen; choose one, then press Upload.",
            )),
        }
    }

    /// Reads on, behind what is in the window.
    async fn more(&mut self) -> Result<()> {
        self.buffer.copy_within(self.start..self.end, 0);
        let kept = self.end - self.start;
        let (filled, end) = gather(&mut self.body, &mut self.buffer, kept).await;
        (self.start, self.end) = (0, filled);
        match end {
            Some(Err(error)) => Err(body_error(error)),
            // A form without its last boundary was cut short, whatever the length says.
            Some(Ok(())) if filled == kept => Err(Error::new(
                Kind::BadRequest,
                "body_cut_short",
                "The form ended before its last boundary; send it again.",
            )),
            _ => Ok(()),
        }
    }

    async fn begin(&mut self, raw: String) -> Result<Current> {
        if self.outcomes.len() >= FILES {
            return Err(Error::new(
                Kind::BadRequest,
                "too_many_files",
                format!("A form holds {FILES} files at most; send the rest in another one."),
            ));
        }
        let begun = match self.app.intake.name(&raw) {
            Ok(name) => {
                let draft = self.app.intake.draft(&self.admission).await;
                draft.map(|draft| (name, draft))
            }
            Err(error) => Err(error),
        };
        Ok(match begun {
            Ok((name, draft)) => Current::File(name, Box::new(draft), raw),
            Err(error) => self.refuse(raw, error),
        })
    }

    fn refuse(&mut self, name: String, error: Error) -> Current {
        self.outcomes.push(Outcome {
            name,
            result: Err(error),
        });
        Current::Refused
    }

    /// Passes content of the current part on.
    async fn content(&mut self, current: Current, length: usize) -> Result<Current> {
        let Current::File(name, mut draft, raw) = current else {
            self.start += length;
            self.passed_over += length as u64;
            return match self.passed_over > PASSED_OVER {
                false => Ok(current),
                true => Err(Error::new(
                    Kind::TooLarge,
                    "payload_too_large",
                    "Too much of this form is refused to read on; the files before tell why.",
                )),
            };
        };
        // The buffer goes with its content; what lies behind that moves to the next one.
        let content = self.start..self.start + length;
        let rest = self.buffer[content.end..self.end].to_vec();
        let buffer = std::mem::take(&mut self.buffer);
        let written = draft.sink.write(buffer, content).await;
        let (buffer, current) = match written {
            Ok(buffer) => (buffer, Current::File(name, draft, raw)),
            Err(error) => (vec![0; PIECE], self.refuse(raw, error)),
        };
        self.buffer = buffer;
        self.buffer[..rest.len()].copy_from_slice(&rest);
        (self.start, self.end) = (0, rest.len());
        Ok(current)
    }
}

fn malformed(fault: Fault) -> Error {
    let what = match fault {
        Fault::NoBoundary => "the boundary that its Content-Type names does not come",
        Fault::BadBoundary => "something follows a boundary on its line",
        Fault::HeadTooLarge => "a part's head is too large",
        Fault::BadHead => "a part's head does not say which field it is",
    };
    Error::new(
        Kind::BadRequest,
        "malformed_form",
        format!(
            "This is no form that could be read ({what}); send it again, or by another program."
        ),
    )
}
