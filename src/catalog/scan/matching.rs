//! Which folder is which course of an outline.
//!
//! Exact after folding case, accents and punctuation; then one being the beginning of the other, where that is longer
//! than 20 characters; then the words that both have. A folder that is some course's exact match is taken by no
//! other title; one course may stand in several routes.

use std::collections::{HashMap, HashSet};

use super::name;

/// Characters that a common beginning must exceed.
const PREFIX: usize = 20;
/// Share of the words of the longer title that both must have.
const OVERLAP: f64 = 0.8;
/// Words that both must have.
const WORDS: usize = 4;
/// Pairs of a title and a folder that are compared; a library of two thousand courses has less than half of them.
/// Titles beyond must be written as their folders are.
const PAIRS: usize = 10_000_000;

/// How a course was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Match {
    /// The names are the same words.
    Exact,
    /// One name is the beginning of the other.
    Prefix,
    /// The names share most of their words.
    Overlap,
    /// It is in the outline, and nowhere else.
    None,
}

impl Match {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Match::Exact => "exact",
            Match::Prefix => "prefix",
            Match::Overlap => "overlap",
            Match::None => "none",
        }
    }
}

/// For each title, the index of its folder and how it was found.
pub(super) fn find(titles: &[&str], folders: &[&str]) -> Vec<(Option<usize>, Match)> {
    let titles: Vec<String> = titles.iter().map(|title| name::fold(title)).collect();
    let folders: Vec<String> = folders
        .iter()
        .map(|folder| {
            // A course folder may be numbered, as the course in the outline is not.
            let (_, title) = name::leading(folder).unwrap_or((Vec::new(), folder));
            name::fold(if title.is_empty() { folder } else { title })
        })
        .collect();
    let mut exact: HashMap<&str, usize> = HashMap::new();
    for (i, folder) in folders.iter().enumerate() {
        if !folder.is_empty() {
            exact.entry(folder).or_insert(i);
        }
    }
    // Equal titles share a folder, so the decisions are kept by title.
    let mut decided: HashMap<&str, (usize, Match)> = HashMap::new();
    let mut taken: HashSet<usize> = HashSet::new();
    for title in &titles {
        if let Some(folder) = exact.get(title.as_str()) {
            decided.insert(title, (*folder, Match::Exact));
            taken.insert(*folder);
        }
    }
    let bags: Vec<HashSet<&str>> = folders
        .iter()
        .map(|folder| folder.split(' ').collect())
        .collect();
    let mut pairs = PAIRS;
    for (rule, how) in [(prefix as Rule, Match::Prefix), (overlap, Match::Overlap)] {
        for title in &titles {
            if decided.contains_key(title.as_str()) || title.is_empty() {
                continue;
            }
            let Some(left) = pairs.checked_sub(folders.len()) else {
                break;
            };
            pairs = left;
            let bag: HashSet<&str> = title.split(' ').collect();
            let best = (0..folders.len())
                .filter(|i| !taken.contains(i))
                .map(|i| (rule((title, &bag), (&folders[i], &bags[i])), i))
                .filter(|(score, _)| *score > 0.0)
                // Of equals the first, whose index is smaller.
                .max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)));
            if let Some((_, folder)) = best {
                decided.insert(title, (folder, how));
                taken.insert(folder);
            }
        }
    }
    let answer = |title: &String| match decided.get(title.as_str()) {
        Some((folder, how)) => (Some(*folder), *how),
        None => (None, Match::None),
    };
    titles.iter().map(answer).collect()
}

/// Folded name and its words.
type Name<'a> = (&'a str, &'a HashSet<&'a str>);
/// How well two names fit; 0 for not at all.
type Rule = for<'a, 'b> fn(Name<'a>, Name<'b>) -> f64;

fn prefix(a: Name<'_>, b: Name<'_>) -> f64 {
    let (short, long) = if a.0.len() <= b.0.len() {
        (a.0, b.0)
    } else {
        (b.0, a.0)
    };
    let length = short.chars().count();
    match length > PREFIX && long.starts_with(short) {
        // The one that leaves least over.
        true => length as f64 / long.chars().count() as f64,
        false => 0.0,
    }
}

fn overlap(a: Name<'_>, b: Name<'_>) -> f64 {
    let common = a.1.iter().filter(|word| b.1.contains(**word)).count();
    let share = common as f64 / a.1.len().max(b.1.len()) as f64;
    if common >= WORDS && share >= OVERLAP {
        share
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_in_their_order() {
        let folders = [
            "Introducción a la Programación",
            "3. Curso de Git & GitHub",
            "Curso de Fundamentos de Ingeniería de Software 2024",
            "Curso practico de bases de datos relacionales",
            "Bases",
        ];
        for (title, folder, how) in [
            (
                "introduccion a la programacio\u{301}n!",
                Some(0),
                Match::Exact,
            ),
            ("Curso de Git (GitHub)", Some(1), Match::Exact),
            ("Curso de Fundamentos de Ingeniería", Some(2), Match::Prefix),
            (
                "Curso práctico: relacionales, bases de datos",
                Some(3),
                Match::Overlap,
            ),
            ("Base", None, Match::None),
            ("Curso de Fundamentos", None, Match::None),
            ("", None, Match::None),
        ] {
            assert_eq!(find(&[title], &folders), [(folder, how)], "{title}");
        }
    }

    #[test]
    fn exact_matches_are_taken_by_no_other() {
        let folders = ["Curso de Fundamentos de Redes"];
        let titles = [
            "Curso de Fundamentos de Redes Neuronales",
            "Curso de fundamentos de redes",
        ];
        assert_eq!(
            find(&titles, &folders),
            [(None, Match::None), (Some(0), Match::Exact)]
        );
        let twice = [
            "Curso de Fundamentos de Redes II",
            "Curso de Fundamentos de Redes II",
        ];
        assert_eq!(find(&twice, &folders), [(Some(0), Match::Prefix); 2]);
    }
}
