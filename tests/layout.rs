//! The shape of the project, as ARCHITECTURE.md promises it: rooms import only what stands above them, `unsafe` lives in
//! two rooms, control never reaches into rings.

use std::fs;
use std::path::{Path, PathBuf};

const DATAPLANE: &[&str] = &["wire", "flow", "sys", "mem", "packet", "port", "sched", "pipeline", "worker"];
const CONTROL: &[&str] = &[
    "model",
    "report",
    "flows",
    "openflow",
    "command",
    "config",
    "plan",
    "merge",
    "engine",
    "dataplane",
    "rpc",
    "controllers",
    "daemon",
];

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

/// The rooms that follow `crate::`, with their lines; of `crate::{a::x, b::{y, z}}`, over as many lines as it takes, both.
fn rooms_named(text: &str) -> Vec<(usize, String)> {
    let text: String = code(text).map(|(_, line)| format!("{line}\n")).collect();
    let word = |text: &str| text.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut rooms = Vec::new();
    for (at, found) in text.match_indices("crate::") {
        let line = text[..at].matches('\n').count() + 1;
        let rest = &text[at + found.len()..];
        let Some(list) = rest.strip_prefix('{') else {
            rooms.push((line, word(rest)));
            continue;
        };
        let (mut depth, mut start) = (1, 0);
        for (place, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                ',' | '}' if depth == 1 => {
                    rooms.push((line, word(&list[start..place])));
                    start = place + 1;
                    depth -= i32::from(c == '}');
                }
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    rooms
}

fn misplaced_imports(under: &str, order: &[&str]) -> Vec<String> {
    let place = |room: &str| order.iter().position(|name| *name == room);
    let mut wrong = Vec::new();
    for (path, text) in rust_files(under) {
        let inside = path.strip_prefix(root().join(under)).expect("inside");
        let first = inside.iter().next().expect("a name").to_string_lossy();
        let room = first.trim_end_matches(".rs");
        let Some(own) = place(room) else {
            assert_eq!(room, "lib", "{} belongs to no room", path.display());
            continue;
        };
        for (line, named) in rooms_named(&text) {
            if place(&named).is_some_and(|place| place > own) {
                wrong.push(format!("{}:{line}: {room} imports {named}", path.display()));
            }
        }
    }
    wrong
}

#[test]
fn imports_are_found_however_they_are_written() {
    let text =
        "use crate::a::{b, c};\nuse crate::{\n    d::{e, f}, // crate::no\n    g,\n};\nlet x = crate::h(crate::i::j);";
    let rooms: Vec<_> = rooms_named(text).into_iter().filter(|(_, room)| !room.is_empty()).collect();
    let expected = [(1, "a"), (2, "d"), (2, "g"), (6, "h"), (6, "i")];
    assert_eq!(rooms, expected.map(|(line, room)| (line, room.to_owned())));
}

#[test]
fn rooms_import_only_what_stands_above_them() {
    let mut wrong = misplaced_imports("dataplane/src", DATAPLANE);
    wrong.extend(misplaced_imports("control/src", CONTROL));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_room_is_in_the_order() {
    for (file, order) in [("dataplane/src/lib.rs", DATAPLANE), ("control/src/lib.rs", CONTROL)] {
        let text = fs::read_to_string(root().join(file)).expect("lib.rs");
        let mut declared: Vec<_> =
            text.lines().filter_map(|line| line.split("mod ").nth(1)?.strip_suffix(';')).collect();
        let mut order = order.to_vec();
        declared.sort_unstable();
        order.sort_unstable();
        assert_eq!(declared, order, "{file}");
    }
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
