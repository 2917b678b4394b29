//! What a person sees: pages written by the server, one style sheet, and two scripts that nothing depends on.
//!
//! They are made for a television three metres away and its remote control, and for a phone: every thing to do is
//! a link or a button, one of them has the focus when the page opens, and each view has its own URL, so that the
//! remote's Back key leads where it should. Engines go back to 2014: see `asset`.
//! What a page says comes in as plain values; nothing here asks the disk or Google.

pub mod asset;
mod courses;
pub mod figure;
pub mod icon;
mod index;
mod lesson;
mod list;
pub mod upload;
pub mod url;
mod watch;

use maud::{DOCTYPE, Markup, html};

pub use courses::{Card, CoursePage, Library, Mark, Pager, Section, course, library};
pub use index::index;
pub use lesson::{Lesson, lesson};
pub use list::{Home, PER_PAGE, home};
pub use upload::{Sent, delete, rename, sent, upload};
pub use watch::{Change, Compatible, Notice, Track, Watch, watch};

/// The page that asks for the admin token; `wrong` says what was wrong with the last one.
pub fn login(next: &str, wrong: Option<&str>) -> String {
    page(
        "Log in",
        html! {
            h1 { "Log in" }
            p { "Uploading, deleting and settings ask for the admin token. Run "
                code { "sudo rill token" } " on the box to see it." }
            @if let Some(wrong) = wrong {
                p.problem role="alert" { (wrong) }
            }
            form method="post" action="/login" {
                input type="hidden" name="next" value=(next);
                label for="token" { "Admin token" }
                input #token type="password" name="token" autocomplete="current-password"
                    autocapitalize="off" spellcheck="false" required autofocus;
                button type="submit" { "Log in" }
            }
            p { a.button href="/" { "Back to the list" } }
        },
    )
}

/// What a browser is shown when something fails; `way` is a way on, beside the one back to the list.
pub fn failure(status: u16, reason: &str, sentence: &str, way: Option<(&str, &str)>) -> String {
    page(
        reason,
        html! {
            h1 { (reason) }
            p.problem role="alert" { (sentence) }
            @if let Some((label, url)) = way {
                p { a.button href=(url) autofocus { (label) } }
            }
            p { a.button href="/" autofocus[way.is_none()] { "Back to the list" } }
            p.facts { "Status " (status) }
        },
    )
}

/// The frame around every page.
fn page(title: &str, content: Markup) -> String {
    page_again(title, None, content)
}

/// As [`page`]; one that the browser asks for again after so many seconds, without a script.
fn page_again(title: &str, again: Option<u32>, content: Markup) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="dark";
                // Under the `no-referrer` of every answer a browser says of its own forms that they come from nowhere
                // (`Origin: null`, Fetch section 3.2), and they would be refused as another site's. Others are told no
                // more.
                meta name="referrer" content="same-origin";
                @if let Some(again) = again {
                    meta http-equiv="refresh" content=(again);
                }
                title { (title) " - rill" }
                link rel="stylesheet" href=(asset::STYLE.url());
                link rel="icon" href="/favicon.ico";
            }
            body {
                main { (content) }
            }
        }
    }
    .into_string()
}
