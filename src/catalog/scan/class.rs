//! The files of one folder as classes: which belong together, and what each is to its class.
//!
//! Files with the same leading number are one class (`1. Title.mp4`, `1. Title_summary.html`, `1. Title_en.vtt`,
//! `1. Title - Lecturas recomendadas.txt`, `1. Title.html`), unless several videos share the number: then each is a
//! class, and the other files go to the one whose title theirs begins with. Videos without a number are
//! classes by their title. What belongs to no class is kept, too: in one of its own at the end.

use std::collections::{BTreeMap, HashMap};

use super::entry::{Entry, Kind};
use super::name;

/// What is played, best first: where two files have one title, the first is the class's and the other a resource.
const MEDIA: &[&str] = &[
    "mp4", "webm", "m4v", "mkv", "mp3", "m4a", // What few browsers play comes last.
    "mov", "avi", "mpg", "mpeg", "ts", "wmv", "flv", "ogv", "ogg", "opus", "aac", "wav", "flac",
];
/// So many of [`MEDIA`] make a class even beside an article or a summary; the others only where there is none of them.
const PLAIN_MEDIA: usize = 6;

/// Extensions that a browser shows by itself.
const VIEWABLE: &[&str] = &[
    "pdf", "html", "htm", "txt", "md", "csv", "json", "xml", "png", "jpg", "jpeg", "gif", "webp",
    "avif", "svg", "bmp", "ico", "mp3", "m4a", "mp4", "webm", "m4v", "ogg", "wav", "css", "js",
    "py", "sql", "vtt", "srt",
];

/// Languages of one class; what is beyond is a resource. Nobody translates into more, and names may be anything.
const LANGUAGES: usize = 64;

/// The name of the class that holds what belongs to none.
const LEFT_OVER: &str = "Resources";

/// The file that presents a course.
const PRESENTATION: &str = "presentation.html";

/// What a file is to its class, as far as its name alone tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Place in [`MEDIA`].
    Media(usize),
    Summary,
    Subtitles,
    Reading,
    Html,
    Resource,
}

/// The number of a class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Number {
    /// The usual.
    Whole(u32),
    /// `1.2`.
    Dotted(String),
}

/// A class, borrowing from the entries of its folder.
#[derive(Clone, Debug)]
pub(super) struct Class<'a> {
    pub(super) number: Number,
    pub(super) name: String,
    pub(super) media: Option<&'a Entry>,
    pub(super) summary: Option<&'a Entry>,
    /// Language tag (empty when the name says none), in order; the first is the default.
    pub(super) subtitles: Vec<(String, &'a Entry)>,
    pub(super) reading: Option<&'a Entry>,
    pub(super) html: Option<&'a Entry>,
    pub(super) resources: Vec<&'a Entry>,
}

/// A file with what its name says.
struct Piece<'a> {
    entry: &'a Entry,
    role: Role,
    numbers: Option<Vec<u32>>,
    /// The title as it is written.
    title: &'a str,
    /// The title as it is compared.
    folded: String,
}

/// What a file's name alone says it is.
pub(crate) fn role(file: &str) -> Role {
    let (stem, ext) = name::split(file);
    if let Some(rank) = MEDIA.iter().position(|known| *known == ext) {
        return Role::Media(rank);
    }
    match ext.as_str() {
        "html" | "htm" => match cut(stem, "_summary") {
            Some(_) => Role::Summary,
            None => Role::Html,
        },
        "vtt" | "srt" => Role::Subtitles,
        "txt" => {
            let folded = name::fold(stem);
            let says = (folded.split(' '))
                .any(|word| word.starts_with("reading") || word.starts_with("lectura"));
            if says { Role::Reading } else { Role::Resource }
        }
        _ => Role::Resource,
    }
}

/// `text` without `suffix` at its end, whatever its case.
fn cut<'a>(text: &'a str, suffix: &str) -> Option<&'a str> {
    let at = text.len().checked_sub(suffix.len())?;
    let (before, end) = (text.get(..at)?, text.get(at..)?);
    end.eq_ignore_ascii_case(suffix).then_some(before)
}

/// Whether a file presents its course.
pub(super) fn is_presentation(entry: &Entry) -> bool {
    entry.kind == Kind::File && entry.name.eq_ignore_ascii_case(PRESENTATION)
}

/// Whether a file makes its folder one of classes: it is played, or numbered and shown.
pub(super) fn makes_a_class(entry: &Entry) -> bool {
    if entry.kind == Kind::Folder || name::is_hidden(&entry.name) || is_presentation(entry) {
        return false;
    }
    match role(&entry.name) {
        Role::Media(_) => true,
        Role::Subtitles => false,
        _ => name::leading(name::split(&entry.name).0).is_some(),
    }
}

/// The classes of a folder, in order. `presentation` says whether the folder may hold the course's presentation,
/// which is then no class.
pub(super) fn group(entries: &[Entry], presentation: bool) -> Vec<Class<'_>> {
    let mut pieces: Vec<Piece<'_>> = entries
        .iter()
        .filter(|entry| entry.kind != Kind::Folder && !name::is_hidden(&entry.name))
        .filter(|entry| !(presentation && is_presentation(entry)))
        .map(piece)
        .collect();
    pieces.sort_by_cached_key(|piece| {
        (
            name::natural_key(&piece.entry.name),
            piece.entry.name.clone(),
            piece.entry.id.clone(),
        )
    });

    let mut numbered: BTreeMap<Vec<u32>, Vec<Piece<'_>>> = BTreeMap::new();
    let mut loose = Vec::new();
    for piece in pieces {
        match piece.numbers.clone() {
            Some(numbers) => numbered.entry(numbers).or_default().push(piece),
            None => loose.push(piece),
        }
    }
    let mut classes = Vec::new();
    for (numbers, pieces) in numbered {
        let number = match numbers[..] {
            [one] => Number::Whole(one),
            _ => Number::Dotted(
                numbers
                    .iter()
                    .map(u32::to_string)
                    .collect::<Vec<_>>()
                    .join("."),
            ),
        };
        classes.extend(of_number(&number, pieces));
    }
    of_no_number(loose, &mut classes);
    classes
}

fn piece(entry: &Entry) -> Piece<'_> {
    let (stem, _) = name::split(&entry.name);
    // Google's documents have no extension: a dot in their name is one in their title.
    let (stem, role) = match entry.kind {
        Kind::File => (stem, role(&entry.name)),
        _ => (entry.name.as_str(), Role::Resource),
    };
    let (numbers, title) = match name::leading(stem) {
        Some((numbers, title)) => (Some(numbers), title),
        None => (None, stem),
    };
    let title = match role {
        Role::Summary => cut(title, "_summary").unwrap_or(title),
        Role::Reading => reading_title(title),
        _ => title,
    };
    Piece {
        entry,
        role,
        numbers,
        title: title.trim(),
        folded: name::fold(title),
    }
}

/// `Title - Lecturas recomendadas` without what says that it is a reading.
fn reading_title(title: &str) -> &str {
    for separator in [" - ", " \u{2013} ", "_"] {
        if let Some((before, after)) = title.rsplit_once(separator) {
            let after = name::fold(after);
            if after.starts_with("reading") || after.starts_with("lectura") {
                return before;
            }
        }
    }
    title
}

/// Titles that are played, each once, in their order. A folder may hold a hundred thousand: nothing here compares each
/// with each.
#[derive(Default)]
struct Titles {
    list: Vec<String>,
    places: HashMap<String, usize>,
}

impl Titles {
    fn of<'a, 'b: 'a>(played: impl Iterator<Item = &'a Piece<'b>>) -> Titles {
        let mut titles = Titles::default();
        for piece in played {
            if !titles.places.contains_key(&piece.folded) {
                let place = titles.list.len();
                titles.places.insert(piece.folded.clone(), place);
                titles.list.push(piece.folded.clone());
            }
        }
        titles
    }

    /// The place of a title.
    fn place(&self, title: &str) -> Option<usize> {
        self.places.get(title).copied()
    }

    /// The place of the longest title that `text` is, or begins with.
    fn begun_by(&self, text: &str) -> Option<usize> {
        let mut ends: Vec<usize> = heads(text).collect();
        ends.reverse();
        ends.into_iter()
            .filter_map(|end| self.place(&text[..end]))
            .next()
    }

    /// For each text that is no title's beginning nothing, for others the place of the first title that begins with it.
    fn first_after<'a>(&self, texts: impl Iterator<Item = &'a str>) -> HashMap<&'a str, usize> {
        let mut found: HashMap<&str, Option<usize>> = texts.map(|text| (text, None)).collect();
        for (place, title) in self.list.iter().enumerate() {
            for end in heads(title) {
                if let Some(first @ None) = found.get_mut(&title[..end]) {
                    *first = Some(place);
                }
            }
        }
        found
            .into_iter()
            .filter_map(|(text, place)| Some((text, place?)))
            .collect()
    }
}

/// Where the first word of a text ends, the first two, and so on to all of it.
fn heads(text: &str) -> impl Iterator<Item = usize> + '_ {
    let inner = text.match_indices(' ').map(|(at, _)| at);
    inner.chain([text.len()]).filter(|end| *end > 0)
}

/// The classes of one number: one, or one for each title that is played.
fn of_number<'a>(number: &Number, pieces: Vec<Piece<'a>>) -> Vec<Class<'a>> {
    let played = |piece: &&Piece<'_>| matches!(piece.role, Role::Media(rank) if rank < PLAIN_MEDIA);
    let titles = Titles::of(pieces.iter().filter(played));
    if titles.list.len() < 2 {
        return vec![class(number.clone(), pieces)];
    }
    let others = pieces.iter().filter(|piece| !played(piece));
    let after = titles.first_after(others.map(|piece| piece.folded.as_str()));
    let homes: Vec<usize> = pieces
        .iter()
        .map(|piece| {
            let home = titles.place(&piece.folded);
            home.or_else(|| titles.begun_by(&piece.folded))
                .or_else(|| after.get(piece.folded.as_str()).copied())
                .unwrap_or(0)
        })
        .collect();
    let mut shares: Vec<Vec<Piece<'a>>> = titles.list.iter().map(|_| Vec::new()).collect();
    for (piece, home) in pieces.into_iter().zip(homes) {
        shares[home].push(piece);
    }
    shares
        .into_iter()
        .map(|share| class(number.clone(), share))
        .collect()
}

/// Videos without a number, each with what begins with its title; and what is left over.
fn of_no_number<'a>(loose: Vec<Piece<'a>>, classes: &mut Vec<Class<'a>>) {
    let played = |piece: &&Piece<'_>| matches!(piece.role, Role::Media(_));
    let titles = Titles::of(loose.iter().filter(played));
    let mut shares: Vec<Vec<Piece<'a>>> = titles.list.iter().map(|_| Vec::new()).collect();
    let mut left: Vec<&'a Entry> = Vec::new();
    for piece in loose {
        let home = match piece.role {
            Role::Media(_) => titles.place(&piece.folded),
            _ => titles.begun_by(&piece.folded),
        };
        match home {
            Some(home) => shares[home].push(piece),
            None => left.push(piece.entry),
        }
    }
    for share in shares {
        let place = u32::try_from(classes.len() + 1).unwrap_or(u32::MAX);
        classes.push(class(Number::Whole(place), share));
    }
    if !left.is_empty() {
        let place = u32::try_from(classes.len() + 1).unwrap_or(u32::MAX);
        classes.push(Class {
            number: Number::Whole(place),
            name: LEFT_OVER.to_owned(),
            media: None,
            summary: None,
            subtitles: Vec::new(),
            reading: None,
            html: None,
            resources: left,
        });
    }
}

fn class<'a>(number: Number, mut pieces: Vec<Piece<'a>>) -> Class<'a> {
    let others = pieces.iter().any(|piece| {
        !matches!(
            piece.role,
            Role::Media(_) | Role::Resource | Role::Subtitles
        )
    });
    // The best of what is played comes first; the sort is stable and keeps the order of names.
    pieces.sort_by_key(|piece| match piece.role {
        Role::Media(rank) => rank,
        _ => MEDIA.len(),
    });
    let named = |of: fn(Role) -> bool| pieces.iter().find(|piece| of(piece.role));
    let speaker = named(|role| matches!(role, Role::Media(_)))
        .or_else(|| named(|role| role == Role::Html))
        .or_else(|| named(|role| role == Role::Summary))
        .or_else(|| named(|role| role == Role::Reading))
        .or(pieces.first());
    let (name, folded) = speaker.map_or((String::new(), String::new()), |piece| {
        let stem = name::split(&piece.entry.name).0;
        let title = if piece.title.is_empty() {
            stem
        } else {
            piece.title
        };
        (title.to_owned(), piece.folded.clone())
    });
    let mut class = Class {
        number,
        name,
        media: None,
        summary: None,
        subtitles: Vec::new(),
        reading: None,
        html: None,
        resources: Vec::new(),
    };
    for piece in &pieces {
        let slot = match piece.role {
            Role::Media(rank) if rank < PLAIN_MEDIA || !others => &mut class.media,
            Role::Summary => &mut class.summary,
            Role::Reading => &mut class.reading,
            Role::Html => &mut class.html,
            Role::Subtitles => {
                let language = language(piece, &folded);
                let full = class.subtitles.len() >= LANGUAGES;
                // `.vtt` before `.srt`, which the order of names does not give.
                match class
                    .subtitles
                    .iter_mut()
                    .find(|(known, _)| *known == language)
                {
                    None if !full => {
                        class.subtitles.push((language, piece.entry));
                    }
                    Some((_, kept)) if is_srt(kept) && !is_srt(piece.entry) => {
                        class.resources.push(std::mem::replace(kept, piece.entry));
                    }
                    _ => class.resources.push(piece.entry),
                }
                continue;
            }
            _ => {
                class.resources.push(piece.entry);
                continue;
            }
        };
        match slot {
            None => *slot = Some(piece.entry),
            Some(_) => class.resources.push(piece.entry),
        }
    }
    class.subtitles.sort_by(|a, b| a.0.cmp(&b.0));
    class
}

fn is_srt(entry: &Entry) -> bool {
    name::split(&entry.name).1 == "srt"
}

/// The language of a subtitle file: what follows the class's title behind `_` or `.`.
fn language(piece: &Piece<'_>, title: &str) -> String {
    if piece.folded == title {
        return String::new();
    }
    let tag = match piece.title.rsplit_once(['_', '.']) {
        Some((_, tag)) => tag.trim(),
        None => return String::new(),
    };
    let (primary, region) = match tag.split_once(['-', '_']) {
        Some((primary, region)) => (primary, Some(region)),
        None => (tag, None),
    };
    let letters = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphabetic());
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    // BCP 47 section 2.1: a language of two or three letters, a region or a script; or a language spelled out.
    let known =
        (2..=3).contains(&primary.len()) || (region.is_none() && (4..=12).contains(&primary.len()));
    if !known
        || !letters(primary)
        || !region.is_none_or(|region| (2..=4).contains(&region.len()) && plain(region))
    {
        return String::new();
    }
    match region {
        Some(region) => format!(
            "{}-{}",
            primary.to_ascii_lowercase(),
            region.to_ascii_uppercase()
        ),
        None => primary.to_ascii_lowercase(),
    }
}

/// Extension of a resource, and whether a browser shows it by itself.
pub(super) fn extension(entry: &Entry) -> (String, bool) {
    match entry.kind {
        Kind::Document => ("pdf".to_owned(), true),
        Kind::Drawing => ("png".to_owned(), true),
        Kind::Other | Kind::Folder => (String::new(), false),
        Kind::File => {
            let (_, ext) = name::split(&entry.name);
            let viewable = VIEWABLE.contains(&ext.as_str());
            (ext, viewable)
        }
    }
}

#[cfg(test)]
mod tests;
