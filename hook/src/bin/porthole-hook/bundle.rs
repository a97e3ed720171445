//! The bundle's `config.json`, where the runtime sees it.

use std::path::Path;

use porthole_hook::bundle::{open, read};
use porthole_registry::oci::Spec;
use rustix::fs::{CWD, OFlags};

/// Reads the configuration of the bundle.
///
/// # Errors
/// Says what is wrong with it: missing, no file, too large, no JSON.
pub(crate) fn spec(bundle: &Path) -> Result<Spec, String> {
    let path = bundle.join("config.json");
    let told = |cause: String| format!("{}: {cause}", path.display());
    if !bundle.is_absolute() {
        return Err(told("the bundle is no absolute path".into()));
    }
    open(CWD, &path, OFlags::empty())
        .and_then(|file| read(&file))
        .map_err(|e| told(e.to_string()))
        .and_then(|bytes| Spec::parse(&bytes).map_err(|e| told(e.to_string())))
}
