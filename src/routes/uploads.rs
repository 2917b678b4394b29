//! `/api/uploads`: uploads that go on where they broke off, by tus 1.0 (tus.io/protocols/resumable-upload).
//!
//! The core protocol, and its extensions creation, creation-with-upload, expiration, checksum and termination. Beside
//! it, GET tells as JSON how an upload stands and what became of it. What an upload is, is the business of
//! `jobs::resumable`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_types::Method;
use ring::digest::{self, Algorithm};
use serde_json::{Value, json};

use crate::error::{Error, Kind, Result};
use crate::http::{Request, Response, StatusCode, date};
use crate::jobs::job::JobId;
use crate::jobs::resumable::{Checksum, Progress};
use crate::media::path::MediaPath;
use crate::routes::{App, Route, answer};
use crate::store::uploads::Row;
use crate::web::url;

const VERSION: &str = "1.0.0";

const EXTENSIONS: &str = "creation,creation-with-upload,expiration,checksum,termination";

/// How checksums may be made. tus asks for the first; clients that care choose another.
const ALGORITHMS: [(&str, &Algorithm); 3] = [
    ("sha1", &digest::SHA1_FOR_LEGACY_USE_ONLY),
    ("sha256", &digest::SHA256),
    ("sha512", &digest::SHA512),
];

/// The type of the bytes that are sent.
const BYTES: &str = "application/offset+octet-stream";

/// The longest `Upload-Metadata` that is kept.
const METADATA: usize = 4096;

/// Adds to the answer of OPTIONS what tus asks for.
pub(super) fn advertise(app: &App, route: &Route, response: Response) -> Response {
    if !matches!(route, Route::ApiUploads | Route::ApiUpload(_)) {
        return response;
    }
    let algorithms: Vec<&str> = ALGORITHMS.iter().map(|(name, _)| *name).collect();
    response
        .header("tus-version", VERSION)
        .header("tus-extension", EXTENSIONS)
        .header("tus-max-size", app.config.limits.upload.to_string())
        .header("tus-checksum-algorithm", algorithms.join(","))
}

/// Adds to every answer of these routes, refusals too, which version they speak.
pub(super) fn mark(request: &Request, response: Response) -> Response {
    match request.path().starts_with("/api/uploads") {
        true => response.header("tus-resumable", VERSION),
        false => response,
    }
}

/// `POST /api/uploads` begins an upload.
pub(super) async fn create(app: &App, request: &mut Request) -> Result<Response> {
    app.access().require_admin(request).await?;
    check_version(request)?;
    let length = number(request, "upload-length")?.ok_or_else(|| {
        Error::new(
            Kind::BadRequest,
            "missing_length",
            "Upload-Length must say how many bytes the file has.",
        )
    })?;
    let metadata = request
        .header("upload-metadata")
        .unwrap_or_default()
        .to_owned();
    let name = file_name(&metadata)?;
    let carries = is_bytes(request);
    let checksum = checksum(request)?;
    let row = app.resumable.create(&name, &metadata, length).await?;
    let location = format!("/api/uploads/{}", row.id);
    let mut at = 0;
    // An empty file is whole already, and refused for what it is.
    if carries || length == 0 {
        let mut body = request.body();
        let appended = app.resumable.append(&row.id, 0, &mut body, checksum);
        at = reached(appended.await?, length);
    }
    Ok(Response::new(StatusCode::Created)
        .header("location", location)
        .header("upload-offset", at.to_string())
        .header("upload-expires", expires(&row)))
}

/// `HEAD`, `PATCH`, `DELETE` and `GET /api/uploads/{id}`; `POST` with `X-HTTP-Method-Override` for whoever cannot say
/// it.
pub(super) async fn one(app: &App, request: &mut Request, id: &str) -> Result<Response> {
    app.access().require_admin(request).await?;
    let method = match (request.method(), request.header("x-http-method-override")) {
        (Method::Post, Some(method)) => method.to_ascii_uppercase(),
        (method, _) => method.to_string(),
    };
    if method == "GET" {
        let row = app.resumable.get(id).await?;
        return Ok(answer::json(StatusCode::Ok, &describe(app, &row)));
    }
    check_version(request)?;
    match method.as_str() {
        "HEAD" => {
            let row = app.resumable.settled(id).await?;
            let response = Response::new(StatusCode::Ok)
                .header("cache-control", "no-store")
                .header("upload-offset", row.at.to_string())
                .header("upload-length", row.length.to_string())
                .header("upload-expires", expires(&row));
            Ok(match row.metadata.is_empty() {
                true => response,
                false => response.header("upload-metadata", row.metadata),
            })
        }
        "PATCH" => patch(app, request, id).await,
        "DELETE" => {
            app.resumable.remove(id).await?;
            Ok(Response::new(StatusCode::NoContent))
        }
        _ => Ok(answer::method_not_allowed(
            request,
            &Route::ApiUpload(id.to_owned()),
        )),
    }
}

async fn patch(app: &App, request: &mut Request, id: &str) -> Result<Response> {
    if !is_bytes(request) {
        return Err(Error::new(
            Kind::Unsupported,
            "not_an_upload",
            format!("The bytes of an upload are sent as {BYTES}."),
        ));
    }
    let offset = number(request, "upload-offset")?.ok_or_else(|| {
        Error::new(
            Kind::BadRequest,
            "missing_offset",
            "Upload-Offset must say where the bytes belong.",
        )
    })?;
    let checksum = checksum(request)?;
    let row = app.resumable.get(id).await?;
    if let Some(length) = request.content_length() {
        if length > row.length.saturating_sub(offset) {
            return Err(Error::new(
                Kind::TooLarge,
                "payload_too_large",
                "These are more bytes than the upload was said to have; begin one of the right length.",
            ));
        }
    }
    let mut body = request.body();
    let appended = app.resumable.append(id, offset, &mut body, checksum);
    let at = reached(appended.await?, row.length);
    let row = app.resumable.get(id).await?;
    Ok(Response::new(StatusCode::NoContent)
        .header("upload-offset", at.to_string())
        .header("upload-expires", expires(&row)))
}

fn reached(progress: Progress, length: u64) -> u64 {
    match progress {
        Progress::At(at) => at,
        Progress::Whole(_) => length,
    }
}

/// How an upload stands, and the file that became of it.
fn describe(app: &App, row: &Row) -> Value {
    let record: Option<Value> = row
        .result
        .as_deref()
        .and_then(|result| serde_json::from_str(result).ok());
    let mut told = json!({
        "id": row.id,
        "name": row.name,
        "length": row.length,
        "offset": row.at,
        "expires": date::rfc3339(u64::try_from(row.expires).unwrap_or(0)),
    });
    let Some(record) = record else {
        return told;
    };
    let path = record["path"]
        .as_str()
        .and_then(|path| MediaPath::new(path.as_bytes()));
    if let Some(path) = path {
        let job = record["job"].as_u64().map(JobId);
        let job = job.and_then(|job| app.queue.get(job));
        told["file"] = json!({
            "name": path.text(),
            "status": if record["job"].is_null() { 201 } else { 202 },
            "bytes": record["bytes"],
            "url": url::video(&path),
            "watch": url::video_page(&path),
        });
        if let Some(job) = job {
            told["file"]["job"] = job.describe();
        }
        if !record["note"].is_null() {
            told["file"]["note"] = record["note"].clone();
        }
    }
    told
}

/// Refuses who speaks another version, or none.
fn check_version(request: &Request) -> Result<()> {
    if request.header("tus-resumable") == Some(VERSION) {
        return Ok(());
    }
    Err(Error::new(
        Kind::PreconditionFailed,
        "tus_version",
        format!("Uploads are spoken of here in tus {VERSION}; send Tus-Resumable: {VERSION}."),
    ))
}

fn is_bytes(request: &Request) -> bool {
    let essence = request.header("content-type").unwrap_or_default();
    let essence = essence.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case(BYTES)
}

fn number(request: &Request, name: &str) -> Result<Option<u64>> {
    let Some(text) = request.header(name) else {
        return match request.has(name) {
            false => Ok(None),
            true => Err(bad_header(name)),
        };
    };
    let digits = (1..=18).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(number) if digits => Ok(Some(number)),
        _ => Err(bad_header(name)),
    }
}

fn bad_header(name: &str) -> Error {
    Error::new(
        Kind::BadRequest,
        "malformed_header",
        format!("The header {name} is not what tus says it is; mend the client."),
    )
}

/// `Upload-Metadata := pair *("," pair)`, `pair := key [SP base64]`: the file's name, by either of the keys that
/// clients use.
fn file_name(metadata: &str) -> Result<String> {
    if metadata.len() > METADATA {
        return Err(bad_header("upload-metadata"));
    }
    let mut names = ["filename", "name"].map(|_| None);
    for pair in metadata
        .split(',')
        .map(str::trim)
        .filter(|pair| !pair.is_empty())
    {
        let (key, value) = pair.split_once(' ').unwrap_or((pair, ""));
        let value = STANDARD
            .decode(value.trim())
            .map_err(|_| bad_header("upload-metadata"))?;
        let slot = match key {
            "filename" => 0,
            "name" => 1,
            _ => continue,
        };
        names[slot] = Some(String::from_utf8_lossy(&value).into_owned());
    }
    let [first, second] = names;
    first
        .or(second)
        .filter(|name| !name.is_empty())
        .ok_or_else(|| {
            Error::new(
                Kind::BadRequest,
                "missing_name",
                "Upload-Metadata must have the file's name, as `filename` and its base64.",
            )
        })
}

/// `Upload-Checksum := algorithm SP base64`
fn checksum(request: &Request) -> Result<Option<Checksum>> {
    let Some(text) = request.header("upload-checksum") else {
        return Ok(None);
    };
    let (name, digest) = text
        .split_once(' ')
        .ok_or_else(|| bad_header("upload-checksum"))?;
    let algorithm = ALGORITHMS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, algorithm)| *algorithm)
        .ok_or_else(|| {
            Error::new(
                Kind::BadRequest,
                "checksum_algorithm",
                "Checksums of this kind are not made here; OPTIONS says of which they are.",
            )
        })?;
    let digest = STANDARD
        .decode(digest.trim())
        .map_err(|_| bad_header("upload-checksum"))?;
    Ok(Some(Checksum { algorithm, digest }))
}

fn expires(row: &Row) -> String {
    date::format(u64::try_from(row.expires).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_metadata() {
        let name = |metadata: &str| file_name(metadata).map_err(|error| error.code());
        assert_eq!(name("filename w6kubXA0"), Ok("é.mp4".to_owned()));
        assert_eq!(name("name YQ==,filename Yg=="), Ok("b".to_owned()));
        assert_eq!(name("is_confidential, name YQ=="), Ok("a".to_owned()));
        assert_eq!(name("filename /w=="), Ok("\u{fffd}".to_owned()));
        assert_eq!(name(""), Err("missing_name"));
        assert_eq!(name("filename"), Err("missing_name"));
        assert_eq!(name("filename !!"), Err("malformed_header"));
        assert_eq!(name(&"a".repeat(METADATA + 1)), Err("malformed_header"));
    }

    #[test]
    fn checksums_and_numbers() {
        let request = |name: &str, value: &str| {
            Request::for_test(Method::Patch, "/api/uploads/x", &[(name, value)])
        };
        let read =
            |value| checksum(&request("upload-checksum", value)).map_err(|error| error.code());
        assert!(
            matches!(read("sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0="), Ok(Some(sum)) if sum.digest.len() == 20)
        );
        assert_eq!(read("md5 AA==").unwrap_err(), "checksum_algorithm");
        assert_eq!(read("sha1").unwrap_err(), "malformed_header");
        assert_eq!(read("sha1 ?").unwrap_err(), "malformed_header");
        let read = |value| {
            number(&request("upload-offset", value), "upload-offset")
                .ok()
                .flatten()
        };
        assert_eq!(read("12"), Some(12));
        for bad in ["", "-1", "+1", "1e3", "99999999999999999999"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
