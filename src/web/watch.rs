//! The page that plays one thing.

use maud::{Markup, html};

use crate::media::kind::Kind;
use crate::media::language::Language;
use crate::web::page;

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
pub fn watch(watch: &Watch) -> String {
    page(
        &watch.title,
        html! {
            h1 dir="auto" { (watch.title) }
            @match watch.kind {
                Kind::Video => {
                    div.player {
                        video controls autofocus tabindex="0" preload="metadata" playsinline {
                            (inside(watch))
                        }
                    }
                }
                Kind::Audio => {
                    div.player {
                        audio controls autofocus tabindex="0" preload="metadata" { (inside(watch)) }
                    }
                }
                Kind::Subtitle | Kind::Other => {
                    p.problem { "This is no video or music that a browser plays; open or save it." }
                    p { a.button href=(watch.source) autofocus { "Open" } }
                }
            }
            @if let Some(facts) = &watch.facts {
                p.facts { (facts) }
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
                a.button href={ (watch.source) "?download=1" } download { "Download" }
            }
        },
    )
}

/// Sources and tracks of a player, and what an engine without one shows.
fn inside(watch: &Watch) -> Markup {
    let (promised, unsure) = source_type(&watch.content_type);
    html! {
        source src=(watch.source) type=(promised);
        @if unsure {
            source src=(watch.source);
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
/// A browser passes over a type it does not know, though it plays much of what is in such files: QuickTime is MP4 to all of
/// them, and Matroska, MPEG-TS or AVI are worth a try where the first offer was declined.
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
        });
        assert!(!page.contains("<script"), "{page}");
        assert!(
            page.contains("label=\"&quot; onerror=&quot;x\" default"),
            "{page}"
        );
        assert!(!page.contains("srclang"), "{page}");
        assert_eq!(page.matches("<source ").count(), 2, "{page}");
    }
}
