//! The containers that Docker knows, by what it keeps of them on disk.

use super::config::Config;
use crate::install::tree::Tree;
use crate::problem::Problem;
use serde::Deserialize;
use std::path::{Path, PathBuf};

const DATA_ROOT: &str = "/var/lib/docker";

#[derive(Deserialize)]
struct HostConfig {
    #[serde(rename = "Runtime", default)]
    runtime: String,
}

/// The runtime of each container, running or stopped.
pub(super) fn runtimes(tree: &Tree, config: &Config, flag: Option<&str>) -> Result<Vec<String>, Problem> {
    let named = match flag {
        Some(dir) => Some(dir.to_owned()),
        None => config.word("data-root")?.or(config.word("graph")?),
    };
    let root = PathBuf::from(named.unwrap_or_else(|| DATA_ROOT.to_owned()));
    let mut found = Vec::new();
    for root in roots(tree, &root) {
        let dir = root.join("containers");
        for id in tree.names(&dir) {
            // One that is unreadable Docker does not know either.
            let text = tree.text(&dir.join(id).join("hostconfig.json")).ok().flatten();
            if let Some(Ok(container)) = text.map(|text| serde_json::from_str::<HostConfig>(&text)) {
                found.push(container.runtime);
            }
        }
    }
    Ok(found)
}

/// The directory, and those below it for each mapping of user ids (`userns-remap`): `UID.GID`.
fn roots(tree: &Tree, root: &Path) -> Vec<PathBuf> {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let mapped = tree.names(root).into_iter();
    let mapped =
        mapped.filter(|name| name.split_once('.').is_some_and(|(uid, gid)| number(uid) && number(gid)));
    std::iter::once(root.to_owned()).chain(mapped.map(|name| root.join(name))).collect()
}
