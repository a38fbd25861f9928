//! The shape of the project, as ARCHITECTURE.md promises it: rooms import only what stands above them, `unsafe` lives in
//! two rooms, control never reaches into rings, configurations and documents do not rot.

use std::fs;
use std::path::{Path, PathBuf};

const DATAPLANE: &[&str] = &["wire", "flow", "sys", "mem", "packet", "port", "pipeline", "worker"];
const CONTROL: &[&str] = &["model", "config", "plan", "dataplane", "apply", "rpc", "daemon"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(under: &str) -> Vec<(PathBuf, String)> {
    fn walk(dir: &Path, files: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display())) {
            let path = entry.expect("a directory entry").path();
            if path.is_dir() {
                walk(&path, files);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = fs::read_to_string(&path).expect("a source file");
                files.push((path, text));
            }
        }
    }
    let mut files = Vec::new();
    walk(&root().join(under), &mut files);
    assert!(!files.is_empty(), "no sources under {under}");
    files
}

/// Lines of code without comments.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(number, line)| (number + 1, line.split("//").next().unwrap_or_default()))
}

/// The identifiers that follow `crate::` in a line; of `crate::{a::x, b::y}` all of them.
fn rooms_named(line: &str) -> Vec<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    line.match_indices("crate::")
        .flat_map(|(at, found)| {
            let rest = &line[at + found.len()..];
            match rest.strip_prefix('{') {
                Some(list) => list.split([',', '}']).map(|item| word(item.trim())).collect(),
                None => vec![word(rest)],
            }
        })
        .collect()
}

fn misplaced_imports(under: &str, order: &[&str]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (path, text) in rust_files(under) {
        let inside = path.strip_prefix(root().join(under)).expect("inside").to_path_buf();
        let room = inside.iter().next().map(|first| first.to_string_lossy().trim_end_matches(".rs").to_owned());
        let Some(own) = room.and_then(|room| order.iter().position(|name| *name == room)) else { continue };
        for (number, line) in code(&text) {
            for named in rooms_named(line) {
                if order.iter().position(|name| *name == named).is_some_and(|place| place > own) {
                    wrong.push(format!("{}:{number}: {} imports {named}", path.display(), order[own]));
                }
            }
        }
    }
    wrong
}

#[test]
fn rooms_import_only_what_stands_above_them() {
    let mut wrong = misplaced_imports("dataplane/src", DATAPLANE);
    wrong.extend(misplaced_imports("control/src", CONTROL));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_room_of_the_dataplane_is_in_the_order() {
    let text = fs::read_to_string(root().join("dataplane/src/lib.rs")).expect("lib.rs");
    let declared: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    assert_eq!(declared, DATAPLANE);
}

#[test]
fn unsafe_code_lives_in_sys_and_mem_only() {
    let rooms = [root().join("dataplane/src/sys"), root().join("dataplane/src/mem")];
    // A test's global allocator is an unsafe trait; it is the one exception.
    let allocator = root().join("dataplane/tests/no_allocation.rs");
    let mut wrong = Vec::new();
    for under in ["dataplane", "control", "src", "tests", "fuzz"] {
        for (path, text) in rust_files(under) {
            if rooms.iter().any(|room| path.starts_with(room)) || path == allocator {
                continue;
            }
            for (number, line) in code(&text) {
                let opens = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"];
                if opens.iter().any(|text| line.contains(text)) && !line.contains('"') {
                    wrong.push(format!("{}:{number}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "unsafe outside its rooms:\n{}", wrong.join("\n"));
}

#[test]
fn control_knows_no_ring() {
    for (path, text) in rust_files("control/src") {
        for (number, line) in code(&text) {
            let touches = line.contains("ringswitch_dataplane::mem") || line.contains("dataplane::mem::");
            assert!(!touches, "{}:{number}: control reaches into foreign memory", path.display());
        }
    }
}

#[test]
fn the_documents_name_files_that_exist() {
    for document in ["README.md", "ARCHITECTURE.md"] {
        let text = fs::read_to_string(root().join(document)).unwrap_or_else(|error| panic!("{document}: {error}"));
        for word in text.split(['`', '(', ')', ' ', '\n']) {
            let looks_like_path = ["dataplane/", "control/", "configs/", "docs/", "benches/", "tests/", "src/"]
                .iter()
                .any(|start| word.starts_with(start));
            if looks_like_path && !word.contains(['*', '{', '<', '|']) {
                let path = word.trim_end_matches(['.', ',', ':', ';', '/']);
                assert!(root().join(path).exists(), "{document} names {path}, which does not exist");
            }
        }
    }
}
