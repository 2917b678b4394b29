//! What Drive says of a file, asked for and understood.
//!
//! A shortcut is followed once; what it points at is the file. Everything in an answer may be missing or of
//! another type than expected. Keeping answers is `shelf`'s business.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::UNKNOWN_TYPE;
use super::client::{Ask, Reply};
use super::pacer::{Cost, Lane};
use super::reply::{Fault, Refusal};
use super::service::Service;
use super::{FileId, Metadata, moment};
use crate::error::Kind;

/// Bytes of one answer: metadata are a kilobyte, a page of a listing up to a thousand names.
const ANSWER: u64 = 1024 * 1024;
const FIELDS: &str = "id,name,mimeType,size,md5Checksum,modifiedTime,parents,resourceKey,trashed,\
                      shortcutDetails(targetId,targetMimeType,targetResourceKey),\
                      videoMediaMetadata(width,height,durationMillis)";
/// How Google types shortcuts.
pub(super) const SHORTCUT: &str = "application/vnd.google-apps.shortcut";
/// What goes unescaped into a query (RFC 3986 section 2.3, and the comma, which Google expects).
pub(super) const QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b',');

/// A file with what is needed to open it beside its [`Metadata`].
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) file: std::sync::Arc<Metadata>,
    /// `ID/KEY`, for files shared by link before 2021.
    pub(super) resource_key: Option<String>,
}

struct Shortcut {
    target: FileId,
    key: Option<String>,
}

/// What an answer is.
enum Answer {
    File(Metadata, Option<String>),
    Shortcut(Shortcut),
}

/// Asks for a file's metadata, through a shortcut if it is one.
///
/// # Errors
/// Drive's refusals; `drive_not_found` for a shortcut that leads nowhere or to another.
pub(super) async fn ask(
    service: &Service,
    id: &FileId,
    type_by_name: fn(&str) -> &'static str,
) -> Result<Known, Refusal> {
    let shortcut = match get(service, id, None, type_by_name).await? {
        Answer::File(file, key) => return Ok(known(file, key)),
        Answer::Shortcut(shortcut) => shortcut,
    };
    let lost = |what| {
        Refusal::new(
            Kind::NotFound,
            "drive_not_found",
            format!(
                "This is a shortcut on Google Drive {what}; make a new one, or use the file's own link."
            ),
        )
    };
    match get(
        service,
        &shortcut.target,
        shortcut.key.as_deref(),
        type_by_name,
    )
    .await
    {
        Ok(Answer::File(file, key)) => Ok(known(file, key.or(shortcut.key))),
        Ok(Answer::Shortcut(_)) => Err(lost("to another shortcut")),
        Err(refusal) if refusal.code == "drive_not_found" => {
            Err(lost("whose file is gone or not shared with rill"))
        }
        Err(refusal) => Err(refusal),
    }
}

fn known(file: Metadata, key: Option<String>) -> Known {
    let resource_key = key.map(|key| resource_key(&file.id, &key));
    Known {
        file: std::sync::Arc::new(file),
        resource_key,
    }
}

fn resource_key(id: &FileId, key: &str) -> String {
    format!("{}/{key}", id.as_str())
}

async fn get(
    service: &Service,
    id: &FileId,
    key: Option<&str>,
    type_by_name: fn(&str) -> &'static str,
) -> Result<Answer, Refusal> {
    let fields = utf8_percent_encode(FIELDS, QUERY);
    let ask = Ask {
        url: format!(
            "{}/drive/v3/files/{}?supportsAllDrives=true&fields={fields}",
            service.endpoint,
            id.as_str()
        ),
        resource_key: key.map(|key| resource_key(id, key)),
        ..Ask::default()
    };
    let value = service
        .insist(Lane::Metadata, Cost::Get, &ask, read_file)
        .await?;
    read(&value, id, type_by_name)
}

/// Reads an answer as JSON.
///
/// # Errors
/// It is not, or it broke off.
pub(super) fn read_json(reply: Reply, _: &Ask) -> Result<Value, Fault> {
    let value: Value = serde_json::from_slice(&reply.read(ANSWER)?)
        .map_err(|error| Fault::Nonsense(format!("an answer that is not JSON: {error}")))?;
    if value.is_object() {
        Ok(value)
    } else {
        Err(Fault::Nonsense("an answer that is no object".to_owned()))
    }
}

/// Reads an answer that describes a file; one that lacks what every file has is worth another try.
fn read_file(reply: Reply, ask: &Ask) -> Result<Value, Fault> {
    let value = read_json(reply, ask)?;
    if is_file(&value) {
        Ok(value)
    } else {
        Err(Fault::Nonsense(
            "an answer that describes no file".to_owned(),
        ))
    }
}

fn is_file(value: &Value) -> bool {
    let texts = ["id", "name", "mimeType"]
        .iter()
        .all(|field| value[*field].is_string());
    texts && (value["size"].is_null() || number(&value["size"]).is_some())
}

/// A key that can stand in a header.
fn key(value: &Value) -> Option<String> {
    let text = value.as_str()?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (!text.is_empty() && text.len() <= 128 && text.bytes().all(plain)).then(|| text.to_owned())
}

/// A number, or the digits Drive writes for a 64-bit one.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

fn read(
    value: &Value,
    asked: &FileId,
    type_by_name: fn(&str) -> &'static str,
) -> Result<Answer, Refusal> {
    let text = |field: &str| value[field].as_str().map(str::to_owned);
    let mime_type = text("mimeType").unwrap_or_default();
    if value["trashed"] == true {
        return Err(Refusal::new(
            Kind::NotFound,
            "drive_not_found",
            "This file lies in the trash of Google Drive; restore it there to play it.",
        ));
    }
    if mime_type == SHORTCUT {
        let details = &value["shortcutDetails"];
        let target = details["targetId"]
            .as_str()
            .and_then(|id| FileId::parse(id).ok());
        let target = target.ok_or_else(|| {
            Refusal::new(
                Kind::NotFound,
                "drive_not_found",
                "This is a shortcut on Google Drive that leads nowhere; make a new one.",
            )
        })?;
        return Ok(Answer::Shortcut(Shortcut {
            target,
            key: key(&details["targetResourceKey"]),
        }));
    }
    let name = text("name").unwrap_or_default();
    let vague = mime_type.is_empty() || mime_type == UNKNOWN_TYPE;
    let mime_type = if vague {
        type_by_name(&name).to_owned()
    } else {
        mime_type
    };
    let video = &value["videoMediaMetadata"];
    let pixels = |field: &str| number(&video[field]).and_then(|n| u32::try_from(n).ok());
    let md5 = text("md5Checksum")
        .filter(|sum| sum.len() == 32 && sum.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let modified_text = text("modifiedTime");
    let file = Metadata {
        // Drive answers with the id that was asked for; should it not, the one it knows is right.
        id: value["id"]
            .as_str()
            .and_then(|id| FileId::parse(id).ok())
            .unwrap_or_else(|| asked.clone()),
        name,
        mime_type,
        size: number(&value["size"]),
        md5,
        modified: modified_text.as_deref().and_then(moment::parse_rfc3339),
        modified_text,
        duration_ms: number(&video["durationMillis"]),
        width: pixels("width"),
        height: pixels("height"),
        parent: value["parents"][0].as_str().map(str::to_owned),
    };
    Ok(Answer::File(file, key(&value["resourceKey"])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn by_name(name: &str) -> &'static str {
        if name.ends_with(".mkv") {
            "video/x-matroska"
        } else {
            "application/octet-stream"
        }
    }

    fn file(value: &Value) -> Metadata {
        let id = FileId::parse("0123456789").unwrap();
        match read(value, &id, by_name) {
            Ok(Answer::File(file, _)) => file,
            _ => panic!("not a file"),
        }
    }

    #[test]
    fn strings_become_numbers_and_names_types() {
        let file = file(&json!({
            "id": "abcdefghij", "name": "a.mkv", "mimeType": "application/octet-stream", "size": "12884901888",
            "md5Checksum": "0123456789abcdef0123456789abcdef", "modifiedTime": "2024-02-29T00:00:00.000Z",
            "parents": ["p"], "videoMediaMetadata": {"width": 1920, "height": "1080", "durationMillis": "5000"},
        }));
        assert_eq!(
            (file.id.as_str(), file.mime_type.as_str()),
            ("abcdefghij", "video/x-matroska")
        );
        assert_eq!(
            (file.size, file.duration_ms),
            (Some(12_884_901_888), Some(5000))
        );
        assert_eq!(
            (file.width, file.height, file.parent.as_deref()),
            (Some(1920), Some(1080), Some("p"))
        );
        assert!(file.modified.is_some() && file.md5.is_some());
    }

    #[test]
    fn nothing_in_an_answer_is_relied_on() {
        for value in [
            json!({}),
            json!({"id": 7, "name": [], "size": "-1", "parents": {}, "videoMediaMetadata": []}),
            json!({"size": 1e300, "md5Checksum": "\"\r\n", "modifiedTime": "yesterday"}),
        ] {
            assert!(!is_file(&value), "{value}");
            let file = file(&value);
            assert_eq!(
                (file.id.as_str(), file.size, file.md5, file.modified),
                ("0123456789", None, None, None)
            );
        }
    }

    #[test]
    fn a_file_has_a_name_and_a_type() {
        assert!(is_file(&json!({"id": "a", "name": "", "mimeType": "b"})));
        assert!(is_file(
            &json!({"id": "a", "name": "n", "mimeType": "b", "size": "7"})
        ));
        assert!(!is_file(
            &json!({"id": "a", "name": "n", "mimeType": "b", "size": "many"})
        ));
        assert!(!is_file(&json!([])));
    }

    #[test]
    fn shortcuts_trash_and_keys() {
        let id = FileId::parse("0123456789").unwrap();
        let shortcut = json!({"mimeType": SHORTCUT, "shortcutDetails": {"targetId": "abcdefghij", "targetResourceKey": "0-k_"}});
        match read(&shortcut, &id, by_name) {
            Ok(Answer::Shortcut(to)) => assert_eq!(
                (to.target.as_str(), to.key.as_deref()),
                ("abcdefghij", Some("0-k_"))
            ),
            _ => panic!("not a shortcut"),
        }
        for lost in [json!({"mimeType": SHORTCUT}), json!({"trashed": true})] {
            assert_eq!(
                read(&lost, &id, by_name).err().unwrap().code,
                "drive_not_found"
            );
        }
        assert_eq!(key(&json!("a\r\nb")), None);
    }
}
