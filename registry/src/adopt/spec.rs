//! The `config.json` of what was found.

use super::files::Directory;
use crate::oci::Spec;
use std::path::Path;

/// More than this is no configuration.
const LARGEST: u64 = 8 << 20;

/// Reads the configuration in a bundle; none where there is none any more.
pub(super) fn read(bundle: &Path) -> Result<Option<Spec>, String> {
    let Some(directory) = Directory::root(bundle)? else { return Ok(None) };
    let Some(content) = directory.read("config.json", LARGEST)? else { return Ok(None) };
    Spec::parse(&content.bytes).map(Some).map_err(|e| e.to_string())
}
