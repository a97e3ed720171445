//! What reviewers would otherwise have to look for: rules about sources, dependencies and documents.
//!
//! Each test looks everywhere and then tells all it found, so that one run is enough.

#![allow(clippy::unwrap_used)]

mod dependencies;
mod documents;
mod licences;
mod sources;

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};

/// What a test found.
#[derive(Default)]
struct Findings(Vec<String>);

impl Findings {
    /// Notes one finding at a place.
    fn add(&mut self, place: impl Display, what: impl Display) {
        self.0.push(format!("{place}: {what}"));
    }

    /// Notes one finding unless something holds.
    fn unless(&mut self, holds: bool, place: impl Display, what: impl Display) {
        if !holds {
            self.add(place, what);
        }
    }

    /// Ends the test.
    #[track_caller]
    fn report(mut self) {
        self.0.sort();
        assert!(self.0.is_empty(), "{} found:\n{}", self.0.len(), self.0.join("\n"));
    }
}

/// The directory that everything is below.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every file, by its path below the root, except what is built, downloaded or git's own.
fn files() -> Vec<PathBuf> {
    fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap();
            if name == "target" || name == ".git" {
                continue;
            }
            if path.is_dir() && !path.is_symlink() { walk(&path, found) } else { found.push(path) }
        }
    }
    let root = root();
    let mut found = Vec::new();
    walk(&root, &mut found);
    let mut found: Vec<_> = found.iter().map(|path| path.strip_prefix(&root).unwrap().to_owned()).collect();
    found.sort();
    found
}

/// The files with one of these endings, and their text.
fn texts(endings: &[&str]) -> Vec<(String, String)> {
    let wanted = |path: &PathBuf| path.extension().is_some_and(|ending| endings.iter().any(|e| ending == *e));
    let read =
        |path: PathBuf| Some((path.display().to_string(), fs::read_to_string(root().join(path)).ok()?));
    files().into_iter().filter(wanted).filter_map(read).collect()
}
