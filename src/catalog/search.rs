//! Search by words: a sorted table of words, and for each the names it stands in.
//!
//! Every word of a query must begin a word of the name itself, of the module and course around it, or of the route and
//! category around those. Names that fit by themselves come first; among equals, whole words before beginnings, courses
//! before classes, and then the order of the file. Words are folded as [`crate::catalog::text`] says.

use std::collections::HashMap;

use crate::catalog::index::{Index, Text};
use crate::catalog::text;

/// Words of a query that are looked up, and characters that are read of it.
pub const MOST_WORDS: usize = 16;

/// See [`MOST_WORDS`].
pub const MOST_CHARACTERS: usize = 256;

/// The words of an index.
#[derive(Debug)]
pub struct Search {
    /// All words, one after the other, sorted.
    letters: String,
    /// Where each word begins; one more than there are words.
    begins: Vec<u32>,
    /// Where the names of each word begin in `names`; one more than there are words.
    lists: Vec<u32>,
    /// Numbers of names, as [`Spaces`] deals them out.
    names: Vec<u32>,
    spaces: Spaces,
}

/// How names are numbered: all categories, then all routes, courses, modules, classes.
#[derive(Clone, Copy, Debug)]
struct Spaces {
    routes: u32,
    courses: u32,
    modules: u32,
    classes: u32,
    end: u32,
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hit {
    /// Number of a course.
    Course(usize),
    /// Number of a class.
    Class(usize),
}

impl Search {
    /// Reads the names of an index.
    pub(crate) fn of(index: &Index) -> Search {
        let (mut known, mut pairs) = (HashMap::<String, u32>::new(), Vec::<(u32, u32)>::new());
        let mut number = 0u32;
        let mut name = |name: Text| {
            text::words(index.text(name), |word| {
                let word = match known.get(word) {
                    Some(&word) => word,
                    None => {
                        let next = known.len() as u32;
                        known.insert(word.to_owned(), next);
                        next
                    }
                };
                pairs.push((word, number));
            });
            number += 1;
            number
        };
        let mut end = 0;
        index
            .categories
            .iter()
            .for_each(|entry| end = name(entry.name));
        let routes = end;
        index.routes.iter().for_each(|entry| end = name(entry.name));
        let courses = end;
        index
            .courses
            .iter()
            .for_each(|entry| end = name(entry.name));
        let modules = end;
        index
            .modules
            .iter()
            .for_each(|entry| end = name(entry.name));
        let classes = end;
        index
            .classes
            .iter()
            .for_each(|entry| end = name(entry.name));
        let spaces = Spaces {
            routes,
            courses,
            modules,
            classes,
            end,
        };

        let mut words: Vec<(String, u32)> = known.into_iter().collect();
        words.sort_unstable();
        let mut rank = vec![0; words.len()];
        for (at, (_, word)) in words.iter().enumerate() {
            rank[*word as usize] = at as u32;
        }
        for pair in &mut pairs {
            pair.0 = rank[pair.0 as usize];
        }
        pairs.sort_unstable();
        pairs.dedup();

        let (mut letters, mut begins) = (String::new(), Vec::with_capacity(words.len() + 1));
        for (word, _) in &words {
            begins.push(letters.len() as u32);
            letters.push_str(word);
        }
        begins.push(letters.len() as u32);
        letters.shrink_to_fit();
        let mut lists = vec![0; words.len() + 1];
        for (word, _) in &pairs {
            lists[*word as usize + 1] += 1;
        }
        for at in 1..lists.len() {
            lists[at] += lists[at - 1];
        }
        Search {
            letters,
            begins,
            lists,
            names: pairs.into_iter().map(|(_, name)| name).collect(),
            spaces,
        }
    }

    fn word(&self, at: usize) -> &str {
        self.letters
            .get(self.begins[at] as usize..self.begins[at + 1] as usize)
            .unwrap_or_default()
    }

    /// What every word of `query` leads to: how many there are, and the best `limit` of them. Of a query that is longer
    /// than [`MOST_WORDS`] or [`MOST_CHARACTERS`] only the beginning is read.
    pub fn find(&self, index: &Index, query: &str, limit: usize) -> (usize, Vec<Hit>) {
        let query = match query.char_indices().nth(MOST_CHARACTERS) {
            Some((end, _)) => &query[..end],
            None => query,
        };
        let mut words = Vec::new();
        text::words(query, |word| {
            if words.len() < MOST_WORDS && !words.iter().any(|known| known == word) {
                words.push(word.to_owned());
            }
        });
        if words.is_empty() {
            return (0, Vec::new());
        }
        let marks: Vec<Marks> = words.iter().map(|word| self.marks(word)).collect();
        let spaces = self.spaces;
        // Category and route, course, module: what each costs a name below it, by word.
        let mut found: Vec<u64> = Vec::new();
        let mut around = vec![0u32; marks.len()];
        let mut within = vec![0u32; marks.len()];
        for (course_at, course) in index.courses.iter().enumerate() {
            let route = course.route;
            let category = index.routes.get(route as usize).map_or(0, |r| r.category);
            let mut cost = 0;
            for (word, marks) in marks.iter().enumerate() {
                let far = marks.cost(category).min(marks.cost(spaces.routes + route));
                around[word] = far.saturating_add(2 * STEP);
                let own = marks.cost(spaces.courses + course_at as u32);
                cost += own.min(around[word]);
                around[word] = around[word].min(own.saturating_add(STEP));
            }
            if cost < NOWHERE {
                found.push(u64::from(cost) << 33 | course_at as u64);
            }
            for (at, module) in index.modules_of(course).iter().enumerate() {
                let number = course.modules.start + at as u32;
                for (word, marks) in marks.iter().enumerate() {
                    let own = marks.cost(spaces.modules + number);
                    within[word] = around[word].min(own.saturating_add(STEP));
                }
                for class in module.classes.clone() {
                    let mut cost = 0;
                    for (word, marks) in marks.iter().enumerate() {
                        cost += marks.cost(spaces.classes + class).min(within[word]);
                    }
                    if cost < NOWHERE {
                        found.push(u64::from(cost) << 33 | 1 << 32 | u64::from(class));
                    }
                }
            }
        }
        let count = found.len();
        if limit < count {
            found.select_nth_unstable(limit);
            found.truncate(limit);
        }
        found.sort_unstable();
        let hits = found.into_iter().map(|key| {
            let number = (key & 0xffff_ffff) as usize;
            match key & 1 << 32 {
                0 => Hit::Course(number),
                _ => Hit::Class(number),
            }
        });
        (count, hits.collect())
    }

    /// The names in which a word begins with `word`.
    fn marks(&self, word: &str) -> Marks {
        let count = self.begins.len() - 1;
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.word(middle) < word {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        let size = (self.spaces.end as usize).div_ceil(64);
        let mut marks = Marks {
            whole: vec![0; size],
            begun: vec![0; size],
        };
        for at in low..count {
            let known = self.word(at);
            if !known.starts_with(word) {
                break;
            }
            let list = self.lists[at] as usize..self.lists[at + 1] as usize;
            let into = match known.len() == word.len() {
                true => &mut marks.whole,
                false => &mut marks.begun,
            };
            for &name in self.names.get(list).unwrap_or_default() {
                into[name as usize / 64] |= 1 << (name % 64);
            }
        }
        marks
    }
}

/// What a name costs more for each level that a word stands above it.
const STEP: u32 = 2;

/// What a name costs that does not have a word: more than all words of a query that are somewhere.
const NOWHERE: u32 = 1 << 16;

/// One bit for each name.
struct Marks {
    /// The word stands in it.
    whole: Vec<u64>,
    /// A word that begins with it does.
    begun: Vec<u64>,
}

impl Marks {
    fn cost(&self, name: u32) -> u32 {
        let (at, bit) = (name as usize / 64, 1 << (name % 64));
        if self.whole.get(at).is_some_and(|word| word & bit != 0) {
            0
        } else if self.begun.get(at).is_some_and(|word| word & bit != 0) {
            1
        } else {
            NOWHERE
        }
    }
}
