//! What lies in a folder on Drive: films for the start page, subtitles beside a video.

use std::sync::Arc;

use percent_encoding::utf8_percent_encode;
use serde_json::Value;

use super::client::Ask;
use super::metadata::{self, QUERY, read_json};
use super::pacer::{Cost, Lane};
use super::reply::Refusal;
use super::service::Service;
use super::{Child, Drive, FileId, ResourceKey};

/// Pages of 1000 that are looked at; a folder with more has no viewer who waits for it.
const PAGES: usize = 5;

const FIELDS: &str = "nextPageToken,files(id,name,mimeType,resourceKey,\
                      shortcutDetails(targetId,targetMimeType,targetResourceKey))";

impl Drive {
    /// The files of a folder, remembered for a while.
    pub(super) async fn in_folder(&self, folder: &String) -> Result<Arc<Vec<Child>>, Refusal> {
        let inner = &self.inner;
        inner.service.session()?;
        let key = self
            .root_key()
            .filter(|_| inner.root.as_ref() == Some(folder));
        let ask = || async {
            let children = list(&inner.service, folder, key.as_ref()).await;
            children.map(Arc::new)
        };
        inner.folders.get(folder, ask).await
    }
}

/// Every file of a folder, by name. A shortcut is listed as what it leads to, under its own name.
///
/// # Errors
/// Drive's refusals.
pub(super) async fn list(
    service: &Service,
    folder: &str,
    key: Option<&ResourceKey>,
) -> Result<Vec<Child>, Refusal> {
    let query = format!("'{}' in parents and trashed = false", escape(folder));
    let base = format!(
        "{}/drive/v3/files?q={}&pageSize=1000&supportsAllDrives=true&includeItemsFromAllDrives=true&fields={}",
        service.endpoint,
        utf8_percent_encode(&query, QUERY),
        utf8_percent_encode(FIELDS, QUERY),
    );
    let key = key.map(|key| key.header(folder));
    let mut children = Vec::new();
    let mut url = base.clone();
    for _ in 0..PAGES {
        let ask = Ask {
            url,
            resource_key: key.clone(),
            ..Ask::default()
        };
        let page = service
            .insist(Lane::Metadata, Cost::List, &ask, read_json)
            .await?;
        collect(&page, &mut children);
        // A page may be short, or empty, and not the last.
        match page["nextPageToken"].as_str() {
            Some(token) if !token.is_empty() => {
                url = format!("{base}&pageToken={}", utf8_percent_encode(token, QUERY));
            }
            _ => break,
        }
    }
    children.sort_by(|a: &Child, b| a.name.cmp(&b.name));
    Ok(children)
}

fn collect(page: &Value, children: &mut Vec<Child>) {
    for file in page["files"].as_array().into_iter().flatten() {
        let (Some(id), Some(name)) = (file["id"].as_str(), file["name"].as_str()) else {
            continue;
        };
        let details = &file["shortcutDetails"];
        let (id, mime_type, key) = match details["targetId"].as_str() {
            Some(target) => (
                target,
                &details["targetMimeType"],
                &details["targetResourceKey"],
            ),
            None => (id, &file["mimeType"], &file["resourceKey"]),
        };
        if let Ok(id) = FileId::parse(id) {
            children.push(Child {
                id,
                name: name.to_owned(),
                mime_type: mime_type.as_str().unwrap_or_default().to_owned(),
                key: metadata::key(key),
            });
        }
    }
}

/// A string of Drive's query language: `\` and `'` are escaped.
pub(super) fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\'', "\\'")
}

/// Whether a name is that of a subtitle file.
pub(super) fn is_subtitle(name: &str) -> bool {
    let name = name.to_lowercase();
    name.ends_with(".vtt") || name.ends_with(".srt")
}

/// Whether the subtitles `name` belong to the video `video`: `Film.mkv` has `Film.srt` and `Film.de.vtt`, and
/// `Film 2.srt` belongs to another.
pub(super) fn belongs(name: &str, video: &str) -> bool {
    let stem = match video.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() && extension.len() <= 5 => stem,
        _ => video,
    };
    match name.get(..stem.len()) {
        Some(start) if start == stem => name[stem.len()..].starts_with(['.', '_', '-', '[', '(']),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_track_begins_with_the_videos_name() {
        for (name, video, yes) in [
            ("Film.srt", "Film.mkv", true),
            ("Film.de.vtt", "Film.mkv", true),
            ("Film 2.srt", "Film.mkv", false),
            ("Lesson 10.vtt", "Lesson 1.mp4", false),
            (
                "L'\u{e9}t\u{e9} \u{1f600}.fr.srt",
                "L'\u{e9}t\u{e9} \u{1f600}.mp4",
                true,
            ),
            ("\u{1f600}", "ab.mp4", false),
            ("v1.2 intro.vtt", "v1.2 intro", true),
            ("", "", false),
        ] {
            assert_eq!(belongs(name, video), yes, "{name} {video}");
        }
    }

    #[test]
    fn pages_are_hostile_too() {
        let mut children = Vec::new();
        collect(
            &json!({"files": [{"id": "abcdefghij", "name": "A.SRT"}, {"id": "x", "name": "b.srt"}, 7, {}]}),
            &mut children,
        );
        collect(&json!({"files": 9}), &mut children);
        assert_eq!(children.len(), 1);
        let short = json!({"id": "shortcut-1", "name": "s.mp4", "mimeType": "application/vnd.google-apps.shortcut",
            "shortcutDetails": {"targetId": "0123456789", "targetMimeType": "video/mp4", "targetResourceKey": "0-k"}});
        collect(&json!({"files": [short]}), &mut children);
        assert_eq!(
            (children[1].id.as_str(), &*children[1].mime_type),
            ("0123456789", "video/mp4")
        );
        assert_eq!(children[1].key, metadata::key(&json!("0-k")));
        assert!(is_subtitle(&children[0].name) && !is_subtitle("a.mp4"));
        assert_eq!(escape(r"a'b\c"), r"a\'b\\c");
    }
}
