//! The pages of the course library: what there is, and what a course holds.

use maud::{Markup, html};

use crate::web::{page, page_again};

/// Seconds after which a page that waits for something is asked for again.
const AGAIN: u32 = 10;

/// A link of a list.
#[derive(Clone, Debug)]
pub struct Card {
    /// What it is called.
    pub title: String,
    /// What is known of it, in a line.
    pub facts: String,
    /// Where it leads.
    pub url: String,
    /// How far it was watched.
    pub mark: Mark,
}

/// How far something was watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mark {
    /// Not at all.
    #[default]
    None,
    /// Some of it; percent, where the length is known.
    Begun(Option<u8>),
    /// To its end.
    Complete,
}

/// Cards under a heading.
#[derive(Clone, Debug, Default)]
pub struct Section {
    /// The heading; none when empty.
    pub title: String,
    /// What stands below it.
    pub cards: Vec<Card>,
}

/// Where a list is cut into pages.
#[derive(Clone, Debug)]
pub struct Pager {
    /// The page that is shown, from 1.
    pub page: usize,
    /// How many there are.
    pub pages: usize,
    /// URL of the page before.
    pub previous: Option<String>,
    /// URL of the page after.
    pub next: Option<String>,
}

/// A page of the library.
#[derive(Clone, Debug)]
pub struct Library {
    /// Its heading.
    pub title: String,
    /// What is wrong, in a sentence.
    pub problem: Option<String>,
    /// A scan that is under way, in a sentence.
    pub scan: Option<String>,
    /// The page is asked for again by itself, until something is here.
    pub waits: bool,
    /// What to do when nothing is here.
    pub advice: Option<String>,
    /// The search that was made.
    pub query: String,
    /// The person whose progress is shown; passed on by the search.
    pub profile: Option<String>,
    /// What is listed.
    pub cards: Vec<Card>,
    /// Its pages.
    pub pager: Pager,
    /// The list this one stands in: label and URL.
    pub back: (String, String),
}

/// Categories, the courses of one, or what a search found.
pub fn library(library: &Library) -> String {
    let searched = !library.query.is_empty();
    let again = library.waits.then_some(AGAIN);
    page_again(
        &library.title,
        again,
        html! {
            h1 dir="auto" { (library.title) }
            @if let Some(problem) = &library.problem {
                p.problem role="alert" { (problem) }
            }
            @if let Some(scan) = &library.scan {
                p.problem role="status" { (scan) }
            }
            @if let Some(advice) = &library.advice {
                p.problem { (advice) }
            }
            (cards(&library.cards, true))
            (pager(&library.pager))
            form.search method="get" action="/courses" role="search" {
                label for="q" { "Search courses and lectures" }
                input #q type="search" name="q" value=(library.query) maxlength="200" autocomplete="off"
                    autofocus[searched && library.cards.is_empty()];
                @if let Some(profile) = &library.profile {
                    input type="hidden" name="profile" value=(profile);
                }
                button type="submit" { "Search" }
            }
            p {
                a.button href=(library.back.1) autofocus[!searched && library.cards.is_empty()] {
                    (library.back.0)
                }
            }
        },
    )
}

/// A course.
#[derive(Clone, Debug)]
pub struct CoursePage {
    /// Its name.
    pub title: String,
    /// What is known of it, in a line.
    pub facts: String,
    /// Title and URL of the class to go on with.
    pub resume: Option<(String, String)>,
    /// URL of its presentation.
    pub presentation: Option<String>,
    /// Its modules, as far as they are on this page.
    pub sections: Vec<Section>,
    /// Its pages.
    pub pager: Pager,
    /// Labels and URLs of pages that would take many steps.
    pub jumps: Vec<(String, String)>,
    /// URL of the list it stands in.
    pub back: String,
}

/// What a course holds.
pub fn course(course: &CoursePage) -> String {
    let empty = course
        .sections
        .iter()
        .all(|section| section.cards.is_empty());
    // Who pages on looks for a class; who comes from the list goes on where it was left.
    let further = course.pager.page > 1 && !empty;
    page(
        &course.title,
        html! {
            h1 dir="auto" { (course.title) }
            p.facts dir="auto" { (course.facts) }
            @if course.resume.is_some() || course.presentation.is_some() {
                p {
                    @if let Some((title, url)) = &course.resume {
                        a.button href=(url) autofocus[!further] { "Play: " bdi { (title) } }
                    }
                    @if let Some(url) = &course.presentation {
                        a.button href=(url) { "Presentation" }
                    }
                }
            }
            @if empty {
                p.problem { "This course has no lectures yet." }
            }
            @for (at, section) in course.sections.iter().enumerate() {
                @if !section.title.is_empty() {
                    h2 dir="auto" { (section.title) }
                }
                (cards(&section.cards, further && at == 0))
            }
            (pager(&course.pager))
            @if !course.jumps.is_empty() {
                h2 { "Go to" }
                p {
                    @for (label, url) in &course.jumps {
                        a.button href=(url) { bdi { (label) } }
                    }
                }
            }
            p { a.button href=(course.back) autofocus[empty] { "Back to the list" } }
        },
    )
}

fn cards(cards: &[Card], focus: bool) -> Markup {
    html! {
        @if !cards.is_empty() {
            ul.list {
                @for (at, card) in cards.iter().enumerate() {
                    li {
                        a.item href=(card.url) autofocus[focus && at == 0] {
                            span.name dir="auto" { (card.title) }
                            " "
                            span.facts dir="auto" {
                                (mark(card.mark))
                                (card.facts)
                            }
                        }
                    }
                }
            }
        }
    }
}

fn mark(mark: Mark) -> Markup {
    html! {
        @match mark {
            Mark::None => {}
            Mark::Begun(None) => { span.mark { "Begun" } " " }
            Mark::Begun(Some(percent)) => { span.mark { (percent) " % watched" } " " }
            Mark::Complete => { span.mark { "\u{2713} Watched" } " " }
        }
    }
}

fn pager(pager: &Pager) -> Markup {
    html! {
        @if pager.pages > 1 {
            p {
                @if let Some(url) = &pager.previous {
                    a.button rel="prev" href=(url) { "Previous page" }
                }
                @if let Some(url) = &pager.next {
                    a.button rel="next" href=(url) { "Next page" }
                }
                span.facts { "Page " (pager.page) " of " (pager.pages) }
            }
        }
    }
}
