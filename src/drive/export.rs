//! Google's own documents, which have no bytes until they are exported.
//!
//! Google exports at most 10 MB and knows no ranges there, so the export is gathered and served from memory.

use percent_encoding::utf8_percent_encode;

use super::Metadata;
use super::client::{Ask, Reply};
use super::metadata::{Known, QUERY};
use super::pacer::{Cost, Lane};
use super::reply::{Fault, Refusal};
use super::service::Service;
use crate::error::Kind;

/// Google's limit is 10 MB; a little more says that it was not met.
const LARGEST: u64 = 11 * 1024 * 1024;
const GOOGLE: &str = "application/vnd.google-apps.";

/// How a file is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// It has bytes of its own.
    Bytes(u64),
    /// It is exported to this type.
    Export(&'static str),
    /// There is nothing to send.
    Nothing,
}

/// Tells how a file is sent.
pub(super) fn form(file: &Metadata) -> Form {
    match file.mime_type.strip_prefix(GOOGLE) {
        Some("document" | "spreadsheet" | "presentation") => Form::Export("application/pdf"),
        Some("drawing") => Form::Export("image/png"),
        Some("script") => Form::Export("application/vnd.google-apps.script+json"),
        Some(_) => Form::Nothing,
        None => file.size.map_or(Form::Nothing, Form::Bytes),
    }
}

/// The refusal for [`Form::Nothing`].
pub(super) fn nothing(file: &Metadata) -> Refusal {
    let what = match file.mime_type.strip_prefix(GOOGLE) {
        Some("folder") => "a folder; open one of its files",
        Some("form") => "a Google form, which cannot be exported; open it in Drive",
        Some("site") => "a Google site, which cannot be exported; open it in Drive",
        Some("map") => "a Google map, which cannot be exported; open it in Drive",
        _ => "nothing that can be downloaded; open it in Drive",
    };
    Refusal::new(
        Kind::Unsupported,
        "drive_not_downloadable",
        format!("This is {what}."),
    )
}

/// Exports a document.
///
/// # Errors
/// Drive's refusals; `busy` when there is no memory for it.
pub(super) async fn fetch(service: &Service, known: &Known, to: &str) -> Result<Vec<u8>, Refusal> {
    let _room = service.budget.reserve(LARGEST)?;
    let ask = Ask {
        url: format!(
            "{}/drive/v3/files/{}/export?mimeType={}",
            service.endpoint,
            known.file.id.as_str(),
            utf8_percent_encode(to, QUERY)
        ),
        resource_key: known.resource_key(),
        ..Ask::default()
    };
    service
        .insist(Lane::Playback, Cost::Download, &ask, read)
        .await
}

fn read(reply: Reply, _: &Ask) -> Result<Vec<u8>, Fault> {
    reply.read(LARGEST)
}
