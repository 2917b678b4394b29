//! Tables of folders and what they are read as.

use super::*;

fn files(names: &[&str]) -> Vec<Entry> {
    let entry = |(i, name): (usize, &&str)| Entry {
        id: format!("id{i:08}"),
        name: (*name).to_owned(),
        kind: Kind::File,
        target: None,
        key: None,
    };
    names.iter().enumerate().map(entry).collect()
}

/// A line per class: `num name: v=.. s=.. t=lang:.. r=.. h=.. +resource`.
fn read(names: &[&str]) -> Vec<String> {
    let entries = files(names);
    let text = |entry: &Entry| entry.name.clone();
    let lines = group(&entries, true).into_iter().map(|class| {
        let number = match class.number {
            Number::Whole(n) => n.to_string(),
            Number::Dotted(text) => text,
        };
        let mut line = format!("{number} {}:", class.name);
        for (mark, entry) in [
            ('v', class.media),
            ('s', class.summary),
            ('r', class.reading),
            ('h', class.html),
        ] {
            if let Some(entry) = entry {
                line.push_str(&format!(" {mark}={}", text(entry)));
            }
        }
        for (language, entry) in &class.subtitles {
            line.push_str(&format!(" t={language}:{}", text(entry)));
        }
        for entry in &class.resources {
            line.push_str(&format!(" +{}", text(entry)));
        }
        line
    });
    lines.collect()
}

#[test]
fn one_class_of_every_kind() {
    assert_eq!(
        read(&[
            "1. Qué es.html",
            "1. Qué es - Lecturas recomendadas.txt",
            "1. Qué es.mp4",
            "1. Qué es.vtt",
            "1. Qué es_es.vtt",
            "1. Qué es_pt-br.vtt",
            "1. Qué es_summary.html",
            "1. slides.pdf",
            "1. notes.txt",
            "presentation.html",
            ".DS_Store",
        ]),
        [
            "1 Qué es: v=1. Qué es.mp4 s=1. Qué es_summary.html r=1. Qué es - Lecturas recomendadas.txt \
          h=1. Qué es.html t=:1. Qué es.vtt t=es:1. Qué es_es.vtt t=pt-BR:1. Qué es_pt-br.vtt \
          +1. notes.txt +1. slides.pdf"
        ]
    );
}

#[test]
fn numbers_in_their_order() {
    let classes = read(&[
        "10. Last.mp4",
        "2. Second.m4a",
        "1. First.webm",
        "1.1 Inner.mkv",
        "Epilogue.mp3",
    ]);
    assert_eq!(
        classes,
        [
            "1 First: v=1. First.webm",
            "1.1 Inner: v=1.1 Inner.mkv",
            "2 Second: v=2. Second.m4a",
            "10 Last: v=10. Last.mp4",
            "5 Epilogue: v=Epilogue.mp3",
        ]
    );
}

#[test]
fn doubles_are_kept_and_told_apart() {
    assert_eq!(
        read(&[
            "1. A.mkv",
            "1. A.mp4",
            "1. A.mp4",
            "1. A_summary.html",
            "1. A_summary.html"
        ]),
        ["1 A: v=1. A.mp4 s=1. A_summary.html +1. A.mp4 +1. A.mkv +1. A_summary.html"]
    );
    assert_eq!(
        read(&[
            "1. A.mp4",
            "1. B.mp4",
            "1. B_en.vtt",
            "1. other.pdf",
            "1. B_summary.html"
        ]),
        [
            "1 A: v=1. A.mp4 +1. other.pdf",
            "1 B: v=1. B.mp4 s=1. B_summary.html t=en:1. B_en.vtt"
        ]
    );
}

#[test]
fn nothing_is_dropped() {
    assert_eq!(
        read(&[
            "Film.mp4",
            "Film_en.vtt",
            "Film notes.pdf",
            "slides.pdf",
            "Filmography.txt",
            "readme"
        ]),
        [
            "1 Film: v=Film.mp4 t=en:Film_en.vtt +Film notes.pdf",
            "2 Resources: +Filmography.txt +readme +slides.pdf"
        ]
    );
    assert_eq!(
        read(&["3. Only text.html"]),
        ["3 Only text: h=3. Only text.html"]
    );
    assert_eq!(read(&["3. Quiz.pdf"]), ["3 Quiz: +3. Quiz.pdf"]);
    assert_eq!(read(&["4.mp4"]), ["4 4: v=4.mp4"]);
    assert_eq!(read(&["1. Old.mov"]), ["1 Old: v=1. Old.mov"]);
    assert_eq!(
        read(&["1. T.srt", "1. T.vtt", "1. T.mp4"]),
        ["1 T: v=1. T.mp4 t=:1. T.vtt +1. T.srt"]
    );
    assert_eq!(read(&[]), [""; 0]);
}

#[test]
fn a_title_that_looks_like_a_language() {
    assert_eq!(
        read(&["1. Working with_css.mp4", "1. Working with_css.vtt"]),
        ["1 Working with_css: v=1. Working with_css.mp4 t=:1. Working with_css.vtt"]
    );
}

#[test]
fn documents_of_google_are_resources() {
    let mut entries = files(&["1. A.mp4", "1. Slides v1.2"]);
    entries[1].kind = Kind::Document;
    let classes = group(&entries, false);
    assert_eq!((classes.len(), classes[0].resources.len()), (1, 1));
    assert_eq!(extension(&entries[1]), ("pdf".to_owned(), true));
    assert_eq!(extension(&files(&["x.zip"])[0]), ("zip".to_owned(), false));
}

#[test]
fn a_hundred_thousand_files_in_one_folder() {
    let shapes: [fn(usize) -> String; 6] = [
        |n| format!("1. Clip {n}.mp4"),
        |n| format!("Clip {n}.mp4"),
        |n| {
            format!(
                "1. a{}.{}",
                " b".repeat(n % 50),
                ["mp4", "pdf", "vtt"][n % 3]
            )
        },
        |n| {
            format!(
                "1. T_{}.vtt",
                (0..8)
                    .map(|at| char::from(b'a' + (n >> (2 * at) & 3) as u8))
                    .collect::<String>()
            )
        },
        |n| format!("1. a {}.{}", n / 2, ["mp4", "pdf"][n % 2]),
        |_| "1. Same.mp4".to_owned(),
    ];
    let began = std::time::Instant::now();
    for (shape, name) in shapes.iter().enumerate() {
        let entries: Vec<Entry> = (0..100_000)
            .map(|n| Entry {
                id: n.to_string(),
                name: name(n),
                kind: Kind::File,
                target: None,
                key: None,
            })
            .collect();
        let classes = group(&entries, false);
        let files: usize = (classes.iter())
            .map(|class| {
                usize::from(class.media.is_some()) + class.subtitles.len() + class.resources.len()
            })
            .sum();
        assert_eq!(files, 100_000, "shape {shape}");
    }
    // Comparing each with each takes minutes; where an emulated processor runs this, everything does.
    let most = if cfg!(target_arch = "x86_64") {
        60
    } else {
        1200
    };
    assert!(began.elapsed().as_secs() < most, "{:?}", began.elapsed());
}

proptest::proptest! {
    #[test]
    fn every_file_is_in_one_class(names in proptest::collection::vec("([0-9]{1,2}[.] )?[ab_\u{e9}]{0,3}(_es|_summary)?[.](mp4|mkv|vtt|html|txt|pdf)", 0..12)) {
        let names: Vec<&str> = names.iter().map(String::as_str).filter(|name| !name::is_hidden(name)).collect();
        let entries = files(&names);
        let mut seen: Vec<&str> = group(&entries, false).iter().flat_map(|class| {
            let single = [class.media, class.summary, class.reading, class.html];
            single.into_iter().flatten()
                .chain(class.subtitles.iter().map(|(_, entry)| *entry))
                .chain(class.resources.iter().copied())
                .map(|entry| entry.id.as_str()).collect::<Vec<_>>()
        }).collect();
        seen.sort_unstable();
        let all: Vec<&str> = entries.iter().map(|entry| entry.id.as_str()).collect();
        proptest::prop_assert_eq!(seen, all);
    }
}
