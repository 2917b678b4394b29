//! What each route of the fake answers, and in what shape Google refuses.

use std::collections::HashSet;
use std::io::Write;
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::conn::{Answer, Asked, Body};
use super::fault::{Kind, Plan, Refusal};
use super::file::{self, Content, File};
use super::query::{Fields, Query};
use super::{EMAIL, Shared, State, token};

/// What kind of request it is, and the file it names.
pub(super) fn kind(asked: &Asked) -> (Kind, Option<String>) {
    if asked.path == "/token" {
        return (Kind::Token, None);
    }
    let Some(rest) = asked.path.strip_prefix("/drive/v3/") else {
        return (Kind::Other, None);
    };
    if rest == "files" {
        return (Kind::List, None);
    }
    let Some(rest) = rest.strip_prefix("files/") else {
        return (Kind::Other, None);
    };
    let (id, export) = match rest.strip_suffix("/export") {
        Some(id) => (id, true),
        None => (rest, false),
    };
    let media = export || parameter(asked, "alt").as_deref() == Some("media");
    (
        if media { Kind::Media } else { Kind::Metadata },
        Some(id.to_owned()),
    )
}

/// Answers a request: rules first, then credentials, then the request's own mistakes, as Google does.
pub(super) fn answer(
    shared: &Arc<Shared>,
    asked: &Asked,
    kind: Kind,
    id: Option<&str>,
    plan: &Plan,
) -> Answer {
    let mut state = shared.state();
    if plan.expire_tokens {
        state.tokens.clear();
    }
    if let Some(refusal) = &plan.refuse {
        return refuse(asked, refusal);
    }
    if let Some(base) = &plan.redirect {
        let location = format!("{base}{}?{}", asked.path, asked.query);
        return Answer {
            status: 307,
            headers: vec![
                ("Location", location),
                ("Content-Type", "text/html".to_owned()),
            ],
            body: Body::Bytes(b"<HTML><BODY>Moved</BODY></HTML>".to_vec()),
        };
    }
    let verb = if kind == Kind::Token { "POST" } else { "GET" };
    if asked.method != verb || !known(&asked.path) {
        return page(404);
    }
    if kind == Kind::Token {
        let form = pairs(&String::from_utf8_lossy(&asked.body));
        let (status, value) = token::grant(&mut state, &form, &shared.endpoint());
        return json_answer(asked, status, &value);
    }
    if !state.anyone {
        match asked.header("authorization") {
            None => {
                let message = "Method doesn't allow unregistered callers (callers without \
                               established identity). Please use API Key or other form of API \
                               consumer identity to call this API.";
                return error(asked, 403, "forbidden", message);
            }
            Some(authorization) if !token::holds(&state, authorization) => {
                let mut answer = error(asked, 401, "authError", "Invalid Credentials");
                let challenge =
                    r#"Bearer realm="https://accounts.google.com/", error="invalid_token""#;
                answer
                    .headers
                    .push(("WWW-Authenticate", challenge.to_owned()));
                return answer;
            }
            Some(_) => {}
        }
    }
    match (kind, id) {
        (Kind::Metadata, Some(id)) => metadata(&state, asked, id),
        (Kind::Media, Some(id)) => media(&state, asked, id, plan),
        (Kind::List, _) => list(&state, asked, plan),
        _ => match asked.path.strip_prefix("/drive/v3/") {
            Some("about") => about(asked),
            Some("changes/startPageToken") => {
                let token = (state.changes.len() + 1).to_string();
                let value = json!({ "kind": "drive#startPageToken", "startPageToken": token });
                json_answer(asked, 200, &value)
            }
            _ => changes(&state, asked, plan),
        },
    }
}

fn known(path: &str) -> bool {
    let Some(rest) = path.strip_prefix("/drive/v3/") else {
        return path == "/token";
    };
    match rest.split('/').collect::<Vec<_>>()[..] {
        ["files" | "about" | "changes"] => true,
        ["files", id] | ["files", id, "export"] => !id.is_empty(),
        ["changes", "startPageToken"] => true,
        _ => false,
    }
}

/// A file that this request may see: shared drives and resource keys keep others out.
fn find<'a>(state: &'a State, asked: &Asked, id: &str) -> Option<&'a Arc<File>> {
    let id = match (id, &state.my_drive) {
        ("root", Some(own)) => own,
        _ => id,
    };
    let file = state.files.get(id)?;
    if file.shared_drive.is_some() && !flag(asked, "supportsAllDrives") {
        return None;
    }
    opens(file, asked).then_some(file)
}

/// Whether a request has the key of a file, if it needs one.
fn opens(file: &File, asked: &Asked) -> bool {
    let Some(key) = &file.resource_key else {
        return true;
    };
    let keys = asked
        .header("x-goog-drive-resource-keys")
        .unwrap_or_default();
    let pair = format!("{}/{key}", file.id);
    keys.split(',').any(|given| given.trim() == pair)
}

fn missing(asked: &Asked, id: &str) -> Answer {
    error(asked, 404, "notFound", &format!("File not found: {id}."))
}

fn metadata(state: &State, asked: &Asked, id: &str) -> Answer {
    let Some(file) = find(state, asked, id) else {
        return missing(asked, id);
    };
    picked(asked, &file.describe(), "kind,id,name,mimeType")
}

/// The answer with the fields that were asked for, or those Google sends by itself.
fn picked(asked: &Asked, value: &Value, default: &str) -> Answer {
    let text = parameter(asked, "fields").unwrap_or_else(|| default.to_owned());
    match Fields::parse(&text) {
        Some(fields) => json_answer(asked, 200, &fields.pick(value)),
        None => error(
            asked,
            400,
            "invalidParameter",
            &format!("Invalid field selection {text}"),
        ),
    }
}

fn media(state: &State, asked: &Asked, id: &str, plan: &Plan) -> Answer {
    let Some(file) = find(state, asked, id) else {
        return missing(asked, id);
    };
    if asked.path.ends_with("/export") {
        return export(asked, file);
    }
    let refusal = if file.is_google() {
        Some("fileNotDownloadable")
    } else if file.no_download {
        Some("cannotDownloadFile")
    } else if file.abusive && !flag(asked, "acknowledgeAbuse") {
        Some("cannotDownloadAbusiveFile")
    } else {
        None
    };
    if let Some(reason) = refusal {
        return refuse(asked, &Refusal::new(403, reason));
    }
    let size = file.content.len();
    let mut headers = vec![
        ("Content-Type", file.mime.clone()),
        ("Content-Disposition", "attachment".to_owned()),
        (
            "Cache-Control",
            "private, max-age=0, must-revalidate".to_owned(),
        ),
        ("Vary", "Origin, X-Origin".to_owned()),
    ];
    let range = asked.header("range").filter(|_| !plan.ignore_range);
    match file::asked(range, size) {
        file::Asked::Whole => Answer {
            status: 200,
            headers,
            body: Body::File(file.content.clone(), 0..size),
        },
        file::Asked::Nothing => {
            let mut answer = error(
                asked,
                416,
                "requestedRangeNotSatisfiable",
                "Request range not satisfiable",
            );
            answer
                .headers
                .push(("Content-Range", format!("bytes */{size}")));
            answer
        }
        file::Asked::Part(range) => {
            let body = (range.start + plan.shift_body)
                ..(range.end + plan.shift_body + plan.longer)
                    .saturating_sub(plan.shorter)
                    .max(range.start + plan.shift_body);
            let by = plan.shift_content_range + plan.shift_body;
            let value = format!("bytes {}-{}/{size}", range.start + by, range.end - 1 + by);
            headers.push(("Content-Range", value));
            Answer {
                status: 206,
                headers,
                body: Body::File(file.content.clone(), body),
            }
        }
    }
}

/// A document in another form; ranges are ignored, and plain text begins with a byte-order mark.
fn export(asked: &Asked, file: &File) -> Answer {
    let Some(mime) = parameter(asked, "mimeType") else {
        return error(asked, 400, "required", "Required parameter: mimeType");
    };
    let Content::Bytes(text) = &file.content else {
        return error(
            asked,
            403,
            "fileNotExportable",
            "Export only supports Docs Editors files.",
        );
    };
    if !file.is_google() {
        return error(
            asked,
            403,
            "fileNotExportable",
            "Export only supports Docs Editors files.",
        );
    }
    let mut bytes = Vec::new();
    match &*mime {
        "text/plain" => bytes.extend_from_slice("\u{feff}".as_bytes()),
        "application/pdf" => bytes.extend_from_slice(b"%PDF-1.4\n"),
        "text/csv" | "text/html" | "application/zip" => {}
        _ => {
            return error(
                asked,
                400,
                "badRequest",
                "The requested conversion is not supported.",
            );
        }
    }
    bytes.extend_from_slice(text);
    Answer {
        status: 200,
        headers: vec![
            ("Content-Type", mime),
            ("Content-Disposition", "attachment".to_owned()),
        ],
        body: Body::Chunked(bytes),
    }
}

fn list(state: &State, asked: &Asked, plan: &Plan) -> Answer {
    let query = match parameter(asked, "q").filter(|text| !text.is_empty()) {
        None => None,
        Some(text) => match Query::parse(&text) {
            Some(query) => Some(query),
            None => return error(asked, 400, "invalid", "Invalid Value"),
        },
    };
    let all = flag(asked, "includeItemsFromAllDrives");
    if all && !flag(asked, "supportsAllDrives") {
        let message = "The supportsAllDrives parameter must be set to true if \
                       includeItemsFromAllDrives is true.";
        return error(asked, 403, "teamDrivesParentLimit", message);
    }
    if parameter(asked, "corpora").as_deref() == Some("drive")
        && parameter(asked, "driveId").is_none()
    {
        let message = "The driveId parameter must be specified if corpora is set to drive.";
        return error(asked, 400, "teamDriveIdRequired", message);
    }
    if let Some(query) = &query {
        let unknown = |id: &&str| {
            let file = state.files.get(*id);
            *id != "root" && !file.is_some_and(|file| opens(file, asked))
        };
        if query.folders().iter().any(unknown) {
            return error(asked, 404, "notFound", "File not found: .");
        }
    }
    // A large drive is asked for a hundred folders at once; most files lie in none of them.
    let folders: Option<HashSet<&str>> = query
        .as_ref()
        .filter(|query| query.is_below_folders())
        .map(|query| query.folders().into_iter().collect());
    let found: Vec<&Arc<File>> = (state.files.values())
        .filter(|file| match &folders {
            None => true,
            Some(folders) => file.parents.iter().any(|id| folders.contains(id.as_str())),
        })
        .filter(|file| query.as_ref().is_none_or(|query| query.fits(file)))
        .filter(|file| file.shared_drive.is_none() || all)
        .collect();
    let page = match page_of(asked, plan, "~page-", found.len(), 0) {
        Ok(page) => page,
        Err(answer) => return *answer,
    };
    let files: Vec<Value> = found[page.0.clone()]
        .iter()
        .map(|file| file.describe())
        .collect();
    let mut value = json!({ "kind": "drive#fileList", "incompleteSearch": false, "files": files });
    if let Some(next) = page.1 {
        value["nextPageToken"] = json!(next);
    }
    let default = "kind,incompleteSearch,nextPageToken,files(kind,id,name,mimeType)";
    picked(asked, &value, default)
}

/// Changes by position: a page token is the number of the first change to tell.
fn changes(state: &State, asked: &Asked, plan: &Plan) -> Answer {
    let Some(token) = parameter(asked, "pageToken") else {
        return error(asked, 400, "required", "Required parameter: pageToken");
    };
    let Some(first) = token
        .parse::<usize>()
        .ok()
        .filter(|first| (1..=state.changes.len() + 1).contains(first))
    else {
        return error(asked, 400, "invalid", "Invalid Value");
    };
    let limit = parameter(asked, "pageSize")
        .and_then(|text| text.parse().ok())
        .unwrap_or(100_usize);
    let limit = plan.page_of.unwrap_or(usize::MAX).min(limit.clamp(1, 1000));
    let last = (first - 1 + limit).min(state.changes.len());
    let told = &state.changes[first - 1..last];
    let entries: Vec<Value> = (told.iter().enumerate())
        // A file that changed again later is told then.
        .filter(|(i, (id, _))| {
            !state.changes[first + i..]
                .iter()
                .any(|(later, _)| later == id)
        })
        .map(|(_, (id, removed))| {
            let mut entry = json!({
                "kind": "drive#change",
                "changeType": "file",
                "fileId": id,
                "removed": removed,
                "time": "2026-03-14T09:26:53.589Z",
            });
            if let Some(file) = state.files.get(id).filter(|_| !removed) {
                entry["file"] = file.describe();
            }
            entry
        })
        .collect();
    let mut value = json!({ "kind": "drive#changeList", "changes": entries });
    let next = (last + 1).to_string();
    let name = if last < state.changes.len() {
        "nextPageToken"
    } else {
        "newStartPageToken"
    };
    value[name] = json!(next);
    let default = "kind,nextPageToken,newStartPageToken,changes(kind,changeType,fileId,removed,time,file(kind,id,name,mimeType))";
    picked(asked, &value, default)
}

type Page = (std::ops::Range<usize>, Option<String>);

/// The part of `len` entries that a page holds, and the token of the next.
fn page_of(
    asked: &Asked,
    plan: &Plan,
    prefix: &str,
    len: usize,
    first: usize,
) -> Result<Page, Box<Answer>> {
    let start = match parameter(asked, "pageToken") {
        None => first,
        Some(token) => {
            let start = token
                .strip_prefix(prefix)
                .and_then(|text| text.parse().ok());
            match start.filter(|start| *start <= len) {
                Some(start) => start,
                None => return Err(Box::new(error(asked, 400, "invalid", "Invalid Value"))),
            }
        }
    };
    let size = parameter(asked, "pageSize").map_or(Ok(100_usize), |text| text.parse());
    let Some(size) = size.ok().filter(|size| (1..=1000).contains(size)) else {
        let message = "Invalid value. Values must be within the range: [1, 1000]";
        return Err(Box::new(error(asked, 400, "invalidParameter", message)));
    };
    let end = (start + plan.page_of.unwrap_or(size).min(size)).min(len);
    Ok((start..end, (end < len).then(|| format!("{prefix}{end}"))))
}

fn about(asked: &Asked) -> Answer {
    if parameter(asked, "fields").is_none() {
        let message = "The 'fields' parameter is required for this method.";
        return error(asked, 400, "required", message);
    }
    let value = json!({
        "kind": "drive#about",
        "user": {
            "kind": "drive#user",
            "displayName": EMAIL,
            "me": true,
            "permissionId": "00000000000000000001",
            "emailAddress": EMAIL,
        },
        "storageQuota": { "limit": "16106127360", "usage": "0" },
    });
    picked(asked, &value, "kind")
}

/// Google's JSON for a refusal.
fn error(asked: &Asked, status: u16, reason: &str, message: &str) -> Answer {
    let domain = match reason {
        "rateLimitExceeded" | "userRateLimitExceeded" | "dailyLimitExceeded" => "usageLimits",
        _ => "global",
    };
    let value = json!({
        "error": {
            "code": status,
            "message": message,
            "errors": [{ "message": message, "domain": domain, "reason": reason }],
        }
    });
    json_answer(asked, status, &value)
}

fn refuse(asked: &Asked, refusal: &Refusal) -> Answer {
    let mut answer = if refusal.html {
        page(refusal.status)
    } else {
        error(asked, refusal.status, &refusal.reason, &refusal.message)
    };
    if let Some(delay) = &refusal.retry_after {
        answer.headers.push(("Retry-After", delay.clone()));
    }
    answer
}

/// The page that Google's front ends send.
fn page(status: u16) -> Answer {
    let phrase = phrase(status);
    let text = format!(
        "<!DOCTYPE html>\n<html lang=en>\n<title>Error {status} ({phrase})!!1</title>\n\
         <p><b>{status}.</b> <ins>That\u{2019}s an error.</ins>\n"
    );
    Answer {
        status,
        headers: vec![("Content-Type", "text/html; charset=UTF-8".to_owned())],
        body: Body::Bytes(text.into_bytes()),
    }
}

fn json_answer(asked: &Asked, status: u16, value: &Value) -> Answer {
    let text = serde_json::to_vec_pretty(value).unwrap_or_default();
    let mut headers = vec![
        ("Content-Type", "application/json; charset=UTF-8".to_owned()),
        ("Vary", "Origin, X-Origin, Referer".to_owned()),
    ];
    let codings = asked.header("accept-encoding").unwrap_or_default();
    let gzip = codings
        .split(',')
        .any(|coding| coding.split(';').next().map(str::trim) == Some("gzip"));
    let bytes = if gzip {
        headers.push(("Content-Encoding", "gzip".to_owned()));
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder
            .write_all(&text)
            .and_then(|()| encoder.finish())
            .unwrap_or_default()
    } else {
        text
    };
    Answer {
        status,
        headers,
        body: Body::Chunked(bytes),
    }
}

/// The names and values of a query or a form.
fn pairs(text: &str) -> Vec<(String, String)> {
    let decode = |part: &str| {
        let spaced = part.replace('+', " ");
        percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
    };
    (text.split('&').filter(|pair| !pair.is_empty()))
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
        .collect()
}

fn parameter(asked: &Asked, name: &str) -> Option<String> {
    pairs(&asked.query)
        .into_iter()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value)
}

fn flag(asked: &Asked, name: &str) -> bool {
    parameter(asked, name).as_deref() == Some("true")
}

/// The phrase of a status line.
pub(super) fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        206 => "Partial Content",
        307 => "Temporary Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        416 => "Requested Range Not Satisfiable",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Other",
    }
}

/// `Date` for `seconds` since 1970 (RFC 9110 section 5.6.7).
pub(super) fn http_date(seconds: i64) -> String {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let names = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let leap = |year: i64| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let (mut year, mut day) = (1970, days);
    while day >= 365 + i64::from(leap(year)) {
        day -= 365 + i64::from(leap(year));
        year += 1;
    }
    let lengths = [
        31,
        28 + i64::from(leap(year)),
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ];
    let mut month = 0;
    while day >= lengths[month] {
        day -= lengths[month];
        month += 1;
    }
    format!(
        "{}, {:02} {} {year} {:02}:{:02}:{:02} GMT",
        names[days.rem_euclid(7) as usize],
        day + 1,
        months[month],
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}
