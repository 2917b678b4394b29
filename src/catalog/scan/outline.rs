//! `routes.md`: the categories, routes and courses of a library as a person lists them.
//!
//! `# Category`, `## Route`, `- [Course](url)`; any of them may be a link or plain text. A course straight under a
//! category is a course by itself. Whatever else the file holds is a remark.

/// Courses that are read; a longer list is no outline.
const MOST: usize = 20_000;

/// A parsed `routes.md`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outline {
    pub(super) categories: Vec<Category>,
}

/// `# Category`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Category {
    pub(super) name: String,
    pub(super) routes: Vec<Route>,
}

/// `## Route`, or a course by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Courses {
        name: String,
        url: String,
        courses: Vec<Course>,
    },
    Course(Course),
}

/// `- [Course](url)`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Course {
    pub(super) name: String,
    pub(super) url: String,
}

impl Outline {
    /// Reads an outline; nothing in it can be wrong, only unread.
    pub fn parse(text: &str) -> Outline {
        let mut outline = Outline::default();
        let mut courses = 0;
        for line in text.trim_start_matches('\u{feff}').lines() {
            let line = line.trim();
            if let Some(heading) = line.strip_prefix("##") {
                // Deeper headings are routes, too: their courses must not go to the one before.
                let (name, url) = link(heading.trim_start_matches('#').trim_matches(['#', ' ']));
                if !name.is_empty() {
                    let courses = Vec::new();
                    outline
                        .category()
                        .routes
                        .push(Route::Courses { name, url, courses });
                }
            } else if let Some(heading) = line.strip_prefix('#') {
                let (name, _) = link(heading.trim_matches(['#', ' ']));
                if !name.is_empty() {
                    let routes = Vec::new();
                    outline.categories.push(Category { name, routes });
                }
            } else if let Some(item) = item(line) {
                let (name, url) = link(item);
                if name.is_empty() || courses == MOST {
                    continue;
                }
                courses += 1;
                let course = Course { name, url };
                let routes = &mut outline.category().routes;
                match routes.last_mut() {
                    Some(Route::Courses { courses, .. }) => courses.push(course),
                    _ => routes.push(Route::Course(course)),
                }
            }
        }
        outline
    }

    /// Whether it names no course at all.
    pub fn is_empty(&self) -> bool {
        let courses = |route: &Route| match route {
            Route::Courses { courses, .. } => courses.len(),
            Route::Course(_) => 1,
        };
        self.categories
            .iter()
            .flat_map(|category| &category.routes)
            .map(courses)
            .sum::<usize>()
            == 0
    }

    /// The category that a line belongs to; one without a name before the first heading.
    fn category(&mut self) -> &mut Category {
        if self.categories.is_empty() {
            self.categories.push(Category {
                name: "Courses".to_owned(),
                routes: Vec::new(),
            });
        }
        let last = self.categories.len() - 1;
        &mut self.categories[last]
    }
}

/// The text of a list item: `- `, `* `, `+ ` or `1. `.
fn item(line: &str) -> Option<&str> {
    let bullet = ["- ", "* ", "+ "]
        .iter()
        .find_map(|mark| line.strip_prefix(mark));
    let text = bullet.or_else(|| {
        let digits = line.bytes().take_while(u8::is_ascii_digit).count();
        let rest = line.get(digits..)?;
        (digits > 0).then(|| rest.strip_prefix(". ").or_else(|| rest.strip_prefix(") ")))?
    })?;
    // A checklist is a list.
    let text = text.trim();
    Some(
        ["[ ] ", "[x] ", "[X] "]
            .iter()
            .find_map(|mark| text.strip_prefix(mark))
            .unwrap_or(text),
    )
}

/// `[name](url)`, or a name alone. Brackets within the name may be balanced or escaped.
fn link(text: &str) -> (String, String) {
    let text = text.trim().trim_matches('*').trim();
    let parsed = text.strip_prefix('[').and_then(|rest| {
        let at = rest.find("](")?;
        let (name, rest) = (&rest[..at], &rest[at + 2..]);
        let url = &rest[..rest.rfind(')')?];
        // `(url "title")`
        let url = url.split_whitespace().next().unwrap_or_default();
        Some((name, url.trim_matches(['<', '>'])))
    });
    let (name, url) = parsed.unwrap_or((text, ""));
    let mut plain = String::with_capacity(name.len());
    let mut chars = name.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if chars.peek().is_some_and(char::is_ascii_punctuation) => {
                plain.extend(chars.next())
            }
            _ => plain.push(c),
        }
    }
    (plain.trim().to_owned(), url.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn course(name: &str, url: &str) -> Course {
        Course {
            name: name.to_owned(),
            url: url.to_owned(),
        }
    }

    #[test]
    fn an_outline() {
        let outline = Outline::parse(
            "\u{feff}A remark.\n# Development\r\n- [Git \\[basics\\] (2024)](https://x.org/cursos/git/)\n\n\
             ## [Web](https://x.org/web)\n* [HTML](</html> \"t\")\n1. CSS\n- [ ] [JS](js)\n### Deeper\n- [X](x)\n\
             # Empty #\n#\n- \n",
        );
        assert_eq!(outline.categories.len(), 2);
        let dev = &outline.categories[0];
        assert_eq!(dev.name, "Development");
        assert_eq!(
            dev.routes,
            [
                Route::Course(course("Git [basics] (2024)", "https://x.org/cursos/git/")),
                Route::Courses {
                    name: "Web".to_owned(),
                    url: "https://x.org/web".to_owned(),
                    courses: vec![
                        course("HTML", "/html"),
                        course("CSS", ""),
                        course("JS", "js")
                    ],
                },
                Route::Courses {
                    name: "Deeper".to_owned(),
                    url: String::new(),
                    courses: vec![course("X", "x")],
                },
            ]
        );
        assert!(!outline.is_empty() && outline.categories[1].name == "Empty");
        assert!(Outline::parse("# A\n## B\ntext").is_empty());
        assert_eq!(Outline::parse("- [A](a)").categories[0].name, "Courses");
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "(\\PC|\n|#|- |\\[|\\]\\()*") {
            let _ = Outline::parse(&text);
        }
    }
}
