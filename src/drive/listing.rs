//! What lies in folders, many of them per request.
//!
//! A query names as many folders as a URL holds, and each child is given to its folder by its `parents`. What to do
//! about a folder that is refused, and about children that name no folder of the query, is the caller's to decide:
//! a query of one folder leaves no doubt.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use percent_encoding::utf8_percent_encode;
use serde_json::Value;

use super::client::{Ask, Reply};
use super::metadata::{QUERY, SHORTCUT};
use super::pacer::{Cost, Lane};
use super::reply::{Fault, Refusal};
use super::{Drive, FileId, ResourceKey};
use crate::error::Result;

/// How Google types folders.
pub const FOLDER: &str = "application/vnd.google-apps.folder";

/// Bytes of one page: a thousand entries are 300 KB unless their names are very long.
const PAGE: u64 = 8 * 1024 * 1024;
/// Bytes of a URL. Google's front ends take 8 KiB, of which the host and the other parameters need some; so does the
/// client's buffer of a request line.
const URL: usize = 7400;
/// Bytes of the header with the keys of the folders; the client writes no longer line than 8 KiB.
const KEYS: usize = 6000;
/// Pages of one query; the scan of a tree that has more children in so few folders ends here, and says so.
const PAGES: usize = 100;
/// How often a query is asked again from its first page because a page token was refused.
const RESTARTS: usize = 3;

const FIELDS: &str = "nextPageToken,incompleteSearch,\
                      files(id,name,mimeType,trashed,parents,resourceKey,\
                      shortcutDetails(targetId,targetMimeType,targetResourceKey))";

/// The keys of folders that were shared by link before September 2021, by id.
pub type FolderKeys = HashMap<String, ResourceKey>;

/// A file or folder as a listing and the list of changes tell of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its own id.
    pub id: String,
    /// Its name, as it is.
    pub name: String,
    /// Its type.
    pub mime_type: String,
    /// Folders that it lies in, as far as Drive says so.
    pub parents: Vec<String>,
    /// Id and type of what a shortcut points at.
    pub target: Option<(String, String)>,
    /// The key that opens it, or what it points at.
    pub key: Option<ResourceKey>,
    /// It lies in the trash.
    pub trashed: bool,
}

/// What [`Drive::children`] found.
#[derive(Clone, Debug, Default)]
pub struct Children {
    /// The children of each folder, in the order of the folders asked for.
    pub of: Vec<Vec<Listed>>,
    /// Some children name none of the folders; ask for fewer at once.
    pub strays: bool,
}

/// What a folder's own metadata say.
#[derive(Clone, Debug)]
pub struct Root {
    /// Its id; of a shortcut, the id of what it points at.
    pub id: String,
    /// The key that opens it.
    pub key: Option<ResourceKey>,
    /// The shared drive that it lies on.
    pub shared_drive: Option<String>,
}

/// How many of `folders`, from the first on, one query takes; at least one.
pub fn batch(folders: &[String], keys: &FolderKeys) -> usize {
    // `'ID' in parents or `, escaped; ids need no escaping.
    let cost = |id: &String| id.len() + "%27%27%20in%20parents%20or%20".len();
    // `ID/KEY,`
    let header = |id: &String| {
        keys.get(id)
            .map_or(0, |key| id.len() + key.as_str().len() + 2)
    };
    let (mut left, mut left_of_header) = (URL - 600, KEYS);
    let fitting = folders.iter().take_while(|id| {
        let fits = cost(id) <= left && header(id) <= left_of_header;
        left = left.saturating_sub(cost(id));
        left_of_header = left_of_header.saturating_sub(header(id));
        fits
    });
    fitting.count().max(1)
}

impl Drive {
    /// The key in the link that `drive.root` was given as.
    pub fn root_key(&self) -> Option<ResourceKey> {
        self.inner.root_key.clone()
    }

    /// Looks at the folder that a scan begins with: the one of `drive.root`.
    ///
    /// # Errors
    /// Drive's refusals; `drive_not_found` for what is no folder.
    pub async fn root(&self, id: &str) -> Result<Root> {
        let (mut id, mut key) = (id.to_owned(), self.inner.root_key.clone());
        for _ in 0..2 {
            let ask = Ask {
                url: format!(
                    "{}/drive/v3/files/{id}?supportsAllDrives=true&fields={}",
                    self.inner.service.endpoint,
                    utf8_percent_encode(
                        "id,name,mimeType,trashed,driveId,resourceKey,\
                         shortcutDetails(targetId,targetMimeType,targetResourceKey)",
                        QUERY
                    ),
                ),
                resource_key: key.as_ref().map(|key| key.header(&id)),
                ..Ask::default()
            };
            let value = self
                .inner
                .service
                .insist(Lane::Metadata, Cost::Get, &ask, super::metadata::read_json)
                .await?;
            let Some(file) = listed(&value) else { break };
            match &file.target {
                Some((target, _)) => (id, key) = (target.clone(), file.key),
                None if file.mime_type == FOLDER && !file.trashed => {
                    let shared_drive = value["driveId"].as_str().and_then(plain_id);
                    return Ok(Root {
                        id: file.id,
                        key: file.key.or(key),
                        shared_drive,
                    });
                }
                None => break,
            }
        }
        Err(Refusal::new(
            crate::error::Kind::NotFound,
            "drive_not_found",
            "What drive.root names on Google Drive is no folder, or lies in the trash; set it to the id of the \
             folder that holds the courses.",
        )
        .into())
    }

    /// The children of all `folders` (as many as [`batch`] says), trashed ones left out. Each answered request adds
    /// one to `requests`. `keys` has the keys of those that need one.
    ///
    /// # Errors
    /// Drive's refusals; one for a single folder refuses the whole query.
    pub async fn children(
        &self,
        folders: &[String],
        keys: &FolderKeys,
        requests: &AtomicU64,
    ) -> Result<Children> {
        let base = self.query(folders);
        let resource_key = header(folders, keys);
        let mut restarts = 0;
        'again: loop {
            let mut found = Children {
                of: vec![Vec::new(); folders.len()],
                strays: false,
            };
            let places: HashMap<&str, usize> = (folders.iter().enumerate())
                .map(|(i, id)| (id.as_str(), i))
                .collect();
            let mut url = base.clone();
            let mut last = None;
            for page in 0..PAGES {
                let ask = Ask {
                    url,
                    resource_key: resource_key.clone(),
                    ..Ask::default()
                };
                let answer = self
                    .inner
                    .service
                    .insist(Lane::Scan, Cost::List, &ask, read_page)
                    .await;
                let answer = match answer {
                    Ok(answer) => answer,
                    // The tokens of pages do not live for ever; the query does.
                    Err(refusal)
                        if page > 0 && refusal.is_about_request() && restarts < RESTARTS =>
                    {
                        restarts += 1;
                        continue 'again;
                    }
                    Err(refusal) => return Err(refusal.into()),
                };
                requests.fetch_add(1, Ordering::Relaxed);
                for file in answer.files {
                    found.place(file, &places);
                }
                // The page that was just read again: it would go on like that.
                if last.is_some() && last == answer.next {
                    return Err(endless().into());
                }
                match &answer.next {
                    Some(token) => {
                        url = format!("{base}&pageToken={}", utf8_percent_encode(token, QUERY));
                    }
                    None => return Ok(found),
                }
                last = answer.next;
            }
            return Err(too_many().into());
        }
    }

    fn query(&self, folders: &[String]) -> String {
        let parents: Vec<String> = folders
            .iter()
            .map(|id| format!("'{}' in parents", super::folder::escape(id)))
            .collect();
        let query = match &parents[..] {
            [one] => format!("{one} and trashed = false"),
            many => format!("({}) and trashed = false", many.join(" or ")),
        };
        format!(
            "{}/drive/v3/files?q={}&pageSize=1000&supportsAllDrives=true&includeItemsFromAllDrives=true&fields={}",
            self.inner.service.endpoint,
            utf8_percent_encode(&query, QUERY),
            utf8_percent_encode(FIELDS, QUERY),
        )
    }
}

impl Children {
    fn place(&mut self, file: Listed, places: &HashMap<&str, usize>) {
        if file.trashed {
            return;
        }
        if let [only] = &mut self.of[..] {
            only.push(file);
            return;
        }
        let mut homes: Vec<usize> = file
            .parents
            .iter()
            .filter_map(|parent| places.get(parent.as_str()).copied())
            .collect();
        homes.sort_unstable();
        homes.dedup();
        if homes.is_empty() {
            self.strays = true;
        }
        for home in homes {
            self.of[home].push(file.clone());
        }
    }
}

/// The header with the keys of some folders.
fn header(folders: &[String], keys: &FolderKeys) -> Option<String> {
    let pairs = folders
        .iter()
        .filter_map(|id| Some(keys.get(id)?.header(id)));
    let text = pairs.collect::<Vec<_>>().join(",");
    (!text.is_empty()).then_some(text)
}

/// A page of a listing.
struct Page {
    files: Vec<Listed>,
    next: Option<String>,
}

fn read_page(reply: Reply, _: &Ask) -> Result<Page, Fault> {
    let value = read_value(reply)?;
    if value["incompleteSearch"] == true {
        return Err(Fault::Nonsense(
            "Drive searched only a part of it".to_owned(),
        ));
    }
    let Some(files) = value["files"].as_array() else {
        return Err(Fault::Nonsense("a listing without files".to_owned()));
    };
    Ok(Page {
        files: files.iter().filter_map(listed).collect(),
        next: token(&value["nextPageToken"]),
    })
}

/// Reads a large answer as JSON.
pub(super) fn read_value(reply: Reply) -> Result<Value, Fault> {
    let value: Value = serde_json::from_slice(&reply.read(PAGE)?)
        .map_err(|error| Fault::Nonsense(format!("an answer that is not JSON: {error}")))?;
    match value.is_object() {
        true => Ok(value),
        false => Err(Fault::Nonsense("an answer that is no object".to_owned())),
    }
}

/// The token of a further page; an empty one is none.
pub(super) fn token(value: &Value) -> Option<String> {
    let text = value.as_str()?;
    (!text.is_empty() && text.len() <= 4096).then(|| text.to_owned())
}

/// Reads an entry; nothing for what cannot be named.
pub(super) fn listed(value: &Value) -> Option<Listed> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let id = value["id"].as_str().and_then(plain_id)?;
    let mime_type = text(&value["mimeType"]);
    let details = &value["shortcutDetails"];
    let target = match mime_type == SHORTCUT {
        // A shortcut that leads nowhere is nothing.
        true => Some((
            details["targetId"].as_str().and_then(plain_id)?,
            text(&details["targetMimeType"]),
        )),
        false => None,
    };
    let parents = value["parents"].as_array().into_iter().flatten();
    let key = match target {
        Some(_) => &details["targetResourceKey"],
        None => &value["resourceKey"],
    };
    Some(Listed {
        id,
        name: value["name"].as_str()?.to_owned(),
        mime_type,
        parents: parents
            .filter_map(|id| id.as_str().and_then(plain_id))
            .collect(),
        target,
        key: super::metadata::key(key),
        trashed: value["trashed"] == true,
    })
}

fn plain_id(text: &str) -> Option<String> {
    FileId::parse(text).ok().map(|id| id.as_str().to_owned())
}

fn endless() -> Refusal {
    Refusal::new(
        crate::error::Kind::BadGateway,
        "drive_failed",
        "Google Drive lists a folder without an end; scan again later.",
    )
}

fn too_many() -> Refusal {
    Refusal::new(
        crate::error::Kind::BadGateway,
        "drive_failed",
        "Google Drive lists more than 100,000 files in one folder; sort them into several.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn entries_are_hostile() {
        let good = json!({"id": "abcdefghij", "name": "a/b'\u{1f600}", "mimeType": "video/mp4", "parents": ["ponmlkjihg", 7, "x"]});
        let file = listed(&good).unwrap();
        assert_eq!(
            (file.name.as_str(), file.parents.len()),
            ("a/b'\u{1f600}", 1)
        );
        for bad in [
            json!(7),
            json!({}),
            json!({"id": "abcdefghij"}),
            json!({"id": "../../etc/passwd", "name": "x", "mimeType": "y"}),
            json!({"id": "abcdefghij", "name": "x", "mimeType": SHORTCUT}),
        ] {
            assert_eq!(listed(&bad), None, "{bad}");
        }
    }

    #[test]
    fn children_go_to_their_folders() {
        let file = |parents: &[&str]| Listed {
            id: "abcdefghij".to_owned(),
            name: String::new(),
            mime_type: String::new(),
            parents: parents.iter().map(|id| (*id).to_owned()).collect(),
            target: None,
            key: None,
            trashed: false,
        };
        let places = HashMap::from([("a", 0), ("b", 1)]);
        let mut children = Children {
            of: vec![Vec::new(); 2],
            strays: false,
        };
        for parents in [&["a"][..], &["b", "a", "b"], &["c", "b"]] {
            children.place(file(parents), &places);
        }
        assert_eq!((children.of[0].len(), children.of[1].len()), (2, 2));
        assert!(!children.strays);
        children.place(file(&[]), &places);
        assert!(children.strays);
        let mut alone = Children {
            of: vec![Vec::new()],
            strays: false,
        };
        alone.place(file(&[]), &HashMap::new());
        assert!(!alone.strays && alone.of[0].len() == 1);
    }

    #[test]
    fn batches_fill_a_url() {
        let ids = vec!["1".repeat(33); 500];
        let none = FolderKeys::new();
        let taken = batch(&ids, &none);
        assert!((100..=125).contains(&taken), "{taken}");
        assert_eq!(batch(&["x".repeat(128)], &none), 1);
        assert_eq!(batch(&ids[..3], &none), 3);
        let key = |len: usize| ResourceKey::parse(&"k".repeat(len)).unwrap();
        let keyed = |len| FolderKeys::from([(ids[0].clone(), key(len))]);
        assert_eq!(batch(&ids, &keyed(128)), KEYS / (33 + 128 + 2));
        let sent = header(&ids[..2], &keyed(2));
        assert_eq!(sent, Some(format!("{0}/kk,{0}/kk", ids[0])));
        assert_eq!(header(&ids[..2], &none), None);
    }
}
