//! What Drive says of a file, asked for and understood.
//!
//! A shortcut is followed once; what it points at is the file. Everything in an answer may be missing or of
//! another type than expected. Keeping answers is `shelf`'s business.

use std::time::Instant;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::UNKNOWN_TYPE;
use super::client::{Ask, Reply};
use super::pacer::{Cost, Lane};
use super::reply::{Fault, Refusal};
use super::service::Service;
use super::{FileId, Link, Metadata, ResourceKey, moment};
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
    /// For files shared by link before September 2021.
    pub(super) key: Option<ResourceKey>,
}

impl Known {
    /// The link to the file itself.
    pub(super) fn link(&self) -> Link {
        Link {
            id: self.file.id.clone(),
            key: self.key.clone(),
        }
    }

    /// What `X-Goog-Drive-Resource-Keys` says of it.
    pub(super) fn resource_key(&self) -> Option<String> {
        resource_key(&self.link())
    }
}

struct Shortcut {
    target: Link,
}

/// What an answer is.
enum Answer {
    File(Metadata, Option<ResourceKey>),
    Shortcut(Shortcut),
}

/// Asks for a file's metadata, through a shortcut if it is one; all of it ends at `until`.
///
/// # Errors
/// Drive's refusals; `drive_not_found` for a shortcut that leads nowhere or to another.
pub(super) async fn ask(
    service: &Service,
    link: &Link,
    type_by_name: fn(&str) -> &'static str,
    until: Instant,
) -> Result<Known, Refusal> {
    let Shortcut { target } = match get(service, link, type_by_name, until).await? {
        Answer::File(file, key) => return Ok(known(file, key.or(link.key.clone()))),
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
    match get(service, &target, type_by_name, until).await {
        Ok(Answer::File(file, key)) => Ok(known(file, key.or(target.key))),
        Ok(Answer::Shortcut(_)) => Err(lost("to another shortcut")),
        Err(refusal) if refusal.code == "drive_not_found" => {
            Err(lost("whose file is gone or not shared with rill"))
        }
        Err(refusal) => Err(refusal),
    }
}

fn known(file: Metadata, key: Option<ResourceKey>) -> Known {
    Known {
        file: std::sync::Arc::new(file),
        key,
    }
}

/// The header with the key of a link.
fn resource_key(link: &Link) -> Option<String> {
    let key = link.key.as_ref()?;
    Some(key.header(link.id.as_str()))
}

async fn get(
    service: &Service,
    link: &Link,
    type_by_name: fn(&str) -> &'static str,
    until: Instant,
) -> Result<Answer, Refusal> {
    let fields = utf8_percent_encode(FIELDS, QUERY);
    let id = &link.id;
    let ask = Ask {
        url: format!(
            "{}/drive/v3/files/{}?supportsAllDrives=true&fields={fields}",
            service.endpoint,
            id.as_str()
        ),
        resource_key: resource_key(link),
        ..Ask::default()
    };
    let value = service
        .insist_until(Lane::Metadata, Cost::Get, &ask, read_file, until)
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
    texts && (value["size"].is_null() || size(value).is_some())
}

/// A key that can stand in a header.
pub(super) fn key(value: &Value) -> Option<ResourceKey> {
    ResourceKey::parse(value.as_str()?).ok()
}

/// A number, or the digits Drive writes for a 64-bit one.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// The length; Drive's are signed, and so a sum of two of them is a number still.
fn size(value: &Value) -> Option<u64> {
    number(&value["size"]).filter(|size| i64::try_from(*size).is_ok())
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
            target: Link {
                id: target,
                key: key(&details["targetResourceKey"]),
            },
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
        size: size(value),
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
        assert!(!is_file(
            &json!({"id": "a", "name": "n", "mimeType": "b", "size": "18446744073709551615"})
        ));
        assert!(!is_file(&json!([])));
    }

    #[test]
    fn shortcuts_trash_and_keys() {
        let id = FileId::parse("0123456789").unwrap();
        let shortcut = json!({"mimeType": SHORTCUT, "shortcutDetails": {"targetId": "abcdefghij", "targetResourceKey": "0-k_"}});
        match read(&shortcut, &id, by_name) {
            Ok(Answer::Shortcut(to)) => assert_eq!(
                (to.target.id.as_str(), to.target.key),
                ("abcdefghij", ResourceKey::parse("0-k_").ok())
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
