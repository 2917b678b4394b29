//! The list of a folder's files, for programs that walk a library by its links: rclone, wget, Kodi, a file's copy by
//! curl.
//!
//! It is written as nginx writes it, for that is what such programs know how to read: a line for each, the link
//! relative and its text the name, then the minute and the length.

use maud::{DOCTYPE, html};

use crate::media::contents::{self, Contents};
use crate::media::listing::Item;
use crate::media::path::MediaPath;
use crate::web::{figure, url};

/// Where the minute begins, in characters: longer names push it to the right.
const COLUMN: usize = 50;

/// The list of `folder`, of all files without one.
pub fn index(folder: Option<&MediaPath>, contents: &Contents) -> String {
    let name = match folder {
        Some(path) => format!("/videos/{}/", figure::plain(&path.text())),
        None => "/videos/".to_owned(),
    };
    let entry = |item: &Item, mark: &str, size: String| {
        let text = format!("{}{mark}", figure::plain(&item.path.name_text()));
        let gap = COLUMN.saturating_sub(text.chars().count()) + 1;
        html! {
            a href={ (url::escape(item.path.name())) (mark) } { (text) }
            (" ".repeat(gap)) (figure::minute(item.modified)) " " (format!("{size:>19}")) "\n"
        }
    };
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="dark";
                title { "Index of " (name) }
            }
            body {
                h1 { "Index of " (name) }
                hr;
                pre {
                    a href="../" { "../" } "\n"
                    @for item in &contents.folders { (entry(item, "/", "-".to_owned())) }
                    @for item in &contents.files { (entry(item, "", item.bytes.to_string())) }
                }
                hr;
                @if contents.has_more {
                    p { "Only " (contents::MOST) " files of this folder are listed; move some into folders of their own." }
                }
            }
        }
    }
    .into_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_mean_harm_stay_names() {
        let item = |name: &str| Item {
            path: MediaPath::new(name.as_bytes()).unwrap(),
            bytes: 12,
            modified: 1_795_253_071,
        };
        let contents = Contents {
            folders: vec![item("d/\"><script>")],
            files: vec![item("d/javascript:alert(1)"), item("d/a\n\u{202e}b?#.mp4")],
            has_more: true,
        };
        let folder = MediaPath::new(b"d").unwrap();
        let page = index(Some(&folder), &contents);
        assert!(!page.contains("<script"), "{page}");
        for line in [
            "<a href=\"%22%3E%3Cscript%3E/\">&quot;&gt;&lt;script&gt;/</a>",
            "<a href=\"javascript%3Aalert%281%29\">javascript:alert(1)</a>",
            "<a href=\"a%0A%E2%80%AEb%3F%23.mp4\">ab?#.mp4</a> ",
            " 21-Nov-2026 09:24                  12\n",
            "Only 50000 files",
            "<meta name=\"color-scheme\" content=\"dark\">",
        ] {
            assert!(page.contains(line), "{line} in {page}");
        }
    }
}
