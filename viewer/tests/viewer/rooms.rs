//! The modules of the viewer know each other in one direction.

use std::path::{Path, PathBuf};

/// The rooms in the order of the table in the library's documentation.
fn rooms(library: &str) -> Vec<&str> {
    let names = library.lines().filter_map(|line| line.strip_prefix("//! | [`")?.split('`').next());
    names.map(|name| name.trim_start_matches("mod@")).collect()
}

fn files(place: &Path, found: &mut Vec<PathBuf>) {
    if place.is_dir() {
        std::fs::read_dir(place).unwrap().for_each(|item| files(&item.unwrap().path(), found));
    } else {
        found.push(place.to_path_buf());
    }
}

/// What a text names behind `crate::`.
fn named(text: &str) -> Vec<&str> {
    let word = |text| str::split(text, |c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
    let mut all = Vec::new();
    for rest in text.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            Some(list) => all.extend(list.split('}').next().unwrap().split(',').map(|part| word(part.trim()))),
            None => all.push(word(rest)),
        }
    }
    all
}

#[test]
fn a_room_knows_those_above_it_alone() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let library = std::fs::read_to_string(source.join("lib.rs")).unwrap();
    let rooms = rooms(&library);
    let modules: Vec<&str> =
        library.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    assert!(rooms.len() > 8 && rooms.len() == modules.len(), "every module has a row: {rooms:?}, {modules:?}");
    let mut count = 0;
    for (place, room) in rooms.iter().enumerate() {
        let mut found = Vec::new();
        let file = source.join(room).with_extension("rs");
        files(&if file.exists() { file } else { source.join(room) }, &mut found);
        for file in found {
            for name in named(&std::fs::read_to_string(&file).unwrap()) {
                let name = if name == "Viewer" { "app" } else { name };
                let known = rooms.iter().position(|known| *known == name);
                let known = known.unwrap_or_else(|| panic!("{}: no room {name}", file.display()));
                assert!(known <= place, "{}: {room} must not know {name}", file.display());
                count += 1;
            }
        }
    }
    assert!(count > 50, "{count} names found");
}
