//! Keeps the documents and the shape of the workspace true.
//!
//! Each test is one promise of ARCHITECTURE.md or CONTRIBUTING.md and collects every fault before
//! it fails, so that one run shows all that is to mend. It reads files only: manifests are parsed,
//! cargo is never called, so it needs neither network nor git.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests: a file that cannot be read is a failed test")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use toml::{Table, Value};

/// A file past this many lines (tests apart) is split by sub-state.
const FILE_LINES: usize = 500;
/// The map stays one that is read in one sitting.
const MAP_LINES: usize = 300;

/// Crates that do no I/O and read no clock.
const PURE: [&str; 3] = ["crates/wire", "crates/dialect", "crates/policy"];
/// What a pure crate's manifest must not name, as a whole name or before a `-`.
const IMPURE: [&str; 9] = ["tokio", "hyper", "reqwest", "rustls", "aws", "axum", "tungstenite", "mio", "socket2"];
/// What a pure crate's clippy.toml must ban; clippy itself then finds the calls.
const PURE_BANS: [&str; 5] = [
    "std::time::Instant::now",
    "std::time::SystemTime::now",
    "std::env::var",
    "std::fs::read_to_string",
    "std::thread::sleep",
];
/// The only members that may depend on the programs.
const SEES_PROGRAMS: [&str; 2] = ["crates/quickstart", "tests"];
const PROGRAMS: [&str; 2] = ["causewayd", "causeway-relay"];
const TESTS: &str = "causeway-tests";

/// Documents whose paths must exist, beside those of docs/. The changelog tells of what is gone.
const DOCUMENTS: [&str; 3] = ["ARCHITECTURE.md", "README.md", "CONTRIBUTING.md"];
/// Endings that make a word without a slash a path.
const ENDINGS: [&str; 7] = [".rs", ".md", ".toml", ".sh", ".py", ".lock", ".yaml"];

#[test]
fn documents_name_only_paths_that_exist() {
    let mut faults = Vec::new();
    for document in DOCUMENTS.map(PathBuf::from).into_iter().chain(pages("docs")).chain(pages("docs/adr")) {
        let folder = document.parent().unwrap_or(Path::new(""));
        let text = read(&document);
        for path in code_spans(&text).into_iter().filter(|span| looks_like_a_path(span)) {
            if !root().join(path).exists() {
                faults.push(format!("{}: `{path}` does not exist", document.display()));
            }
        }
        for target in link_targets(&text) {
            if !root().join(folder).join(target).exists() {
                faults.push(format!("{}: link to {target} leads nowhere", document.display()));
            }
        }
    }
    report(&faults);
}

#[test]
fn the_map_is_short_and_names_every_member() {
    let map = read(Path::new("ARCHITECTURE.md"));
    let mut faults = Vec::new();
    if map.lines().count() >= MAP_LINES {
        faults.push(format!("ARCHITECTURE.md has {MAP_LINES} lines or more"));
    }
    let spans = code_spans(&map);
    for member in members() {
        if !spans.iter().any(|span| span.trim_end_matches('/') == member) {
            faults.push(format!("ARCHITECTURE.md does not name the member `{member}`"));
        }
    }
    report(&faults);
}

#[test]
fn pure_crates_name_no_runtime_network_tls_or_cloud() {
    let pure_names: BTreeSet<String> = PURE.iter().map(|member| package_name(member)).collect();
    let mut faults = Vec::new();
    for member in PURE {
        for dependency in all_dependencies(member) {
            let impure = IMPURE.iter().any(|word| dependency.split('-').any(|part| part == *word));
            let own_but_not_pure = dependency.starts_with("causeway") && !pure_names.contains(&dependency);
            if impure || own_but_not_pure {
                faults.push(format!("{member} is pure and must not depend on {dependency}"));
            }
        }
    }
    report(&faults);
}

#[test]
fn pure_crates_ban_clock_environment_and_files() {
    let common = parse("clippy.toml");
    let mut faults = Vec::new();
    for member in PURE {
        let path = format!("{member}/clippy.toml");
        if !root().join(&path).exists() {
            faults.push(format!("{path} is missing"));
            continue;
        }
        let own = parse(&path);
        for ban in PURE_BANS {
            if !banned_methods(&own).contains(ban) {
                faults.push(format!("{path} does not ban {ban}"));
            }
        }
        // The nearest clippy.toml replaces the root's whole, so the switches are repeated.
        for (key, value) in common.iter().filter(|(key, _)| key.starts_with("allow-")) {
            if own.get(key) != Some(value) {
                faults.push(format!("{path} does not repeat {key} = {value} of clippy.toml"));
            }
        }
    }
    report(&faults);
}

#[test]
fn dependencies_between_members_point_one_way() {
    let mut faults = Vec::new();
    for member in members() {
        for dependency in all_dependencies(&member) {
            if dependency == TESTS {
                faults.push(format!("{member} depends on {TESTS}; nothing may"));
            }
            let program = PROGRAMS.contains(&dependency.as_str());
            if program && !SEES_PROGRAMS.contains(&member.as_str()) {
                faults.push(format!("{member} depends on {dependency}; only {SEES_PROGRAMS:?} may"));
            }
        }
    }
    report(&faults);
}

#[test]
fn one_table_holds_versions_and_lints() {
    let mut faults = Vec::new();
    for member in members() {
        let manifest = parse(&format!("{member}/Cargo.toml"));
        for (name, value) in dependency_tables(&manifest).into_iter().flatten() {
            if !inherits(value) {
                faults.push(format!("{member}: {name} must say `workspace = true`"));
            }
        }
        if !manifest.get("lints").is_some_and(inherits) {
            faults.push(format!("{member}: `[lints] workspace = true` is missing"));
        }
        for key in ["version", "edition", "rust-version", "license", "publish"] {
            if !manifest["package"].get(key).is_some_and(inherits) {
                faults.push(format!("{member}: package.{key} must say `workspace = true`"));
            }
        }
    }
    report(&faults);
}

#[test]
fn every_outside_dependency_has_its_reason_on_record() {
    let records: String = pages("docs/adr").iter().map(|path| read(path)).collect();
    let reasons: BTreeSet<&str> = code_spans(&records).into_iter().collect();
    let faults: Vec<String> = workspace_table("dependencies")
        .iter()
        .filter(|(name, value)| value.get("path").is_none() && !reasons.contains(name.as_str()))
        .map(|(name, _)| format!("docs/adr says nothing of `{name}`: what does it replace?"))
        .collect();
    report(&faults);
}

#[test]
fn every_source_file_begins_with_its_head() {
    let faults: Vec<String> = rust_files()
        .into_iter()
        .filter(|path| path.components().any(|part| part.as_os_str() == "src"))
        .filter(|path| !read(path).starts_with("//!"))
        .map(|path| format!("{} does not begin with a `//!` head", path.display()))
        .collect();
    report(&faults);
}

#[test]
fn source_files_stay_short() {
    let mut faults = Vec::new();
    for path in rust_files().into_iter().filter(|path| !is_test_file(path)) {
        let lines = lines_without_tests(&read(&path));
        if lines > FILE_LINES {
            faults.push(format!("{}: {lines} lines, at most {FILE_LINES}", path.display()));
        }
    }
    report(&faults);
}

#[test]
fn no_test_is_ignored() {
    // Put together here so that this file does not find itself.
    let attribute = ["#[", "ignore"].concat();
    let faults: Vec<String> = rust_files()
        .into_iter()
        .filter(|path| read(path).contains(&attribute))
        .map(|path| format!("{} ignores a test", path.display()))
        .collect();
    report(&faults);
}

/// Offline, a toolchain file makes rustup try a download and fail; `rust-version` says the MSRV.
#[test]
fn no_toolchain_file_exists() {
    let mut faults = Vec::new();
    for folder in members().into_iter().chain([String::new()]) {
        for name in ["rust-toolchain", "rust-toolchain.toml"] {
            if root().join(&folder).join(name).exists() {
                faults.push(format!("{folder}/{name} exists"));
            }
        }
    }
    if workspace_table("package").get("rust-version").is_none() {
        faults.push("Cargo.toml: workspace.package.rust-version is missing".to_owned());
    }
    report(&faults);
}

#[test]
fn the_reader_of_documents_sees_what_a_person_sees() {
    let text = "See `crates/wire` and [why](docs/adr/x.md#top).\n```\n`not/this`\n```\n`GET /api`";
    assert_eq!(code_spans(text), ["crates/wire", "GET /api"]);
    assert_eq!(link_targets(text), ["docs/adr/x.md"]);
    assert!(looks_like_a_path("daemon/src/app.rs"));
    assert!(looks_like_a_path("deny.toml"));
    assert!(!looks_like_a_path("/api/chat"));
    assert!(!looks_like_a_path("crates/*/src"));
    assert!(!looks_like_a_path("text/event-stream"));
    assert!(!looks_like_a_path("GET /api"));
    let source = "//! head\nfn a() {}\n\n#[cfg(test)]\nmod tests {\n    // long\n}\n";
    assert_eq!(lines_without_tests(source), 3);
    let sibling = "//! head\n#[cfg(test)]\nmod tests;\nfn a() {}\n";
    assert_eq!(lines_without_tests(sibling), 4);
}

// ---- documents

/// What stands between single backticks, outside fenced blocks.
fn code_spans(text: &str) -> Vec<&str> {
    prose(text).flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
}

/// Targets of Markdown links that lie in this repository, without their `#section`.
fn link_targets(text: &str) -> Vec<&str> {
    prose(text)
        .flat_map(|line| line.split("](").skip(1))
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target.split('#').next().unwrap_or(target))
        .filter(|target| !target.is_empty() && !target.contains("://"))
        .collect()
}

fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fence && !fenced
    })
}

/// A relative path of plain characters: with a slash, or with an ending that files here have.
fn looks_like_a_path(span: &str) -> bool {
    const MEDIA_TYPES: [&str; 2] = ["application/", "text/"];
    let plain = span.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c));
    let relative = !span.starts_with('/') && !MEDIA_TYPES.iter().any(|kind| span.starts_with(kind));
    plain && relative && (span.contains('/') || ENDINGS.iter().any(|end| span.ends_with(end)))
}

/// The Markdown files of one folder.
fn pages(folder: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(root().join(folder))
        .unwrap()
        .map(|entry| Path::new(folder).join(entry.unwrap().file_name()))
        .filter(|path| path.extension().is_some_and(|ending| ending == "md"))
        .collect();
    found.sort();
    found
}

// ---- manifests

fn members() -> Vec<String> {
    let workspace = parse("Cargo.toml");
    let members = workspace["workspace"]["members"].as_array().unwrap();
    members.iter().map(|member| member.as_str().unwrap().to_owned()).collect()
}

fn workspace_table(name: &str) -> Table {
    parse("Cargo.toml")["workspace"][name].as_table().unwrap().clone()
}

fn package_name(member: &str) -> String {
    let manifest = parse(&format!("{member}/Cargo.toml"));
    manifest["package"]["name"].as_str().unwrap().to_owned()
}

/// Normal, build and development dependencies, for every target, optional ones too.
fn dependency_tables(manifest: &Table) -> Vec<&Table> {
    let targets = manifest.get("target").and_then(Value::as_table);
    let scopes = targets.into_iter().flat_map(|targets| targets.values()).filter_map(Value::as_table).chain([manifest]);
    scopes
        .flat_map(|scope| {
            ["dependencies", "dev-dependencies", "build-dependencies"]
                .into_iter()
                .filter_map(move |kind| scope.get(kind).and_then(Value::as_table))
        })
        .collect()
}

/// The packages behind a member's dependencies, also behind a `package = "…"` rename.
fn all_dependencies(member: &str) -> BTreeSet<String> {
    let versions = workspace_table("dependencies");
    let manifest = parse(&format!("{member}/Cargo.toml"));
    let real_name = |name: &String, value: &Value| {
        let renamed = value.get("package").or_else(|| versions.get(name)?.get("package"));
        renamed.and_then(Value::as_str).unwrap_or(name).to_owned()
    };
    dependency_tables(&manifest).into_iter().flatten().map(|(name, value)| real_name(name, value)).collect()
}

fn inherits(value: &Value) -> bool {
    value.get("workspace").and_then(Value::as_bool) == Some(true)
}

fn banned_methods(clippy: &Table) -> BTreeSet<&str> {
    let bans = clippy.get("disallowed-methods").and_then(Value::as_array);
    bans.into_iter().flatten().filter_map(|ban| ban.get("path").unwrap_or(ban).as_str()).collect()
}

// ---- files

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn read(path: &Path) -> String {
    match fs::read_to_string(root().join(path)) {
        Ok(text) => text,
        Err(error) => panic!("{}: {error}", path.display()),
    }
}

fn parse(path: &str) -> Table {
    match read(Path::new(path)).parse() {
        Ok(table) => table,
        Err(error) => panic!("{path}: {error}"),
    }
}

/// Every Rust file of every member, build output left out.
fn rust_files() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = members().into_iter().map(PathBuf::from).collect();
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                if entry.file_name() != "target" {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

fn is_test_file(path: &Path) -> bool {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let in_tests = path.components().skip(1).any(|part| part.as_os_str() == "tests");
    in_tests || stem == "tests" || stem.ends_with("_tests")
}

/// A trailing inline test module is not counted.
fn lines_without_tests(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let tests = lines
        .windows(2)
        .position(|pair| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{'));
    tests.unwrap_or(lines.len())
}

fn report(faults: &[String]) {
    assert!(faults.is_empty(), "{} fault(s):\n{}", faults.len(), faults.join("\n"));
}
