//! Documents do not rot: what they name exists, and what operators meet is in them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use ringswitch_control::model::SETTINGS;
use ringswitch_dataplane::packet::DropReason;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

#[test]
fn documents_name_files_that_exist() {
    for document in ["README.md", "ARCHITECTURE.md", "docs/operating.md"] {
        for word in read(document).split(['`', '(', ')', ' ', '\n', '|']) {
            let rooms = ["dataplane/", "control/", "configs/", "docs/", "benches/", "tests/", "src/"];
            let looks_like_path = rooms.iter().any(|start| word.starts_with(start));
            if looks_like_path && !word.contains(['*', '{', '<']) {
                let path = word.split('#').next().unwrap_or_default().trim_end_matches(['.', ',', ':', ';', '/']);
                assert!(root().join(path).exists(), "{document} names {path}, which does not exist");
            }
        }
    }
}

#[test]
fn operators_find_every_drop_reason_and_every_setting() {
    let text = read("docs/operating.md");
    let rows: BTreeSet<_> = text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let reasons = DropReason::ALL.iter().map(|reason| reason.name());
    for name in reasons.chain(SETTINGS.iter().map(|setting| setting.name)) {
        assert!(rows.contains(name), "docs/operating.md has no row for {name}");
    }
}

#[test]
fn every_dependency_has_its_reason() {
    let table = read("ARCHITECTURE.md");
    let table = table.split("## Dependencies").nth(1).expect("a chapter about them");
    for manifest in ["Cargo.toml", "dataplane/Cargo.toml", "control/Cargo.toml", "tests/pktgen/Cargo.toml"] {
        let text = read(manifest);
        let sections =
            text.split("\n[").filter(|section| section.split(']').next().unwrap_or_default().ends_with("dependencies"));
        for line in sections.flat_map(|section| section.lines().skip(1)) {
            let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
            let ours = name.is_empty() || name.starts_with('#') || name.starts_with("ringswitch") || name == "rspktgen";
            assert!(
                ours || table.contains(&format!("`{name}`")),
                "{manifest}: {name} is not explained in ARCHITECTURE.md"
            );
        }
    }
}
