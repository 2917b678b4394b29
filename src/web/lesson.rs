//! The page that plays a class of a course.

use maud::{DOCTYPE, Markup, html};

use crate::web::asset::{PLAYER, STYLE};
use crate::web::{Track, figure};

/// What the page shows.
#[derive(Clone, Debug)]
pub struct Lesson {
    /// Name of the class.
    pub title: String,
    /// The names that lead to it, in a line.
    pub path: String,
    /// URL and type of its film or sound; the type is empty where it is not known.
    pub media: Option<(String, String)>,
    /// URL of the version for screens that cannot play it; `None` without ffmpeg.
    pub compatible: Option<String>,
    /// Subtitles.
    pub tracks: Vec<Track>,
    /// The key under which progress is kept.
    pub key: String,
    /// Where progress is told.
    pub progress: String,
    /// Where it was left, in seconds.
    pub start: u64,
    /// It was watched to its end before.
    pub complete: bool,
    /// The time of this machine, in milliseconds since 1970: the script tells moments by it.
    pub now: u64,
    /// Summary, reading and page, shown below: label and URL.
    pub texts: Vec<(String, String)>,
    /// Resources: label and URL.
    pub links: Vec<(String, String)>,
    /// Title and URL of the class before.
    pub previous: Option<(String, String)>,
    /// Title and URL of the class after.
    pub next: Option<(String, String)>,
    /// URL of the course.
    pub back: String,
}

/// The page that plays `lesson`.
pub fn lesson(lesson: &Lesson) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="dark";
                title { (lesson.title) " - rill" }
                link rel="stylesheet" href=(STYLE.url());
                link rel="icon" href="/favicon.ico";
            }
            body {
                main { (content(lesson)) }
                @if lesson.media.is_some() {
                    script src=(PLAYER.url()) {}
                }
            }
        }
    }
    .into_string()
}

fn content(lesson: &Lesson) -> Markup {
    // Something always has the focus; without a film it is what comes next.
    let without = lesson.media.is_none();
    html! {
        h1 dir="auto" { (lesson.title) }
        p.facts dir="auto" {
            @if lesson.complete {
                span.mark { "\u{2713} Watched" } " "
            } @else if lesson.start > 0 {
                span.mark { "Watched to " (figure::duration(lesson.start * 1000)) } " "
            }
            (lesson.path)
        }
        @match &lesson.media {
            Some((source, content_type)) => {
                div.player {
                    video #player controls autofocus tabindex="0" preload="metadata" playsinline
                        aria-label=(lesson.title)
                        data-key=(lesson.key) data-progress=(lesson.progress)
                        data-start=(lesson.start) data-complete=(lesson.complete) data-now=(lesson.now) {
                        source src=(source) type=[(!content_type.is_empty()).then_some(content_type)];
                        // A browser comes to it by itself when it has declined what stands above. It cannot be sought
                        // in, and begins where the film was left.
                        @if let Some(compatible) = &lesson.compatible {
                            source src=(from(compatible, lesson.start)) type="video/mp4";
                        }
                        @for track in &lesson.tracks {
                            track kind="subtitles" src=(track.source) srclang=[tag(track)]
                                label=(track.language.label) default[track.default];
                        }
                        p { "This browser has no player; " a href=(source) { "open the file" } "." }
                    }
                }
            }
            None => {
                p.problem { "This class has no video." }
            }
        }
        p {
            @if let Some((title, url)) = &lesson.previous {
                a.button rel="prev" href=(url) { "Previous: " bdi { (title) } }
            }
            @if let Some((title, url)) = &lesson.next {
                a.button #next rel="next" href=(url) autofocus[without] { "Next: " bdi { (title) } }
            }
        }
        @if !lesson.links.is_empty() {
            h2 { "With this class" }
            p {
                @for (label, url) in &lesson.links {
                    a.button href=(url) { bdi { (label) } }
                }
            }
        }
        p {
            a.button href=(lesson.back) autofocus[without && lesson.next.is_none()] { "Back to the course" }
            @if let Some((source, _)) = &lesson.media {
                a.button href={ (source) "?download=1" } download { "Download" }
            }
        }
        // Last, for whoever goes from one thing to the next by keys would have to pass through them. What they hold
        // is anybody's: it runs nothing, sends nothing, and is nobody to this page.
        @for (label, url) in &lesson.texts {
            h2 { (label) }
            iframe.text src=(url) title=(label) sandbox="" referrerpolicy="no-referrer" loading="lazy" {}
            p { a.button href=(url) { "Open: " bdi { (label) } } }
        }
    }
}

fn from(compatible: &str, start: u64) -> String {
    match start {
        0 => compatible.to_owned(),
        start => format!("{compatible}?t={start}"),
    }
}

/// `srclang`, which must be absent rather than empty.
fn tag(track: &Track) -> Option<&str> {
    (!track.language.tag.is_empty()).then_some(track.language.tag.as_str())
}
