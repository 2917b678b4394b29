//! What a catalog becomes, by small ones; and that nothing a file says can do harm.

use std::io::Read;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::build::{Built, build};
use super::course::{Course, FileRef};
use super::scanner::Fault;
use super::search::{Hit, Search};

fn built(text: &str) -> Built<&[u8]> {
    match build(text.as_bytes()) {
        Ok(built) => built,
        Err(fault) => panic!("{fault:?} in {text}"),
    }
}

fn broken(text: &str) -> String {
    match build(text.as_bytes()) {
        Err(Fault::Broken { what, .. }) => what,
        other => panic!("{other:?}"),
    }
}

/// A name, and what lies below it.
type Named<'a, T> = (&'a str, &'a [T]);

fn library(names: &[Named<'_, Named<'_, &str>>]) -> String {
    let categories: Vec<Value> = names
        .iter()
        .map(|(category, courses)| {
            let routes: Vec<Value> = courses
                .iter()
                .map(|(course, classes)| {
                    let classes: Vec<Value> = classes.iter().map(|name| json!({"name": name})).collect();
                    json!({"name": course, "isCourse": true, "modules": [{"name": "M", "classes": classes}]})
                })
                .collect();
            json!({"name": category, "routes": routes})
        })
        .collect();
    json!({ "categories": categories }).to_string()
}

#[test]
fn keys_may_come_in_any_order_and_unknown_ones_stay() {
    let text = r#" { "later" : [ 1 , { "a" : "b c" } ] , "stats" : { "totalCourses" : 9, "x": 1 } , "categories" : [ {
        "routes" : [ { "modules" : [ { "classes" : [ { "files": {}, "name" : "a" } , { } ] , "extra" : 1, "name" : "M" } ] ,
            "isCourse" : true, "publicId": "old", "name" : "C" } ], "name" : "K", "n\u0061me2" : null } ] } "#;
    let built = built(text);
    let bootstrap: Value = serde_json::from_slice(&built.bootstrap).unwrap();
    assert_eq!(
        String::from_utf8(built.bootstrap).unwrap(),
        concat!(
            r#"{"later":[1,{"a":"b c"}],"categories":[{"routes":[{"modules":[{"classes":2,"extra":1,"name":"M","classCount":2}],"#,
            r#""isCourse":true,"name":"C","publicId":"c"}],"name":"K","n\u0061me2":null}],"#,
            r#""stats":{"totalCourses":9,"x":1}}"#
        )
    );
    assert_eq!(bootstrap["categories"][0]["routes"][0]["publicId"], "c");
    let course = &built.index.courses[0];
    let piece = &text[course.bytes.start as usize..course.bytes.end as usize];
    assert!(piece.starts_with("{ \"modules\"") && piece.ends_with('}'));
    assert!(serde_json::from_str::<Value>(piece).is_ok());
    assert_eq!(built.index.class_count(course), 2);
}

#[test]
fn what_is_no_catalog_is_refused() {
    for (text, what) in [
        ("[]", "a catalog is wanted"),
        ("{}", "there are no \"categories\""),
        (
            r#"{"categories":{}}"#,
            "categories are wanted here, an array",
        ),
        (r#"{"categories":[1]}"#, "a category is wanted"),
        (r#"{"categories":[{"routes":[[]]}]}"#, "a route is wanted"),
        (
            r#"{"categories":[{"routes":[{"courses":[""]}]}]}"#,
            "a course is wanted",
        ),
        (r#"{"categories":[{"name":"a","name":"b"}]}"#, "twice"),
        (r#"{"categories":[{"n\u0061me":"a","name":"b"}]}"#, "twice"),
        (
            r#"{"categories":[{"routes":[{"courses":[{}],"modules":[]}]}]}"#,
            "both courses and modules",
        ),
        (r#"{"categories":[]} x"#, "follows the end"),
    ] {
        assert!(broken(text).contains(what), "{text}: {}", broken(text));
    }
    for text in [
        r#"{"categories":null}"#,
        r#"{"categories":[{"routes":null}]}"#,
        r#"{"categories":[{"routes":[{"isCourse":true,"courses":[],"modules":null}]}]}"#,
        r#"{"categories":[{"routes":[{"modules":[{"classes":3}]}]}],"unknown":1,"unknown":2}"#,
        r#"{"categories":[{"name":5,"id":[],"routes":[{"courses":[{"name":{},"url":7,"modules":[{"name":null,"classes":[{}]}]}]}]}]}"#,
    ] {
        built(text);
    }
}

#[test]
fn references_lead_back_to_what_they_are_of() {
    let text = library(&[
        (
            "A",
            &[
                ("C++", &["x", "X", "x!", "1", "日本", "", "0"]),
                ("C#", &[]),
                ("c", &[]),
                ("0", &[]),
                ("..", &[]),
            ],
        ),
        ("a", &[("Ñu", &["é", "e"]), ("", &[]), ("1", &[])]),
        ("", &[]),
    ]);
    let index = built(&text).index;
    for course in 0..index.courses.len() {
        let place = index.place(course).unwrap();
        let reference = |text| index.text(text).to_owned();
        let found = index.course(
            &reference(index.categories[place.category].reference),
            &reference(index.routes[place.route].reference),
            &reference(index.courses[course].reference),
        );
        assert_eq!(found, Some(place));
    }
    for (at, class) in index.classes.iter().enumerate() {
        let module = &index.modules[class.module as usize];
        let (module_ref, class_ref) = (index.text(module.reference), index.text(class.reference));
        let found = index.class(module.course as usize, module_ref, class_ref);
        assert_eq!(found, Some(at), "{module_ref} {class_ref}");
    }
}

fn titles(text: &str, query: &str, limit: usize) -> Vec<String> {
    let index = built(text).index;
    let search = Search::of(&index);
    let (_, hits) = search.find(&index, query, limit);
    hits.into_iter()
        .map(|hit| match hit {
            Hit::Course(at) => format!("[{}]", index.text(index.courses[at].name)),
            Hit::Class(at) => index.text(index.classes[at].name).to_owned(),
        })
        .collect()
}

#[test]
fn title_before_course_before_category() {
    let text = library(&[
        (
            "Redes",
            &[
                ("Cables", &["Cobre"]),
                ("Redes neuronales", &["Capas", "Redes profundas"]),
            ],
        ),
        (
            "Otros",
            &[
                ("Varios", &["Redes sociales", "Enredos"]),
                ("Red", &["Pesca"]),
            ],
        ),
    ]);
    assert_eq!(
        titles(&text, "redes", 100),
        [
            "[Redes neuronales]",
            "Redes profundas",
            "Redes sociales",
            "Capas",
            "[Cables]",
            "Cobre"
        ]
    );
    assert_eq!(
        titles(&text, "réd", 4),
        [
            "[Red]",
            "[Redes neuronales]",
            "Redes profundas",
            "Redes sociales"
        ]
    );
    assert_eq!(titles(&text, "redes capas", 9), ["Capas"]);
    assert_eq!(titles(&text, "capas neuronales redes", 9), ["Capas"]);
    assert!(titles(&text, "redes nada", 9).is_empty());
    assert!(titles(&text, "  ,.- ", 9).is_empty());
    assert!(titles("{\"categories\":[]}", "a", 9).is_empty());
}

#[test]
fn subtitles_in_all_languages_and_every_writing() {
    let id = |n: u32| format!("1aB_-cDeFg{n}");
    let course = json!({"presentationId": id(9), "modules": [{"classes": [{
        "num": 2, "name": "A",
        "files": {"video": id(1), "summary": "bad", "reading": id(2), "subtitles": id(3),
            "subtitlesByLang": {"en": id(4), "es": id(3), "id": id(5)}},
        "subtitles": [{"lang": "fr", "file": id(6)}, id(7)],
        "resources": [{"name": "x", "file": id(8)}, {"file": null}, 5],
    }]}]});
    let course = Course::of(course.to_string().into_bytes());
    assert_eq!(course.presentation(), Some(FileRef::Drive(id(9))));
    let class = course.class(0, 0).unwrap();
    assert_eq!(class.video, Some(FileRef::Drive(id(1))));
    assert_eq!(class.number.as_deref(), Some("2"));
    assert_eq!(class.texts, [("Reading", FileRef::Drive(id(2)))]);
    let languages: Vec<&str> = class
        .subtitles
        .iter()
        .map(|s| s.language.as_str())
        .collect();
    assert_eq!(languages, ["es", "fr", "", "en", "id"]);
    assert_eq!(class.resources.len(), 1);
    assert!(course.class(1, 0).is_none() && course.class(0, 1).is_none());
}

/// A reader that fails after so many bytes.
struct Cut<'a>(&'a [u8]);

impl Read for Cut<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        match self.0.read(into)? {
            0 => Err(std::io::ErrorKind::Other.into()),
            n => Ok(n),
        }
    }
}

#[test]
fn every_beginning_of_a_catalog_is_refused() {
    let text = library(&[("A", &[("C", &["x", "y\u{1f3ac}"])])]);
    for end in 0..text.len() {
        assert!(build(&text.as_bytes()[..end]).is_err(), "{end}");
        assert!(
            matches!(build(Cut(&text.as_bytes()[..end])), Err(Fault::Read(_))),
            "{end}"
        );
    }
}

proptest! {
    #[test]
    fn one_changed_byte_does_no_harm(at in 0usize..400, byte: u8) {
        let mut text = library(&[("A", &[("C", &["x", "y"]), ("D", &[])]), ("B", &[])]).into_bytes();
        let len = text.len();
        text[at % len] = byte;
        if let Ok(built) = build(&text[..]) {
            // What is read is JSON, and what is written of it, too.
            prop_assert!(serde_json::from_slice::<Value>(&text).is_ok());
            prop_assert!(serde_json::from_slice::<Value>(&built.bootstrap).is_ok());
            for course in &built.index.courses {
                let piece = &text[course.bytes.start as usize..course.bytes.end as usize];
                prop_assert!(serde_json::from_slice::<Value>(piece).is_ok());
            }
        }
    }

    #[test]
    fn any_reference_is_looked_up_without_harm(a in "\\PC*", b in "\\PC*", c in "\\PC*") {
        let index = built(&library(&[("A", &[("C", &["x"])])])).index;
        let _ = index.course(&a, &b, &c);
        let _ = index.class(0, &a, &b);
        let _ = Search::of(&index).find(&index, &c, 10);
    }
}

/// A small library that has everything, once.
fn whole() -> Value {
    let text = r#"{
        "categories": [{
            "id": "c", "name": "Cat", "icon": "", "description": "", "type": "category",
            "routes": [
                {"id": "r", "name": "Route", "url": "https://x.org/r/", "isCourse": false, "courses": [{
                    "name": "Course", "folderName": "F", "url": "u", "id": "i", "moduleCount": 1, "classCount": 1,
                    "foundInDrive": true, "matchType": "exact", "matchedFolder": "F", "hasPresentation": true,
                    "presentationId": "1aB_-cDeFgH",
                    "modules": [{"name": "M", "folderName": "1. M", "classCount": 1, "classes": [{
                        "num": 1, "name": "Class", "hasVideo": true, "hasSummary": false, "hasSubtitles": true,
                        "hasReading": false, "hasHtml": false,
                        "files": {"video": "1aB_-cDeFgH", "summary": null, "subtitles": "local:a/b.vtt",
                            "reading": null, "html": null, "subtitlesByLang": {"en": "1aB_-cDeFgI"}},
                        "resources": [{"name": "R", "file": "1aB_-cDeFgJ", "ext": "pdf", "viewable": true}]
                    }]}]
                }]},
                {"name": "Alone", "id": "a", "isCourse": true, "modules": []}
            ]
        }],
        "stats": {"totalCategories": 1, "totalRoutes": 2, "totalCourses": 2, "totalClasses": 1}
    }"#;
    serde_json::from_str(text).unwrap()
}

/// Every place of a value.
fn places(value: &Value, at: &str, into: &mut Vec<String>) {
    into.push(at.to_owned());
    match value {
        Value::Object(object) => object
            .iter()
            .for_each(|(key, value)| places(value, &format!("{at}/{key}"), into)),
        Value::Array(list) => list
            .iter()
            .enumerate()
            .for_each(|(n, value)| places(value, &format!("{at}/{n}"), into)),
        _ => {}
    }
}

#[test]
fn the_wrong_type_at_every_place() {
    let mut all = Vec::new();
    places(&whole(), "", &mut all);
    assert!(all.len() > 60, "{}", all.len());
    let wrong = [
        json!(null),
        json!(true),
        json!(-1),
        json!(1e300),
        json!(""),
        json!("x"),
        json!([]),
        json!({}),
        json!([[[1]]]),
        json!({"a": {"b": []}}),
        json!([null, 1, "x", {}]),
    ];
    let (mut taken, mut refused) = (0, 0);
    for place in &all {
        for value in &wrong {
            let mut text = whole();
            if let Some(there) = text.pointer_mut(place) {
                *there = value.clone();
            }
            match build(text.to_string().as_bytes()) {
                Ok(built) => {
                    taken += 1;
                    let bootstrap: Value = serde_json::from_slice(&built.bootstrap).unwrap();
                    assert!(bootstrap["categories"].is_array() && bootstrap["stats"].is_object());
                    built.references.report(&built.index);
                    Search::of(&built.index).find(&built.index, "course x class", 10);
                    for course in &built.index.courses {
                        let range = course.bytes.start as usize..course.bytes.end as usize;
                        let course = Course::of(text.to_string().as_bytes()[range].to_vec());
                        course.presentation();
                        course.class(0, 0);
                    }
                }
                Err(Fault::Broken { line: 1, what, .. }) => {
                    refused += 1;
                    let said = [" wanted here", "there are no \"categories\""];
                    assert!(
                        said.iter().any(|words| what.contains(words)),
                        "{place}: {what}"
                    );
                }
                other => panic!("{place}: {other:?}"),
            }
        }
    }
    assert!(taken > 100 && refused > 50, "{taken} {refused}");
}

#[test]
fn a_key_twice_at_every_object() {
    let text = whole().to_string();
    for key in [
        "categories",
        "stats",
        "routes",
        "courses",
        "modules",
        "classes",
        "files",
        "resources",
        "name",
        "id",
        "url",
        "isCourse",
        "presentationId",
        "hasVideo",
    ] {
        let wanted = format!("\"{key}\":");
        let twice = text.replacen(&wanted, &format!("\"{key}\":null,{wanted}"), 1);
        assert!(broken(&twice).contains("twice"), "{key}");
    }
    // What means nothing here is passed on as it is.
    let twice = text.replacen("\"icon\":", "\"icon\":1,\"icon\":", 1);
    assert!(
        String::from_utf8(built(&twice).bootstrap)
            .unwrap()
            .contains("\"icon\":1,\"icon\":")
    );
}

#[test]
fn what_is_larger_than_any_library() {
    let around = |key: &str, value: &str| format!("{{\"{key}\":{value},\"categories\":[]}}");
    let long = format!("\"{}\"", "x".repeat(5 << 20));
    assert!(broken(&around("a", &long)).contains("a string has more than 4 MiB"));
    assert!(broken(&around("a", &"1".repeat(5000))).contains("a number has more than"));
    let strings = vec![format!("\"{}\"", "x".repeat(1 << 20)); 30].join(",");
    assert!(broken(&around("a", &format!("[{strings}]"))).contains("larger than any library's"));
    assert!(broken(&around("stats", &format!("{{\"a\":[{strings}]}}"))).contains("larger than"));
    let names: Vec<Value> = (0..20_000)
        .map(|n| json!({"name": format!("{n:04000}"), "modules": []}))
        .collect();
    let routes = json!({"categories": [{"routes": names}]}).to_string();
    assert!(broken(&routes).contains("larger than") || broken(&routes).contains("longer than"));
    let classes = vec!["{}"; 300_000].join(",");
    let many = format!(
        "{{\"categories\":[{{\"routes\":[{{\"modules\":[{{\"classes\":[{classes}]}}]}}]}}]}}"
    );
    assert!(broken(&many).contains("more than 250000"));
    let strings = vec![format!("{{\"x\":\"{}\"}}", "x".repeat(1 << 20)); 20].join(",");
    let course = format!(
        "{{\"categories\":[{{\"routes\":[{{\"modules\":[{{\"classes\":[{strings}]}}]}}]}}]}}"
    );
    assert!(broken(&course).contains("a course has more than 16 MiB"));
}
