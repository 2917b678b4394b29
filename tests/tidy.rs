//! The house rules that a compiler does not check, read off the sources themselves.
//!
//! Each test names the rule it keeps and prints every place that breaks it, with the remedy.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules by rank, highest first: a module may import only from the ranks after its own.
///
/// The order is the one that `lib.rs` states.
const RANKS: &[&[&str]] = &[
    &["main"],
    &["daemon"],
    &["routes"],
    &["web"],
    &["jobs"],
    &["catalog", "drive", "media"],
    &["ffmpeg"],
    &["store"],
    &["http"],
    &["args", "config", "logging"],
    &["error", "sys"],
];

/// Longest a source file may be, tests at its end not counted: beyond it, it holds two nouns.
const LONGEST_FILE: usize = 500;

#[test]
fn modules_import_only_from_lower_ranks() {
    let mut faults = Vec::new();
    for file in sources("src", "rs") {
        let module = module_of(&file);
        if module == "lib" {
            continue;
        }
        let Some(rank) = rank_of(&module) else {
            faults.push(format!(
                "{}: module `{module}` has no rank; give it one",
                file.display()
            ));
            continue;
        };
        for (number, line) in product_lines(&file) {
            for imported in imports(&line) {
                if imported == module {
                    continue;
                }
                let lower = rank_of(&imported).is_some_and(|of| of > rank);
                if !lower {
                    faults.push(format!(
                        "{}:{number}: {module} imports {imported}",
                        file.display()
                    ));
                }
            }
        }
    }
    report(
        "a module imports only from ranks below its own (src/lib.rs)",
        &faults,
    );
}

#[test]
fn every_file_opens_with_what_it_is() {
    let faults: Vec<String> = sources("src", "rs")
        .into_iter()
        .chain(sources("tests", "rs"))
        .chain(sources("examples", "rs"))
        .filter(|file| !read(file).starts_with("//!"))
        .map(|file| file.display().to_string())
        .collect();
    report(
        "every file opens with `//!`: what it is, what it leaves to others, and why",
        &faults,
    );
}

#[test]
fn unsafe_code_lives_in_sys() {
    let mut faults = Vec::new();
    for file in sources("src", "rs") {
        if file.starts_with(root().join("src/sys")) {
            continue;
        }
        for (number, line) in product_lines(&file) {
            let line = code(&line);
            let starts = [
                "unsafe {",
                "unsafe fn",
                "unsafe impl",
                "unsafe extern",
                "unsafe trait",
            ];
            if starts.iter().any(|start| line.contains(start)) {
                faults.push(format!("{}:{number}", file.display()));
            }
        }
    }
    report(
        "`unsafe` stays in src/sys/, behind a safe function",
        &faults,
    );
}

#[test]
fn nothing_from_outside_can_reach_an_unwrap() {
    let mut faults = Vec::new();
    for file in sources("src", "rs") {
        for (number, line) in product_lines(&file) {
            let line = code(&line);
            if line.contains(".unwrap()") || line.contains(".expect(") {
                faults.push(format!("{}:{number}: {}", file.display(), line.trim()));
            }
        }
    }
    report(
        "no unwrap or expect outside tests: return an Error, or write the case out",
        &faults,
    );
}

#[test]
fn no_file_holds_two_nouns() {
    let mut faults = Vec::new();
    for file in sources("src", "rs") {
        let lines = product_lines(&file).len();
        if lines > LONGEST_FILE {
            faults.push(format!("{}: {lines} lines", file.display()));
        }
        let name = file
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if [
            "util", "utils", "helper", "helpers", "common", "misc", "manager",
        ]
        .contains(&&*name)
        {
            faults.push(format!(
                "{}: name it for the noun it defines",
                file.display()
            ));
        }
    }
    report(
        &format!("a file is one noun, of at most {LONGEST_FILE} lines"),
        &faults,
    );
}

#[test]
fn one_runtime_and_one_crypto_library() {
    let lock = read(&root().join("Cargo.lock"));
    let faults: Vec<String> = [
        "tokio",
        "openssl",
        "openssl-sys",
        "aws-lc-rs",
        "aws-lc-sys",
        "native-tls",
    ]
    .iter()
    .filter(|name| lock.contains(&format!("name = \"{name}\"\n")))
    .map(|name| (*name).to_owned())
    .collect();
    report("no tokio, OpenSSL or aws-lc in the tree", &faults);
}

/// The compiler of Debian 12 (`rust-version`) reads no `if let … && …`; newer ones do not say so, and clippy's own rule
/// knows the library alone.
#[test]
fn no_condition_chains_a_let() {
    let mut faults = Vec::new();
    for folder in ["src", "tests", "examples"] {
        for file in sources(folder, "rs") {
            let text = read(&file);
            let lines: Vec<&str> = text.lines().map(str::trim).collect();
            for (at, line) in lines.iter().enumerate() {
                let Some((_, after)) = line
                    .split_once("if let ")
                    .or_else(|| line.split_once("while let "))
                else {
                    continue;
                };
                let next = lines.get(at + 1).copied().unwrap_or_default();
                let goes_on = !line.ends_with('{') && next.starts_with("&& ");
                let before = after.split(" && ").next().unwrap_or_default();
                let count = |sign| before.matches(sign).count();
                let whole = count('(') == count(')') && !before.contains('|');
                let same_line = line.ends_with('{') && after.contains(" && ") && whole;
                if !line.starts_with("//") && (goes_on || same_line) {
                    faults.push(format!("{}:{}", file.display(), at + 1));
                }
            }
        }
    }
    report("the oldest compiler that is promised compiles it", &faults);
}

#[test]
fn the_readme_lists_every_error_code() {
    let readme = read(&root().join("README.md"));
    let mut codes = BTreeSet::new();
    for file in sources("src", "rs") {
        let text = fs::read_to_string(&file).unwrap_or_default();
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (at, _) in text.match_indices("Error::new(") {
            // The code is the first string of the call; the kind before it holds none.
            let call = &text[at..];
            let call = &call[..call.find(");").unwrap_or(call.len())];
            let Some(open) = call.find('"') else { continue };
            let Some(close) = call[open + 1..].find('"') else {
                continue;
            };
            let code = &call[open + 1..open + 1 + close];
            if !code.is_empty() && code.chars().all(|c| c.is_ascii_lowercase() || c == '_') {
                codes.insert(code.to_owned());
            }
        }
    }
    assert!(
        codes.len() > 10,
        "the search for codes found only {codes:?}"
    );
    let faults: Vec<String> = codes
        .into_iter()
        .filter(|code| !readme.contains(&format!("`{code}`")))
        .collect();
    report("README.md lists every error code", &faults);
    // What is looked up is found once, and where the alphabet has it.
    let table = readme
        .split_once("| code | status | means |")
        .map_or("", |(_, after)| after);
    let listed: Vec<&str> = table
        .lines()
        .skip(2)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    assert!(listed.len() > 10, "{listed:?}");
    let faults: Vec<String> = listed
        .windows(2)
        .filter(|pair| pair[0] >= pair[1])
        .map(|pair| format!("`{}` stands behind `{}`", pair[1], pair[0]))
        .collect();
    report(
        "README.md lists error codes once each, by the alphabet",
        &faults,
    );
}

#[test]
fn the_readme_lists_every_setting() {
    let readme = read(&root().join("README.md"));
    let example = read(&root().join("packaging/rill.toml"));
    let mut faults = Vec::new();
    let mut section = String::new();
    for line in example.lines() {
        let line = line.trim_start_matches(['#', ' ']);
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            section = name.to_owned();
        } else if let Some((key, _)) = line.split_once(" = ") {
            if key.chars().all(|c| c.is_ascii_lowercase() || c == '_') {
                let setting = format!("`{section}.{key}`");
                if !readme.contains(&setting) {
                    faults.push(setting);
                }
            }
        }
    }
    report(
        "README.md lists every setting of packaging/rill.toml",
        &faults,
    );
}

#[test]
fn the_readme_lists_every_route() {
    let readme = read(&root().join("README.md"));
    let (_, rest) = readme.split_once("\n## Routes").unwrap_or_default();
    let table = rest.split("\n## ").next().unwrap_or_default();
    let routes = read(&root().join("src/routes/route.rs"));
    // Every variant of `Route` begins its documentation with its address.
    let addresses = routes
        .lines()
        .filter_map(|line| line.trim().strip_prefix("/// `/")?.split_once('`'))
        .map(|(address, _)| format!("/{address}"));
    let mut faults = Vec::new();
    let mut seen = 0;
    for address in addresses {
        seen += 1;
        // What is fixed of it: the README may name a variable part otherwise.
        let fixed = address.split(['{', '?']).next().unwrap_or_default();
        if !table.contains(fixed) {
            faults.push(address);
        }
    }
    assert!(seen > 40, "{seen} routes");
    report("README.md lists every route", &faults);
}

#[test]
fn the_project_speaks_of_itself_only() {
    let mut faults = Vec::new();
    // Spelled in two halves, so that this file does not find itself.
    let foreign = [
        ["/wo", "rk/"],
        ["/ro", "ot/"],
        ["/tmp", "/wt/"],
        ["index.crates", ".io"],
    ];
    for folder in [
        "src",
        "tests",
        "examples",
        "packaging",
        "systemd",
        ".cargo",
        ".ci",
    ] {
        for file in sources(folder, "") {
            let text = fs::read_to_string(&file).unwrap_or_default();
            for (number, line) in text.lines().enumerate() {
                if foreign.iter().any(|halves| line.contains(&halves.concat())) {
                    faults.push(format!("{}:{}", file.display(), number + 1));
                }
            }
        }
    }
    report(
        "no path of a development machine and no registry host",
        &faults,
    );
}

#[test]
fn no_file_holds_two_sides_of_a_merge() {
    let mut files: Vec<PathBuf> = ["README.md", "CHANGELOG.md", "Cargo.toml", "Cross.toml"]
        .iter()
        .map(|name| root().join(name))
        .collect();
    for folder in ["src", "tests", "examples", "packaging", "systemd"] {
        files.extend(sources(folder, ""));
    }
    let marks = ["<", ">"].map(|mark| mark.repeat(7) + " ");
    let torn = |file: &&PathBuf| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let mut lines = text.lines();
        lines.any(|line| marks.iter().any(|mark| line.starts_with(mark)))
    };
    let faults: Vec<String> = files
        .iter()
        .filter(torn)
        .map(|file| file.display().to_string())
        .collect();
    report("a merge is over when it is committed", &faults);
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// All files below `folder` whose names end in `.ext` (any, when `ext` is empty).
fn sources(folder: &str, ext: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(folder) else {
            continue;
        };
        for entry in entries.flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if ext.is_empty() || path.extension().is_some_and(|e| e == ext) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The numbered lines of a file up to its tests; none of a file that is all tests.
fn product_lines(file: &Path) -> Vec<(usize, String)> {
    if file.file_name().is_some_and(|name| name == "tests.rs") {
        return Vec::new();
    }
    read(file)
        .lines()
        .enumerate()
        .take_while(|(_, line)| line.trim() != "#[cfg(test)]")
        .map(|(n, line)| (n + 1, line.to_owned()))
        .collect()
}

/// A line without its comment.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

/// The top-level module a file belongs to.
fn module_of(file: &Path) -> String {
    let src = root().join("src");
    let relative = file.strip_prefix(&src).unwrap_or(file);
    let first = relative
        .components()
        .next()
        .map(|c| c.as_os_str().to_string_lossy().into_owned());
    first.unwrap_or_default().trim_end_matches(".rs").to_owned()
}

fn rank_of(module: &str) -> Option<usize> {
    RANKS.iter().position(|rank| rank.contains(&module))
}

/// The top-level modules that a line of code names through `crate::` or `rill::`.
fn imports(line: &str) -> Vec<String> {
    let line = code(line);
    let mut found = Vec::new();
    for prefix in ["crate::", "rill::"] {
        for (at, _) in line.match_indices(prefix) {
            let rest = &line[at + prefix.len()..];
            let inside = rest.strip_prefix('{').and_then(|r| r.split('}').next());
            let names = inside.map_or_else(|| vec![rest], |list| list.split(", ").collect());
            for name in names {
                let word: String = name
                    .chars()
                    .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                    .collect();
                if !word.is_empty() {
                    found.push(word);
                }
            }
        }
    }
    found
}

fn report(rule: &str, faults: &[String]) {
    assert!(faults.is_empty(), "\nrule: {rule}\n{}\n", faults.join("\n"));
}
