//! Files of settings in TOML, as the engines of containers/common and CRI-O read them.

use crate::exit::Exit;
use crate::install::tree::Tree;
use crate::problem::Problem;
use std::path::PathBuf;
use toml::{Table, Value};

/// Reads the files that exist, in their order.
pub(crate) fn read(tree: &Tree, paths: Vec<PathBuf>) -> Result<Vec<(PathBuf, Table)>, Problem> {
    let mut files = Vec::new();
    for path in paths {
        let Some(text) = tree.text(&path)? else { continue };
        let table = text.parse::<Table>().map_err(|e| {
            Problem::new(
                Exit::Failed,
                format!("{}: {}", path.display(), e.to_string().replace('\n', " ")),
                "repair the file, then run this again",
            )
        })?;
        files.push((path, table));
    }
    Ok(files)
}

/// The value of a key. If no key is spelt so, one that differs in case alone counts, as it does for the engines' library.
pub(crate) fn find<'a>(table: &'a Table, key: &[&str]) -> Option<&'a Value> {
    let get = |table: &'a Table, name: &str| {
        table.get(name).or_else(|| Some(table.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?.1))
    };
    let (last, parents) = key.split_last()?;
    get(parents.iter().try_fold(table, |table, name| get(table, name)?.as_table())?, last)
}
