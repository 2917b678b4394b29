//! Catalog files of any size, the same bytes for the same shape: from two courses to a library of 20,000 classes.
//!
//! Names are drawn from a small stock that holds accents, emoji, quotes, slashes and markup, so that whatever is
//! written carelessly shows. Ids are of the form that Drive gives.

use std::fmt::Write;

/// How much there is of everything.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Categories.
    pub categories: usize,
    /// Routes of each category; every fifth is a course by itself.
    pub routes: usize,
    /// Courses of each other route.
    pub courses: usize,
    /// Modules of each course.
    pub modules: usize,
    /// Classes of each module.
    pub classes: usize,
    /// Changes every name and id: another version of the same library.
    pub version: u64,
}

/// One category, one route of two courses.
pub const TINY: Shape = Shape {
    categories: 1,
    routes: 1,
    courses: 2,
    modules: 2,
    classes: 2,
    version: 0,
};

/// 500 courses, 20,000 classes, about 20 MB.
pub const HOUSEHOLD: Shape = Shape {
    categories: 10,
    routes: 10,
    courses: 6,
    modules: 5,
    classes: 8,
    version: 0,
};

const WORDS: &[&str] = &[
    "Introducción",
    "Programación",
    "Python",
    "funciones",
    "básico",
    "avanzado",
    "C++",
    "Diseño",
    "Ñandú",
    "\u{1f3ac}",
    "\"quoted\"",
    "AC/DC",
    "<b>bold</b>",
    "l'été",
    "数据",
    "redes",
    "Node.js",
    "API",
    "bases",
    "datos",
    "práctica",
    "proyecto",
    "final",
    "Übung",
    "testing",
    "Git",
    "Linux",
    "servidores",
    "seguridad",
    "cloud",
];

/// A cheap function of a number whose values look random (SplitMix64's finisher).
fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

struct Draw {
    state: u64,
}

impl Draw {
    fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(1);
        mix(self.state)
    }

    fn words(&mut self, count: usize) -> String {
        let words: Vec<&str> = (0..count)
            .map(|_| WORDS[self.number() as usize % WORDS.len()])
            .collect();
        words.join(" ")
    }

    /// An id as Drive makes them.
    fn id(&mut self) -> String {
        format!("1{:016x}{:016x}", self.number(), self.number())
    }
}

fn text(value: &str) -> String {
    serde_json::Value::from(value).to_string()
}

impl Shape {
    /// Number of courses.
    pub fn course_count(&self) -> usize {
        let alone = self.routes.div_ceil(5) - usize::from(self.routes < 5);
        self.categories * (alone + (self.routes - alone) * self.courses)
    }

    /// Number of classes.
    pub fn class_count(&self) -> usize {
        self.course_count() * self.modules * self.classes
    }

    fn is_alone(&self, route: usize) -> bool {
        self.routes >= 5 && route % 5 == 0
    }

    /// The file.
    pub fn json(&self) -> String {
        let mut out = String::from("{\"categories\":[");
        let mut draw = Draw {
            state: self.version << 40,
        };
        for category in 0..self.categories {
            comma(&mut out, category);
            let name = format!("{} {category}", draw.words(2));
            let _ = write!(
                out,
                "{{\"id\":\"cat-{category}\",\"name\":{},\"icon\":\"📁\",\"description\":\"\",\"type\":\"category\",\
                 \"colour\":\"#12{category}\",\"routes\":[",
                text(&name)
            );
            for route in 0..self.routes {
                comma(&mut out, route);
                if self.is_alone(route) {
                    self.course(&mut out, &mut draw, (category, route, 0), true);
                    continue;
                }
                let _ = write!(
                    out,
                    "{{\"id\":\"route-{category}-{route}\",\"name\":{},\"url\":\"https://example.com/ruta/r-{category}-{route}/\",\
                     \"isCourse\":false,\"courses\":[",
                    text(&format!("{} {route}", draw.words(3)))
                );
                for course in 0..self.courses {
                    comma(&mut out, course);
                    self.course(&mut out, &mut draw, (category, route, course), false);
                }
                out.push_str("]}");
            }
            out.push_str("]}");
        }
        let _ = write!(
            out,
            "],\"stats\":{{\"totalCategories\":{},\"totalRoutes\":{},\"totalCourses\":{},\"totalClasses\":{}}},\
             \"generatedBy\":\"generator {}\"}}",
            self.categories,
            self.categories * self.routes,
            self.course_count(),
            self.class_count(),
            self.version
        );
        out
    }

    fn course(&self, out: &mut String, draw: &mut Draw, at: (usize, usize, usize), alone: bool) {
        let (category, route, course) = at;
        let name = draw.words(4);
        let folder = text(&name);
        let _ = write!(
            out,
            "{{\"name\":{},\"folderName\":{folder},\"url\":\"https://example.com/cursos/c-{category}-{route}-{course}/\",\
             \"id\":\"{}\",{}\"moduleCount\":{},\"classCount\":{},\"foundInDrive\":true,\"matchType\":\"exact\",\
             \"matchedFolder\":{folder},\"hasPresentation\":true,\"presentationId\":\"{}\",\"level\":[\"a\",1.5e3,null],\
             \"modules\":[",
            text(&format!("{name} {course}")),
            draw.id(),
            if alone { "\"isCourse\":true," } else { "" },
            self.modules,
            self.modules * self.classes,
            draw.id(),
        );
        for module in 0..self.modules {
            comma(out, module);
            let name = text(&format!("{}. {}", module + 1, draw.words(3)));
            let _ = write!(
                out,
                "{{\"name\":{name},\"folderName\":{name},\"classCount\":{},\"classes\":[",
                self.classes
            );
            for class in 0..self.classes {
                comma(out, class);
                self.class(out, draw, class);
            }
            out.push_str("]}");
        }
        out.push_str("]}");
    }

    fn class(&self, out: &mut String, draw: &mut Draw, class: usize) {
        let name = format!("{} {class}", draw.words(5));
        let _ = write!(
            out,
            "{{\"num\":{},\"name\":{},\"hasVideo\":true,\"hasSummary\":true,\"hasSubtitles\":true,\"hasReading\":true,\
             \"hasHtml\":false,\"files\":{{\"video\":\"{}\",\"summary\":\"{}\",\"subtitles\":\"{}\",\"reading\":\"{}\",\
             \"html\":null}},\"resources\":[",
            class + 1,
            text(&name),
            draw.id(),
            draw.id(),
            draw.id(),
            draw.id(),
        );
        for resource in 0..5 {
            comma(out, resource);
            let _ = write!(
                out,
                "{{\"name\":{},\"file\":\"{}\",\"ext\":\".pdf\",\"viewable\":true}}",
                text(&format!("{}. {}.pdf", class + 1, draw.words(5))),
                draw.id()
            );
        }
        out.push_str("]}");
    }
}

fn comma(out: &mut String, at: usize) {
    if at > 0 {
        out.push(',');
    }
}
