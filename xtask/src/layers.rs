//! `cargo xtask layers`: in every crate the rooms stand in the order of lib.rs, and none imports a later one; only `cli`
//! prints; only `lethe` needs libtorch.

use std::fs;
use std::path::{Path, PathBuf};

use crate::shell::{At, Failure, Result};

/// A place in the sources and what is wrong there.
#[derive(Debug, PartialEq)]
struct Finding {
    file: PathBuf,
    line: usize,
    what: String,
}

/// A file, or a folder of files, that must know less than its room may.
struct Wall {
    package: &'static str,
    /// Below src.
    place: &'static str,
    /// Modules and re-exports of lib.rs, and other crates.
    unknown: &'static [&'static str],
    reason: &'static str,
}

const WALLS: &[Wall] = &[Wall {
    package: "lethe",
    place: "undo/hypergradient",
    unknown: &["encoders", "loader", "data", "views", "lethe_data"],
    reason: "a hypergradient is a function over two closures",
}];

/// Crates whose lib.rs is a list by the alphabet: their files are functions that call each other as they need.
const WITHOUT_ORDER: &[&str] = &["lethe-measures"];

/// The crate that may need libtorch.
const WITH_TORCH: &str = "lethe";

/// What lib.rs says of a crate.
struct Package {
    name: String,
    /// Modules, in their order.
    rooms: Vec<String>,
    /// Names that `pub use` brings into the root.
    reexports: Vec<String>,
}

pub(crate) fn run(root: &Path) -> Result<()> {
    let mut findings = Vec::new();
    for folder in packages(&root.join("crates"))? {
        let source = folder.join("src");
        let lib = source.join("lib.rs");
        let text = fs::read_to_string(&lib).at(&lib)?;
        let package = Package::new(&folder, &text);
        let files = rust_files(&source)?;
        for path in &files {
            let text = fs::read_to_string(path).at(path)?;
            let name = path.strip_prefix(&source).expect("below it");
            let found = check_file(name, &text, &package);
            findings.extend(found.into_iter().map(|finding| Finding { file: path.clone(), ..finding }));
        }
        findings.extend(fallen_walls(&source, &package));
        if package.name != WITH_TORCH {
            findings.extend(check_torchless(&folder)?);
        }
        eprintln!("   {}: {} files in {} rooms", package.name, files.len(), package.rooms.len());
    }
    if findings.is_empty() {
        return Ok(());
    }
    for Finding { file, line, what } in &findings {
        eprintln!("{}:{line}: {what}", file.strip_prefix(root).unwrap_or(file).display());
    }
    let count = if findings.len() == 1 { "1 place breaks".into() } else { format!("{} places break", findings.len()) };
    Err(Failure::new(format!("layers: {count} the order of rooms in lib.rs"))
        .hint("move what both need to an earlier room, or pass it as an argument"))
}

/// The folders of the crates.
fn packages(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).at(folder)? {
        let path = entry.at(folder)?.path();
        if path.join("src/lib.rs").is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The walls of this package that guard nothing: their place, or what they guard against, has moved.
fn fallen_walls(source: &Path, package: &Package) -> Vec<Finding> {
    let mut findings = Vec::new();
    for wall in WALLS.iter().filter(|wall| wall.package == package.name) {
        let place = source.join(wall.place);
        if !place.exists() {
            let what = "xtask/src/layers.rs guards it, but it is not there".into();
            findings.push(Finding { file: place, line: 1, what });
        }
        for name in wall.unknown {
            let known = package.rooms.iter().chain(&package.reexports).any(|other| other == name);
            if !known && !name.starts_with("lethe_") {
                let what = format!("xtask/src/layers.rs guards {} against {name}, which is not here", wall.place);
                findings.push(Finding { file: source.join("lib.rs"), line: 1, what });
            }
        }
    }
    findings
}

impl Package {
    fn new(folder: &Path, lib: &str) -> Self {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self { name, rooms: rooms(lib), reexports: reexports(lib) }
    }

    /// The crate's name in Rust.
    fn in_code(&self) -> String {
        self.name.replace('-', "_")
    }
}

/// The modules of lib.rs, in its order.
fn rooms(lib: &str) -> Vec<String> {
    let module = |line: &str| {
        let rest = line.strip_prefix("pub mod ").or_else(|| line.strip_prefix("mod "))?;
        rest.split_once(';').map(|(name, _)| name.trim().to_owned())
    };
    lib.lines().filter_map(module).collect()
}

/// `pub use a::{b, c as d};` gives b and d.
fn reexports(lib: &str) -> Vec<String> {
    let code = code_only(lib);
    let uses = code.split("pub use ").skip(1).filter_map(|rest| rest.split_once(';'));
    let items = uses.flat_map(|(path, _)| path.split([',', '{', '}']));
    // The last name of `a::b as c` is what the root calls it; `a::` before a group has none.
    items
        .filter_map(|item| item.trim().rsplit(|c| !is_name(c)).next())
        .filter(|n| !n.is_empty())
        .map(str::to_owned)
        .collect()
}

fn rust_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).at(folder)? {
        let path = entry.at(folder)?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// `name` is the file's path below src.
fn check_file(name: &Path, text: &str, package: &Package) -> Vec<Finding> {
    let module = module_path(name);
    let code = code_only(text);
    let mut findings = Vec::new();
    let mut found = |at: usize, what: String| {
        findings.push(Finding { file: name.to_owned(), line: 1 + code[..at].matches('\n').count(), what });
    };
    let place = |room: &str| package.rooms.iter().position(|other| other == room);
    let in_order = !WITHOUT_ORDER.contains(&package.name.as_str());
    // main.rs and lib.rs stand above all rooms.
    let Some(own) = module.first() else { return findings };
    let Some(own_place) = place(own) else {
        found(0, format!("the module {own} is not in lib.rs"));
        return findings;
    };
    for (at, room) in references(&code, &package.in_code(), module.len()) {
        if in_order && place(&room).is_some_and(|other| other > own_place) {
            found(at, format!("{own} imports the later {room}"));
        }
    }
    for wall in WALLS.iter().filter(|wall| wall.package == package.name && name.starts_with(wall.place)) {
        let inner = references(&code, &package.in_code(), module.len());
        let outer =
            wall.unknown.iter().flat_map(|&other| words(&code, other).into_iter().map(|at| (at, other.to_owned())));
        let outer = outer.filter(|(_, other)| other.starts_with("lethe_"));
        for (at, other) in inner.into_iter().chain(outer).filter(|(_, other)| wall.unknown.contains(&other.as_str())) {
            found(at, format!("imports {other}, but {}", wall.reason));
        }
    }
    if own != "cli" {
        // Tests may print: libtest shows it where one asks for it.
        let untested = &code[..code.find("#[cfg(test)]\nmod tests").unwrap_or(code.len())];
        for macro_name in ["print!", "println!", "eprint!", "eprintln!"] {
            for at in words(untested, macro_name) {
                found(at, format!("{macro_name} is for cli; what is under way goes through progress"));
            }
        }
        for (at, _) in untested.match_indices("stdout()") {
            found(at, "stdout is for cli".into());
        }
    }
    findings
}

/// `undo/inner.rs` is the module undo::inner, `undo/mod.rs` is undo; main.rs and lib.rs are the root.
fn module_path(name: &Path) -> Vec<String> {
    let mut parts: Vec<String> =
        name.with_extension("").components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
    if parts.last().is_some_and(|last| last == "mod") || parts == ["main"] || parts == ["lib"] {
        parts.pop();
    }
    parts
}

/// Every name of the crate's root that the code reaches by `crate::`, the crate's name or enough `super::`, with its
/// offset. `depth` is how many modules the file lies below the root.
fn references(code: &str, name: &str, depth: usize) -> Vec<(usize, String)> {
    let roots = ["crate::".to_owned(), format!("{name}::"), "super::".repeat(depth)];
    let mut found = Vec::new();
    for root in &roots {
        for at in words(code, root) {
            let start = at + root.len();
            found.extend(first_names(&code[start..]).into_iter().map(|(offset, name)| (start + offset, name)));
        }
    }
    found.sort();
    found
}

/// `name::...` gives name; `{a, b::{c, d}, e as f}` gives a, b and e.
fn first_names(code: &str) -> Vec<(usize, String)> {
    let name_at = |offset: usize| {
        let rest = &code[offset..];
        let blank = rest.len() - rest.trim_start().len();
        let name: String = rest.trim_start().chars().take_while(|&c| is_name(c)).collect();
        (!name.is_empty()).then_some((offset + blank, name))
    };
    if !code.trim_start().starts_with('{') {
        return name_at(0).into_iter().collect();
    }
    let mut names = Vec::new();
    let mut depth = 0;
    for (offset, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 && c == '}' {
            break;
        }
        if depth == 1 && (c == '{' || c == ',') {
            names.extend(name_at(offset + 1));
        }
    }
    names
}

/// Where `word` stands and does not continue another name or path (`$crate::`, `super::super::` within a longer one).
fn words(code: &str, word: &str) -> Vec<usize> {
    let starts = |at: usize| !code[..at].ends_with(|c: char| is_name(c) || c == '$' || c == ':');
    code.match_indices(word).map(|(at, _)| at).filter(|&at| starts(at)).collect()
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The text with comments and the content of strings blanked, every line where it was.
fn code_only(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let (blank, length) = if rest.starts_with("//") {
            (true, rest.find('\n').unwrap_or(rest.len()))
        } else if rest.starts_with("/*") {
            (true, rest.find("*/").map_or(rest.len(), |end| end + 2))
        } else if let Some(length) = raw_string(rest) {
            (true, length)
        } else if c == '"' {
            (true, string(rest))
        } else if rest.starts_with("'\"'") {
            (true, 3)
        } else if let Some(escaped) = rest.strip_prefix("'\\") {
            (true, escaped.find('\'').map_or(rest.len(), |end| end + 3))
        } else if is_name(c) {
            (false, rest.find(|c| !is_name(c)).unwrap_or(rest.len()))
        } else {
            (false, c.len_utf8())
        };
        let (piece, after) = rest.split_at(length);
        if blank {
            code.extend(piece.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        } else {
            code.push_str(piece);
        }
        rest = after;
    }
    code
}

/// The length of the string literal that `text` begins with.
fn string(text: &str) -> usize {
    let mut escaped = false;
    for (offset, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return offset + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of the raw string literal (r"..", r#".."#, br#".."#) that `text` begins with, if it does.
fn raw_string(text: &str) -> Option<usize> {
    let after = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    let content = after[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let before = text.len() - content.len();
    Some(content.find(&end).map_or(text.len(), |at| before + at + end.len()))
}

/// A crate that must be of use without libtorch: it depends neither on `lethe` nor on tch.
fn check_torchless(folder: &Path) -> Result<Vec<Finding>> {
    let package = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut findings = Vec::new();
    let manifest = folder.join("Cargo.toml");
    for (i, line) in fs::read_to_string(&manifest).at(&manifest)?.lines().enumerate() {
        let name: String = line.chars().take_while(|&c| is_name(c) || c == '-').collect();
        if [WITH_TORCH, "tch", "torch-sys"].contains(&name.as_str()) {
            let what = format!("{package} depends on {name}, but must be of use without libtorch");
            findings.push(Finding { file: manifest.clone(), line: i + 1, what });
        }
    }
    for path in rust_files(&folder.join("src"))? {
        let code = code_only(&fs::read_to_string(&path).at(&path)?);
        for word in ["lethe::", "tch::"] {
            for at in words(&code, word) {
                let line = 1 + code[..at].matches('\n').count();
                findings.push(Finding { file: path.clone(), line, what: format!("{package} uses {word}") });
            }
        }
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIB: &str = "//! Text.\npub mod error; // one line\npub mod data;\npub mod encoders; // chains\npub mod undo;\npub mod cli;\n\npub use error::Error;\n";

    fn package(name: &str, lib: &str) -> Package {
        Package::new(Path::new(name), lib)
    }

    /// The lines where `text`, as the file `name`, breaks the order.
    fn lines(name: &str, text: &str) -> Vec<usize> {
        let mut lines: Vec<usize> =
            check_file(Path::new(name), text, &package("lethe", LIB)).into_iter().map(|finding| finding.line).collect();
        lines.sort_unstable();
        lines
    }

    #[test]
    fn rooms_stand_in_the_order_of_lib() {
        assert_eq!(rooms(LIB), ["error", "data", "encoders", "undo", "cli"]);
    }

    #[test]
    fn an_earlier_room_may_be_imported_and_a_later_one_not() {
        assert_eq!(lines("encoders/resnet.rs", "use crate::data::Dataset;\nuse crate::error::Result;\n"), [0; 0]);
        assert_eq!(lines("encoders/resnet.rs", "use crate::data::Dataset;\nuse crate::undo::Umm;\n"), [2]);
        assert_eq!(lines("encoders.rs", "fn f() -> crate::undo::Umm {}\n"), [1]);
        assert_eq!(lines("encoders/mod.rs", "use crate::encoders::resnet;\n"), [0; 0]);
    }

    #[test]
    fn groups_are_looked_into() {
        assert_eq!(
            lines("data/mod.rs", "use crate::{error::Result, data::folder,\n    encoders::{Part, undo},\n};\n"),
            [2]
        );
        assert_eq!(lines("data/mod.rs", "use crate::{\n  error,\n  undo as u,\n};\n"), [3]);
        assert_eq!(lines("encoders/mod.rs", "use crate::{data, error::{Error, undo}};\n"), [0; 0]);
    }

    #[test]
    fn super_counts_when_it_reaches_the_root() {
        assert_eq!(lines("data/mod.rs", "use super::undo;\n"), [1]);
        assert_eq!(lines("data/folder.rs", "use super::undo;\n"), [0; 0]);
        assert_eq!(lines("data/folder.rs", "use super::super::undo;\n"), [1]);
        assert_eq!(lines("data/folder.rs", "use super::super::{error, undo};\n"), [1]);
    }

    #[test]
    fn comments_and_strings_are_no_imports() {
        let text =
            "// crate::undo\n/* crate::undo\n*/ let s = \"crate::undo \\\" println!\"; let r = r#\"crate::undo\"#;\n";
        assert_eq!(lines("data/mod.rs", text), [0; 0]);
        assert_eq!(lines("data/mod.rs", "let c = '\"';\nuse crate::undo;\nlet d = '\\'';\nuse crate::cli;\n"), [2, 4]);
        assert_eq!(lines("data/mod.rs", "fn f<'a>(x: &'a str) {}\nuse crate::undo;\n"), [2]);
    }

    #[test]
    fn only_cli_prints() {
        assert_eq!(lines("data/mod.rs", "fn f() {\n    println!(\"x\");\n    eprintln!(\"x\");\n}\n"), [2, 3]);
        assert_eq!(lines("data/mod.rs", "let out = std::io::stdout().lock();\n"), [1]);
        assert_eq!(lines("data/mod.rs", "let err = std::io::stderr().lock();\n"), [0; 0]);
        assert_eq!(lines("cli/mod.rs", "println!(\"x\");\n"), [0; 0]);
        assert_eq!(lines("data/mod.rs", "println!();\n#[cfg(test)]\nmod tests {\n    println!();\n}\n"), [1]);
    }

    #[test]
    fn the_hypergradient_knows_neither_encoders_nor_data() {
        let text = "use crate::error::Result;\nuse crate::encoders::Part;\n";
        assert_eq!(lines("undo/hypergradient/mod.rs", text), [2]);
        assert_eq!(lines("undo/hypergradient/adam.rs", text), [2]);
        assert_eq!(lines("undo/mod.rs", "use crate::encoders::Part;\n"), [0; 0]);
    }

    #[test]
    fn a_wall_holds_against_names_that_lib_takes_from_another_crate() {
        let lib = "pub mod nn;\npub mod undo;\n\npub use lethe_data as data;\npub use lethe_data::{Error, views};\n";
        let lines = |text: &str| -> Vec<usize> {
            let name = Path::new("undo/hypergradient/adam.rs");
            check_file(name, text, &package("lethe", lib)).iter().map(|finding| finding.line).collect()
        };
        assert_eq!(lines("use crate::nn::Weights;\nuse crate::data::Dataset;\n"), [2]);
        assert_eq!(lines("use crate::{\n    Error,\n    views::Augmentation};\n"), [3]);
        assert_eq!(lines("use lethe_data::views;\n"), [1]);
        assert_eq!(lines("use lethe_data as images;\n"), [1]);
        assert_eq!(lines("use crate::Error; // not lethe_data\n"), [0; 0]);
    }

    #[test]
    fn a_wall_around_or_against_nothing_is_reported() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/lethe");
        let lib = fs::read_to_string(root.join("src/lib.rs")).unwrap();
        assert!(fallen_walls(&root.join("src"), &package("lethe", &lib)).is_empty());
        assert_eq!(fallen_walls(Path::new("nowhere"), &package("lethe", &lib)).len(), WALLS.len());
        let without_views = lib.replace(", views}", "}");
        assert_ne!(lib, without_views);
        assert_eq!(fallen_walls(&root.join("src"), &package("lethe", &without_views)).len(), 1);
    }

    #[test]
    fn what_lib_takes_from_elsewhere_is_known_by_its_last_name() {
        let lib = "pub use lethe_data as data;\npub use a::{B, c::d,\n    e as f};\npub use g::h;\n// pub use i;\n";
        assert_eq!(reexports(lib), ["data", "B", "d", "f", "h"]);
    }

    #[test]
    fn every_crate_has_rooms_but_a_list_by_the_alphabet_has_no_order() {
        let lines = |name: &str, text: &str| -> Vec<usize> {
            let package = package(name, "mod alignment;\nmod rows;\nmod cli;\n");
            check_file(Path::new("alignment.rs"), text, &package).iter().map(|finding| finding.line).collect()
        };
        assert_eq!(lines("lethe-data", "use crate::rows::Rows;\nuse lethe_data::rows;\nuse lethe::rows;\n"), [1, 2]);
        assert_eq!(lines("lethe-measures", "use crate::rows::Rows;\nprintln!();\n"), [2]);
    }

    #[test]
    fn a_module_that_lib_does_not_name_is_reported() {
        assert_eq!(lines("strange.rs", "\n"), [1]);
        assert_eq!(lines("main.rs", "fn main() { lethe::cli::main() }\n"), [0; 0]);
    }

    #[test]
    fn only_lethe_may_depend_on_torch() {
        let package = tempfile::tempdir().unwrap();
        fs::create_dir(package.path().join("src")).unwrap();
        fs::write(
            package.path().join("Cargo.toml"),
            "[package]\nname = \"lethe-measures\"\n[dependencies]\ntch = \"1\"\n",
        )
        .unwrap();
        fs::write(package.path().join("src/lib.rs"), "use tch::Tensor;\nuse lethe_measures::x;\n").unwrap();
        let lines: Vec<usize> = check_torchless(package.path()).unwrap().iter().map(|finding| finding.line).collect();
        assert_eq!(lines, [4, 1]);
    }
}
