//! The two small languages of the Drive API: `q`, which picks files, and `fields`, which picks their properties.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::file::File;

/// A parsed `fields`: a name and what is picked below it; empty below means everything.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Fields(BTreeMap<String, Fields>);

impl Fields {
    /// Reads `a,b(c,d),e/f`; nothing for what is not such a list.
    pub(super) fn parse(text: &str) -> Option<Fields> {
        let mut rest = text;
        let fields = Fields::list(&mut rest)?;
        rest.is_empty().then_some(fields)
    }

    fn list(rest: &mut &str) -> Option<Fields> {
        let mut fields = Fields::default();
        loop {
            *rest = rest.trim_start();
            let end = rest.find(['(', ')', ',', '/']).unwrap_or(rest.len());
            let name = rest[..end].trim();
            if name.is_empty() {
                return None;
            }
            *rest = &rest[end..];
            let below = if let Some(after) = rest.strip_prefix('(') {
                *rest = after;
                let below = Fields::list(rest)?;
                *rest = rest.strip_prefix(')')?;
                below
            } else if let Some(after) = rest.strip_prefix('/') {
                *rest = after;
                let end = rest.find(['(', ')', ',']).unwrap_or(rest.len());
                let below = Fields::parse(&rest[..end])?;
                *rest = &rest[end..];
                below
            } else {
                Fields::default()
            };
            fields
                .0
                .entry(name.to_owned())
                .or_default()
                .0
                .extend(below.0);
            *rest = rest.trim_start();
            match rest.strip_prefix(',') {
                Some(after) => *rest = after,
                None => return Some(fields),
            }
        }
    }

    /// What is left of `value` when only the fields are kept.
    pub(super) fn pick(&self, value: &Value) -> Value {
        if self.0.is_empty() || self.0.contains_key("*") {
            return value.clone();
        }
        match value {
            Value::Array(items) => items.iter().map(|item| self.pick(item)).collect(),
            Value::Object(object) => {
                let kept = object.iter().filter_map(|(name, value)| {
                    Some((name.clone(), self.0.get(name)?.pick(value)))
                });
                Value::Object(kept.collect::<Map<_, _>>())
            }
            other => other.clone(),
        }
    }
}

/// A parsed `q`.
#[derive(Debug)]
pub(super) enum Query {
    And(Box<Query>, Box<Query>),
    Or(Box<Query>, Box<Query>),
    Not(Box<Query>),
    InParents(String),
    Compare(String, String, String),
}

impl Query {
    /// Reads the part of the language that is in use; nothing for what is malformed.
    pub(super) fn parse(text: &str) -> Option<Query> {
        let words = words(text)?;
        let mut rest = &words[..];
        let query = Query::chain(&mut rest)?;
        rest.is_empty().then_some(query)
    }

    /// `and` and `or` bind alike, from left to right.
    fn chain(rest: &mut &[Word]) -> Option<Query> {
        let mut left = Query::term(rest)?;
        while let Some(Word::Bare(word)) = rest.first() {
            let and = word.eq_ignore_ascii_case("and");
            if !and && !word.eq_ignore_ascii_case("or") {
                break;
            }
            *rest = &rest[1..];
            let right = Box::new(Query::term(rest)?);
            left = if and {
                Query::And(Box::new(left), right)
            } else {
                Query::Or(Box::new(left), right)
            };
        }
        Some(left)
    }

    fn term(rest: &mut &[Word]) -> Option<Query> {
        let (first, after) = rest.split_first()?;
        match first {
            Word::Bare(word) if word == "(" => {
                *rest = after;
                let query = Query::chain(rest)?;
                let (close, after) = rest.split_first()?;
                *rest = after;
                matches!(close, Word::Bare(word) if word == ")").then_some(query)
            }
            Word::Bare(word) if word.eq_ignore_ascii_case("not") => {
                *rest = after;
                Some(Query::Not(Box::new(Query::term(rest)?)))
            }
            Word::Text(id) => {
                let [Word::Bare(word), Word::Bare(property), after @ ..] = after else {
                    return None;
                };
                *rest = after;
                (word == "in" && property == "parents").then(|| Query::InParents(id.clone()))
            }
            Word::Bare(property) => {
                let [Word::Bare(operator), value, after @ ..] = after else {
                    return None;
                };
                *rest = after;
                let (Word::Bare(value) | Word::Text(value)) = value;
                let known = ["name", "mimeType", "trashed", "sharedWithMe"].contains(&&**property);
                known.then(|| Query::Compare(property.clone(), operator.clone(), value.clone()))
            }
        }
    }

    /// Whether `file` is meant.
    pub(super) fn fits(&self, file: &File) -> bool {
        match self {
            Query::And(a, b) => a.fits(file) && b.fits(file),
            Query::Or(a, b) => a.fits(file) || b.fits(file),
            Query::Not(a) => !a.fits(file),
            Query::InParents(id) => file.parents.contains(id),
            Query::Compare(property, operator, value) => {
                let is = match &**property {
                    // `name =` ignores case; `contains` is a match of a word's beginning.
                    "name" if operator == "contains" => {
                        let value = value.to_lowercase();
                        file.name
                            .to_lowercase()
                            .split(' ')
                            .any(|word| word.starts_with(&value))
                    }
                    "name" => file.name.to_lowercase() == value.to_lowercase(),
                    "mimeType" if operator == "contains" => file.mime.starts_with(&**value),
                    "mimeType" => file.mime == *value,
                    "trashed" => file.trashed == (value == "true"),
                    _ => value == "true",
                };
                is != (operator == "!=")
            }
        }
    }

    /// Whether everything it finds lies in one of the folders it names.
    pub(super) fn is_below_folders(&self) -> bool {
        match self {
            Query::And(a, b) => a.is_below_folders() || b.is_below_folders(),
            Query::Or(a, b) => a.is_below_folders() && b.is_below_folders(),
            Query::InParents(_) => true,
            Query::Not(_) | Query::Compare(..) => false,
        }
    }

    /// The folders it names.
    pub(super) fn folders(&self) -> Vec<&str> {
        match self {
            Query::And(a, b) | Query::Or(a, b) => [a.folders(), b.folders()].concat(),
            Query::Not(a) => a.folders(),
            Query::InParents(id) => vec![id],
            Query::Compare(..) => Vec::new(),
        }
    }
}

#[derive(Debug)]
enum Word {
    Bare(String),
    Text(String),
}

fn words(text: &str) -> Option<Vec<Word>> {
    let mut words = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(&first) = chars.peek() {
        if first.is_whitespace() {
            chars.next();
        } else if first == '(' || first == ')' {
            chars.next();
            words.push(Word::Bare(first.to_string()));
        } else if first == '\'' {
            chars.next();
            let mut value = String::new();
            loop {
                match chars.next()? {
                    '\'' => break,
                    '\\' => value.push(chars.next()?),
                    other => value.push(other),
                }
            }
            words.push(Word::Text(value));
        } else {
            let operator = "=!<>".contains(first);
            let mut word = String::new();
            while let Some(&next) = chars.peek() {
                if next.is_whitespace() || "()'".contains(next) || "=!<>".contains(next) != operator
                {
                    break;
                }
                word.push(next);
                chars.next();
            }
            words.push(Word::Bare(word));
        }
    }
    Some(words)
}
