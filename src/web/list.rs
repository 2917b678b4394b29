//! The start page: what there is to watch.

use std::path::Path;

use maud::html;

use crate::media::folder::Listing;
use crate::web::{figure, page, url};

/// Items on a page: what a remote control reaches in a dozen presses.
pub const PER_PAGE: usize = 24;

/// What the start page shows.
#[derive(Clone, Copy, Debug)]
pub struct Home<'a> {
    /// Everything in the folder.
    pub listing: &'a Listing,
    /// Why nothing can be remembered, when that is so.
    pub state: Option<&'a str>,
    /// Where the folder is, for who wants to fill it.
    pub folder: &'a Path,
    /// The page to show, from 1.
    pub page: usize,
    /// How many there are.
    pub pages: usize,
    /// Which items of the page have a picture, in their order.
    pub posters: &'a [bool],
    /// What Drive says of itself.
    pub drive: &'a str,
    /// What lies in Drive's root folder: titles and the pages that play them.
    pub films: &'a [(String, String)],
}

/// The start page.
pub fn home(home: &Home<'_>) -> String {
    let items = &home.listing.items;
    let first = (home.page.max(1) - 1) * PER_PAGE;
    let shown = items.iter().skip(first).take(PER_PAGE);
    page(
        "Videos",
        html! {
            h1 { "Videos" }
            @if let Some(problem) = &home.listing.problem {
                p.problem { (problem) }
            }
            @if let Some(problem) = home.state {
                p.problem { "What is watched is not remembered, and nobody can log in: " (problem) }
            }
            @if items.is_empty() && home.listing.problem.is_none() {
                p.problem {
                    "Nothing is here yet. Copy videos or music into "
                    code { (home.folder.display()) }
                    ", or upload them, and open this page again."
                }
            }
            @if items.is_empty() {
                p { a.button href="/" autofocus[home.films.is_empty()] { "Look again" } }
            }
            ul.list {
                @for (at, item) in shown.enumerate() {
                    @let pictured = home.posters.get(at) == Some(&true);
                    li {
                        // The first of a page has the focus: the newest there is.
                        a.item.pictured[pictured] href=(url::video_page(&item.path)) autofocus[at == 0] {
                            @if pictured {
                                // Beside its name it says nothing to who cannot see it.
                                img.poster src=(url::poster(&item.path)) alt="" loading="lazy";
                            }
                            span.name dir="auto" { (figure::title(&item.path.name_text())) }
                            " "
                            span.facts {
                                @if !item.path.folder().is_empty() {
                                    bdi { (String::from_utf8_lossy(item.path.folder())) }
                                    " \u{b7} "
                                }
                                (figure::facts(Some(item.bytes), Some(item.modified), None))
                            }
                        }
                    }
                }
            }
            @if home.pages > 1 {
                p {
                    @if home.page > 1 {
                        a.button rel="prev" href=(url::home(home.page - 1)) { "Newer" }
                    }
                    @if home.page < home.pages {
                        a.button rel="next" href=(url::home(home.page + 1)) { "Older" }
                    }
                    span.facts { "Page " (home.page) " of " (home.pages) }
                }
            }
            @if !home.films.is_empty() {
                h2 { "On Google Drive" }
                ul.list {
                    @for (at, (title, page)) in home.films.iter().enumerate() {
                        li {
                            a.item href=(page) autofocus[at == 0 && items.is_empty()] {
                                span.name dir="auto" { (title) }
                            }
                        }
                    }
                }
            }
            p {
                a.button href="/courses" { "Courses" }
                a.button href="/upload" { "Upload" }
            }
            p.facts { (home.drive) }
        },
    )
}
