//! What changed on Drive since a page token was given out.
//!
//! The list tells each file's present state once, however often it changed, so applying an entry twice does no
//! harm. Who keeps the token, and when it moves on, is the caller's business.

use percent_encoding::utf8_percent_encode;
use serde_json::Value;

use super::client::{Ask, Reply};
use super::listing::{Listed, listed, read_value, token};
use super::metadata::QUERY;
use super::pacer::{Cost, Lane};
use super::reply::{Fault, Refusal};
use super::{Drive, FileId};
use crate::error::{Kind, Result};

const FIELDS: &str = "nextPageToken,newStartPageToken,changes(fileId,removed,\
                      file(id,name,mimeType,trashed,parents,resourceKey,\
                      shortcutDetails(targetId,targetMimeType,targetResourceKey)))";

/// One file's news.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Id of the file.
    pub id: String,
    /// What it is now; `None` when it is gone, trashed, or no longer shared with us.
    pub file: Option<Listed>,
}

/// A page of changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// In the order that Drive tells them.
    pub changes: Vec<Change>,
    /// Token to go on with once these are applied.
    pub next: String,
    /// There is more behind `next` already.
    pub more: bool,
}

impl Drive {
    /// The token from which on [`Drive::changes`] tells what happens after now.
    ///
    /// # Errors
    /// Drive's refusals.
    pub async fn start_page_token(&self, shared_drive: Option<&str>) -> Result<String> {
        let ask = Ask {
            url: format!(
                "{}/drive/v3/changes/startPageToken?supportsAllDrives=true&fields=startPageToken{}",
                self.inner.service.endpoint,
                drive_id(shared_drive)
            ),
            ..Ask::default()
        };
        let token = self
            .inner
            .service
            .insist(Lane::Scan, Cost::Get, &ask, |reply, _| {
                token(&read_value(reply)?["startPageToken"])
                    .ok_or_else(|| Fault::Nonsense("an answer without a token".to_owned()))
            })
            .await?;
        Ok(token)
    }

    /// What changed since `token`, up to a thousand files.
    ///
    /// # Errors
    /// `drive_token_refused` when Google does not know the token any more, and Drive's refusals.
    pub async fn changes(&self, token: &str, shared_drive: Option<&str>) -> Result<Changes> {
        let ask = Ask {
            url: format!(
                "{}/drive/v3/changes?pageToken={}&pageSize=1000&includeRemoved=true&supportsAllDrives=true\
                 &includeItemsFromAllDrives=true&fields={}{}",
                self.inner.service.endpoint,
                utf8_percent_encode(token, QUERY),
                utf8_percent_encode(FIELDS, QUERY),
                drive_id(shared_drive)
            ),
            ..Ask::default()
        };
        let answer = self
            .inner
            .service
            .insist(Lane::Scan, Cost::List, &ask, read_changes)
            .await;
        answer.map_err(|refusal| match refusal.is_about_request() {
            true => Refusal::new(
                Kind::Conflict,
                "drive_token_refused",
                "Google Drive does not know any more since when changes are followed; everything is listed again.",
            )
            .because(refusal.cause.unwrap_or_default())
            .into(),
            false => refusal.into(),
        })
    }
}

fn drive_id(shared_drive: Option<&str>) -> String {
    shared_drive.map_or_else(String::new, |id| {
        format!("&driveId={}", utf8_percent_encode(id, QUERY))
    })
}

fn read_changes(reply: Reply, _: &Ask) -> Result<Changes, Fault> {
    changes_of(&read_value(reply)?)
        .ok_or_else(|| Fault::Nonsense("a list of changes without a token".to_owned()))
}

fn changes_of(value: &Value) -> Option<Changes> {
    let (next, more) = match token(&value["nextPageToken"]) {
        Some(next) => (next, true),
        None => (token(&value["newStartPageToken"])?, false),
    };
    let changes = value["changes"].as_array().into_iter().flatten();
    let changes = changes.filter_map(|change| {
        let id = change["fileId"]
            .as_str()
            .or(change["file"]["id"].as_str())?;
        let id = FileId::parse(id).ok()?.as_str().to_owned();
        let file = match change["removed"] == true {
            true => None,
            false => listed(&change["file"]).filter(|file| !file.trashed),
        };
        Some(Change { id, file })
    });
    Some(Changes {
        changes: changes.collect(),
        next,
        more,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pages_of_changes() {
        let file = json!({"id": "abcdefghij", "name": "n", "mimeType": "video/mp4"});
        let page = changes_of(&json!({"nextPageToken": "7", "changes": [
            {"fileId": "abcdefghij", "file": file},
            {"fileId": "abcdefghij", "removed": true, "file": file},
            {"fileId": "abcdefghij", "file": {"id": "abcdefghij", "name": "n", "mimeType": "m", "trashed": true}},
            {"fileId": 9}, {"changeType": "drive"}, 7,
        ]}))
        .unwrap();
        assert!(page.more && page.next == "7");
        let known: Vec<bool> = page
            .changes
            .iter()
            .map(|change| change.file.is_some())
            .collect();
        assert_eq!(known, [true, false, false]);
        let last = changes_of(&json!({"newStartPageToken": "8"})).unwrap();
        assert!(!last.more && last.changes.is_empty());
        assert_eq!(changes_of(&json!({"changes": []})), None);
    }
}
