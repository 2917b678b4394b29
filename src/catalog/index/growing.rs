//! An index while the catalog is read: texts are kept once, entries come in the order of the file, and at the end each
//! gets the reference that leads to it alone.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::{Index, KINDS, Keys, Text, place, slice};
use crate::catalog::text;

/// Bytes of an id or a key of a file on Drive.
const LONGEST_RESOURCE_KEY: usize = 128;

/// An index that grows.
#[derive(Debug, Default)]
pub(crate) struct Growing {
    pub(crate) index: Index,
    /// Where a text of this hash stands; equal ones are kept once.
    seen: HashMap<u64, Text, BuildHasherDefault<Hashed>>,
}

/// Hashes what is a hash already, and of random keys.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// What an entry is known by.
#[derive(Clone, Debug, Default)]
pub(crate) struct Naming {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) url: String,
}

impl Naming {
    /// Last segment of `url`, else the id, else the slug of the name, else (a name without a Latin letter) the name.
    pub(crate) fn public_id(&self) -> String {
        text::url_slug(&self.url)
            .into_iter()
            .chain([self.id.trim().to_owned(), text::slug(&self.name)])
            .find(|text| !text.is_empty())
            .unwrap_or_else(|| self.name.trim().to_owned())
    }
}

impl Growing {
    /// Keeps a text. Beyond the 4 GiB that a [`Text`] can name nothing is kept, which no file that is read can reach.
    pub(crate) fn keep(&mut self, text: &str) -> Text {
        use std::hash::{BuildHasher, RandomState};
        if text.is_empty() {
            return Text::default();
        }
        thread_local!(static STATE: RandomState = RandomState::new());
        let hash = STATE.with(|state| state.hash_one(text));
        if let Some(&known) = self.seen.get(&hash) {
            if self.index.text(known) == text {
                return known;
            }
        }
        let arena = &mut self.index.arena;
        let (Ok(at), Ok(len)) = (u32::try_from(arena.len()), u32::try_from(text.len())) else {
            return Text::default();
        };
        if at.checked_add(len).is_none() {
            return Text::default();
        }
        arena.push_str(text);
        let kept = Text { at, len };
        self.seen.insert(hash, kept);
        kept
    }

    /// Keeps the key of a file; what is none is no use to anybody.
    pub(crate) fn resource_key(&mut self, id: &str, key: &str) {
        let sound = |text: &str| (1..=LONGEST_RESOURCE_KEY).contains(&text.len());
        if sound(id) && sound(key) {
            let pair = (self.keep(id), self.keep(key));
            self.index.resource_keys.push(pair);
        }
    }

    pub(crate) fn keys(&mut self, naming: &Naming) -> Keys {
        Keys {
            id: self.keep(&text::key(&naming.id)),
            name: self.keep(&text::key(&naming.name)),
            slug: self.keep(&text::slug(&naming.name)),
            url: self.keep(&text::key(&text::url_slug(&naming.url).unwrap_or_default())),
        }
    }

    /// Gives every entry a reference that leads to it alone, and the number of what is above it.
    pub(crate) fn finish(mut self) -> Index {
        let siblings: Vec<Sibling> = (self.index.categories.iter())
            .map(|entry| {
                let texts = self.texts(&entry.keys);
                let preferred = match texts[2].is_empty() {
                    true => texts[0].clone(),
                    false => texts[2].clone(),
                };
                Sibling { preferred, texts }
            })
            .collect();
        let references = self.references(&siblings);
        for (entry, reference) in self.index.categories.iter_mut().zip(references) {
            entry.reference = reference;
        }
        for number in 0..self.index.categories.len() {
            let range = self.index.categories[number].routes.clone();
            let siblings: Vec<Sibling> = slice(&self.index.routes, &range)
                .iter()
                .map(|entry| self.public(entry.public_id, &entry.keys))
                .collect();
            let references = self.references(&siblings);
            let routes = self.index.routes.iter_mut().skip(range.start as usize);
            for (entry, reference) in routes.zip(references) {
                (entry.reference, entry.category) = (reference, number as u32);
            }
        }
        for number in 0..self.index.routes.len() {
            let range = self.index.routes[number].courses.clone();
            let siblings: Vec<Sibling> = slice(&self.index.courses, &range)
                .iter()
                .map(|entry| self.public(entry.public_id, &entry.keys))
                .collect();
            let references = self.references(&siblings);
            let courses = self.index.courses.iter_mut().skip(range.start as usize);
            for (entry, reference) in courses.zip(references) {
                (entry.reference, entry.route) = (reference, number as u32);
            }
        }
        for number in 0..self.index.courses.len() {
            let range = self.index.courses[number].modules.clone();
            let siblings: Vec<Sibling> = slice(&self.index.modules, &range)
                .iter()
                .map(|entry| Sibling::named(self.index.text(entry.name)))
                .collect();
            let references = self.references(&siblings);
            let modules = self.index.modules.iter_mut().skip(range.start as usize);
            for (entry, reference) in modules.zip(references) {
                (entry.reference, entry.course) = (reference, number as u32);
            }
        }
        for number in 0..self.index.modules.len() {
            let range = self.index.modules[number].classes.clone();
            let siblings: Vec<Sibling> = slice(&self.index.classes, &range)
                .iter()
                .map(|entry| Sibling::named(self.index.text(entry.name)))
                .collect();
            let references = self.references(&siblings);
            let classes = self.index.classes.iter_mut().skip(range.start as usize);
            for (entry, reference) in classes.zip(references) {
                (entry.reference, entry.module) = (reference, number as u32);
            }
        }
        let mut index = self.index;
        let mut keys = std::mem::take(&mut index.resource_keys);
        // Of several for one file the last counts, as it would for a reader of the file.
        keys.reverse();
        keys.sort_by(|(a, _), (b, _)| index.text(*a).cmp(index.text(*b)));
        keys.dedup_by_key(|(id, _)| *id);
        keys.shrink_to_fit();
        index.resource_keys = keys;
        index.arena.shrink_to_fit();
        index.classes.shrink_to_fit();
        index.modules.shrink_to_fit();
        index.courses.shrink_to_fit();
        index
    }

    fn public(&self, public_id: Text, keys: &Keys) -> Sibling {
        Sibling {
            preferred: self.index.text(public_id).to_owned(),
            texts: self.texts(keys),
        }
    }

    fn texts(&self, keys: &Keys) -> [String; 4] {
        KINDS.map(|kind| self.index.text(kind(keys)).to_owned())
    }

    /// For each of some siblings its preferred reference, when that finds it as [`Index::find`] looks, else the number
    /// of its place, which always does.
    fn references(&mut self, siblings: &[Sibling]) -> Vec<Text> {
        let mut found: HashMap<&str, usize> = HashMap::new();
        for kind in 0..KINDS.len() {
            for (at, sibling) in siblings.iter().enumerate() {
                let text = sibling.texts[kind].as_str();
                if !text.is_empty() {
                    found.entry(text).or_insert(at);
                }
            }
        }
        let leads = |at: usize, preferred: &str| {
            // Dots would be taken for a way up by whoever reads the URL.
            !preferred.chars().all(|c| c == '.')
                && place(preferred, siblings.len()).is_none()
                && found.get(text::key(preferred).as_str()) == Some(&at)
        };
        let references =
            siblings
                .iter()
                .enumerate()
                .map(|(at, sibling)| match leads(at, &sibling.preferred) {
                    true => self.keep(&sibling.preferred),
                    false => self.keep(&at.to_string()),
                });
        references.collect()
    }
}

/// An entry among its siblings, while references are chosen.
struct Sibling {
    preferred: String,
    /// What it answers to, by [`KINDS`].
    texts: [String; 4],
}

impl Sibling {
    /// One that has a name alone.
    fn named(name: &str) -> Sibling {
        let slug = text::slug(name);
        Sibling {
            preferred: slug.clone(),
            texts: [String::new(), text::key(name), slug, String::new()],
        }
    }
}
