//! The page that plays one thing.

use maud::{Markup, html};

use crate::media::kind::Kind;
use crate::media::language::Language;
use crate::web::{page, url};

/// What the page shows.
#[derive(Clone, Debug)]
pub struct Watch {
    /// Its title.
    pub title: String,
    /// Which player it needs.
    pub kind: Kind,
    /// URL of its bytes.
    pub source: String,
    /// Their type.
    pub content_type: String,
    /// URL of a picture of it.
    pub poster: Option<String>,
    /// What there is for screens that cannot play it; `None` without ffmpeg.
    pub compatible: Option<Compatible>,
    /// Subtitles.
    pub tracks: Vec<Track>,
    /// URL of the list it stands in.
    pub back: String,
    /// Title and URL of the one before it there.
    pub previous: Option<(String, String)>,
    /// Title and URL of the one after it.
    pub next: Option<(String, String)>,
    /// Length, duration, day.
    pub facts: Option<String>,
    /// What stands in the way, and the way past it.
    pub notice: Option<Notice>,
    /// Where the admin renames and deletes it; `None` for everybody else.
    pub change: Option<Change>,
}

/// What stands in the way of playing, and where to go on all the same.
#[derive(Clone, Debug)]
pub struct Notice {
    /// What it is.
    pub sentence: String,
    /// What the button says.
    pub label: String,
    /// Where it leads.
    pub url: String,
}

/// Where a file is changed.
#[derive(Clone, Debug)]
pub struct Change {
    /// URL of the page that renames it.
    pub rename: String,
    /// URL of the page that deletes it.
    pub delete: String,
}

/// A version of what the page plays, for screens that cannot play the file.
#[derive(Clone, Debug)]
pub struct Compatible {
    /// URL of the page that was asked for.
    pub page: String,
    /// URL of the version's bytes, an MP4.
    pub source: String,
    /// Whether the page is the one that plays it.
    pub chosen: bool,
    /// What the viewer must know of the file to choose, such as that it must be converted.
    pub note: Option<String>,
    /// Where a POST starts the job that converts it.
    pub job: Option<String>,
    /// URL of the page that has it encoded anew while it plays.
    pub reencode: Option<String>,
}

/// A subtitle track.
#[derive(Clone, Debug)]
pub struct Track {
    /// URL of the WebVTT.
    pub source: String,
    /// Its language.
    pub language: Language,
    /// Shown without being asked for.
    pub default: bool,
}

/// The page that plays `watch`.
///
/// Nothing plays by itself: the player has the focus, and one press starts it. It reads no more than the metadata
/// before that, so that a visit costs neither the box nor Drive a film.
///
/// A film that must be converted first has no use for a player: there the ways on have the focus.
pub fn watch(watch: &Watch) -> String {
    let plays = watch
        .compatible
        .as_ref()
        .is_none_or(|compatible| compatible.reencode.is_none());
    page(
        &watch.title,
        html! {
            h1 dir="auto" { (watch.title) }
            @match watch.kind {
                Kind::Video => {
                    div.player {
                        video controls autofocus[plays] tabindex="0" preload="metadata" playsinline
                            aria-label=(watch.title) poster=[&watch.poster] {
                            (inside(watch))
                        }
                    }
                }
                Kind::Audio => {
                    div.player {
                        audio controls autofocus[plays] tabindex="0" preload="metadata"
                            aria-label=(watch.title) { (inside(watch)) }
                    }
                }
                Kind::Subtitle | Kind::Other => {
                    p.problem { "This is no video or music that a browser plays; open or save it." }
                    p { a.button href=(watch.source) autofocus { "Open" } }
                }
            }
            @if let Some(notice) = &watch.notice {
                p.problem role="status" { (notice.sentence) }
                p { a.button href=(notice.url) autofocus[!plays] { (notice.label) } }
            }
            @if let Some(facts) = &watch.facts {
                p.facts { (facts) }
            }
            @if let Some(compatible) = &watch.compatible {
                (choice(compatible, watch.notice.is_none()))
            }
            p {
                @if let Some((title, url)) = &watch.previous {
                    a.button rel="prev" href=(url) { "Previous: " bdi { (title) } }
                }
                @if let Some((title, url)) = &watch.next {
                    a.button rel="next" href=(url) { "Next: " bdi { (title) } }
                }
            }
            p {
                a.button href=(watch.back) { "Back to the list" }
                a.button href=(url::with(&watch.source, "download=1")) download { "Download" }
            }
            @if let Some(change) = &watch.change {
                p {
                    a.button href=(change.rename) { "Rename" }
                    a.button href=(change.delete) { "Delete" }
                }
            }
        },
    )
}

/// Leads to the other version, and says why there is one; with `focus` where nothing plays and this is the first way
/// on.
fn choice(compatible: &Compatible, focus: bool) -> Markup {
    let converts = compatible.job.is_some();
    html! {
        @if let Some(note) = &compatible.note {
            p.problem { (note) }
        }
        @if let Some(job) = &compatible.job {
            form method="post" action=(job) {
                button type="submit" autofocus[focus] { "Convert it" }
            }
        }
        p {
            @if compatible.chosen {
                a.button href=(compatible.page) { "Play the file itself" }
            } @else if compatible.reencode.is_none() {
                a.button href={ (compatible.page) "?compatible=1" } { "No picture or no sound? Play a compatible version" }
            }
            @if let Some(reencode) = &compatible.reencode {
                a.button href=(reencode) autofocus[focus && !converts] { "Convert it while it plays" }
            }
        }
    }
}

/// Sources and tracks of a player, and what an engine without one shows.
fn inside(watch: &Watch) -> Markup {
    let (promised, unsure) = source_type(&watch.content_type);
    let compatible = watch.compatible.as_ref();
    let chosen = compatible.is_some_and(|compatible| compatible.chosen);
    html! {
        @if !chosen {
            source src=(watch.source) type=(promised);
            @if unsure {
                source src=(watch.source);
            }
        }
        // A browser comes to it when it has declined what stands above.
        @if let Some(compatible) = compatible.filter(|_| chosen || unsure) {
            source src=(compatible.source) type="video/mp4";
        }
        @for track in &watch.tracks {
            track kind="subtitles" src=(track.source) srclang=[tag(&track.language)]
                label=(track.language.label) default[track.default];
        }
        p { "This browser has no player; " a href=(watch.source) { "open the file" } "." }
    }
}

/// The type a `<source>` promises, and whether to offer the file once more without one.
///
/// A browser passes over a type it does not know, though it plays much of what is in such files: QuickTime is MP4 to
/// all of them, and Matroska, MPEG-TS or AVI are worth a try where the first offer was declined.
fn source_type(content_type: &str) -> (&str, bool) {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    match essence {
        "video/quicktime" => ("video/mp4", false),
        "video/mp4" | "video/webm" | "video/ogg" => (essence, false),
        "audio/mpeg" | "audio/mp4" | "audio/ogg" | "audio/wav" | "audio/flac" | "audio/aac" => {
            (essence, false)
        }
        _ => (essence, true),
    }
}

/// `srclang`, which must be absent rather than empty.
fn tag(language: &Language) -> Option<&str> {
    (!language.tag.is_empty()).then_some(language.tag.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_only_ever_text() {
        let page = watch(&Watch {
            title: "\"><script>alert(1)</script>".to_owned(),
            kind: Kind::Video,
            source: "/videos/x".to_owned(),
            content_type: "video/x-matroska".to_owned(),
            poster: None,
            compatible: Some(Compatible {
                page: "/video/x".to_owned(),
                source: "/api/video-compatible/videos/x".to_owned(),
                chosen: false,
                note: Some("<b>".to_owned()),
                job: None,
                reencode: None,
            }),
            tracks: vec![Track {
                source: "/videos/x.vtt".to_owned(),
                language: Language {
                    tag: String::new(),
                    label: "\" onerror=\"x".to_owned(),
                },
                default: true,
            }],
            back: "/".to_owned(),
            previous: None,
            next: None,
            facts: None,
            notice: None,
            change: None,
        });
        assert!(!page.contains("<script"), "{page}");
        assert!(
            page.contains("label=\"&quot; onerror=&quot;x\" default"),
            "{page}"
        );
        assert!(!page.contains("srclang"), "{page}");
        assert_eq!(page.matches("<source ").count(), 3, "{page}");
        assert!(
            page.contains("&lt;b&gt;") && page.contains("href=\"/video/x?compatible=1\""),
            "{page}"
        );
    }
}
