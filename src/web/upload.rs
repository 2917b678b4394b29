//! The pages of uploads, and of what the admin changes: forms that work without a script.

use maud::html;

use crate::web::asset::UPLOAD;
use crate::web::page;

/// A file of a form, as the page after it tells of it.
#[derive(Clone, Debug)]
pub struct Sent {
    /// What it is called.
    pub name: String,
    /// URL of the page that plays it; `None` of one that was refused.
    pub watch: Option<String>,
    /// What there is to know: why it was refused, or what is done with it.
    pub note: Option<String>,
}

/// The form; `limit` says how large a file may be.
pub fn upload(limit: &str) -> String {
    page(
        "Upload",
        html! {
            h1 { "Upload" }
            form #upload method="post" action="/upload" enctype="multipart/form-data" {
                label for="files" { "Films, music and subtitles, up to " (limit) " each" }
                input #files type="file" name="file" multiple required autofocus
                    accept="video/*,audio/*,.mkv,.avi,.flac,.opus,.vtt,.srt";
                button type="submit" { "Upload" }
            }
            ul #sending .list {}
            p.facts { "Keep this page open until everything is sent. Subtitles belong to the film whose name they bear." }
            p { a.button href="/" { "Back to the list" } }
            script src=(UPLOAD.url()) {}
        },
    )
}

/// What became of the files of a form.
pub fn sent(files: &[Sent]) -> String {
    page(
        "Uploaded",
        html! {
            h1 { "Uploaded" }
            ul.list {
                @for (at, file) in files.iter().enumerate() {
                    li {
                        @match &file.watch {
                            Some(watch) => {
                                a.item href=(watch) autofocus[at == 0] {
                                    span.name dir="auto" { (file.name) }
                                    @if let Some(note) = &file.note { span.facts { (note) } }
                                }
                            }
                            None => {
                                div.item {
                                    span.name dir="auto" { (file.name) }
                                    span.facts { "Not taken: " (file.note.as_deref().unwrap_or_default()) }
                                }
                            }
                        }
                    }
                }
            }
            p {
                a.button href="/upload" { "Upload more" }
                a.button href="/" { "Back to the list" }
            }
        },
    )
}

/// Asks whether a file is to be deleted.
pub fn delete(title: &str, action: &str, back: &str) -> String {
    page(
        "Delete",
        html! {
            h1 { "Delete " bdi { (title) } "?" }
            p { "The file and its subtitles are gone then, and nothing brings them back." }
            form method="post" action=(action) {
                p {
                    a.button href=(back) autofocus { "Keep it" }
                    button type="submit" { "Delete" }
                }
            }
        },
    )
}

/// Asks for another name.
pub fn rename(stem: &str, action: &str, back: &str) -> String {
    page(
        "Rename",
        html! {
            h1 { "Rename " bdi { (stem) } }
            form method="post" action=(action) {
                label for="name" { "New name" }
                input #name type="text" name="name" value=(stem) maxlength="200" required autofocus
                    autocomplete="off" spellcheck="false";
                button type="submit" { "Rename" }
            }
            p { a.button href=(back) { "Back to the video" } }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_only_ever_text() {
        let file = Sent {
            name: "<script>\"".to_owned(),
            watch: None,
            note: Some("<b>".to_owned()),
        };
        let page = sent(&[file]);
        assert!(
            !page.contains("<script>") && !page.contains("<b>"),
            "{page}"
        );
        assert!(!rename("\"><b>", "/a", "/b").contains("<b>"));
        assert!(!delete("<b>", "/a", "/b").contains("<b>"));
    }
}
