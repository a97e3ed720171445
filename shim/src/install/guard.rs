//! The script that engines call as their runtime: it lets `porthole-runtime` add the hooks, and is the real runtime where
//! that has gone. So no container fails for a binary that was removed.

use super::engine::{Context, EngineName};
use super::plan::{Owner, Plan, Rank};
use super::tree::Content;
use super::{edit::Edit, is_plain};
use crate::problem::Problem;
use std::path::{Path, PathBuf};

/// Where the scripts are.
pub(crate) const DIRECTORY: &str = "/etc/porthole/runtime";

/// Plans the script for a runtime of an engine, and returns its path.
pub(crate) fn install(
    context: &Context<'_>,
    plan: &mut Plan,
    engine: EngineName,
    name: &str,
    real: &Path,
) -> Result<PathBuf, Problem> {
    let path = Path::new(DIRECTORY).join(format!("{engine}-{name}"));
    let programs = context.programs;
    if let Some(path) =
        [&path, real, &programs.runtime, &programs.hook].into_iter().find(|path| !is_plain(path))
    {
        return Err(Problem::failed(format!(
            "{}: a path with other characters than letters, digits and ._-/ cannot be written into a script",
            path.display()
        )));
    }
    let script = script(&programs.runtime, &programs.hook, real);
    let content = Content::program(script.into_bytes());
    plan.set(context.tree, &path, Rank::Support, Owner::Engine(engine), Some(content), Edit::Own)?;
    Ok(path)
}

/// Whether a path is that of such a script.
pub(crate) fn is_guard(path: &Path) -> bool {
    path.starts_with(DIRECTORY)
}

/// The runtime that a script falls back to.
pub(crate) fn real(script: &str) -> Option<PathBuf> {
    let last = script.lines().rev().find(|line| line.starts_with("exec "))?;
    last.split(' ').nth(1).map(PathBuf::from)
}

fn script(runtime: &Path, hook: &Path, real: &Path) -> String {
    let (runtime, hook, real) = (runtime.display(), hook.display(), real.display());
    format!(
        "#!/bin/sh\n\
         # Written by `porthole install`, removed by `porthole uninstall`.\n\
         test -x {runtime} && exec {runtime} --real {real} --hook {hook} -- \"$@\"\n\
         exec {real} \"$@\"\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_real_runtime_is_read_back_from_the_script() {
        let text = script(
            Path::new("/usr/libexec/porthole/porthole-runtime"),
            Path::new("/h"),
            Path::new("/usr/bin/runc"),
        );
        assert_eq!(real(&text), Some("/usr/bin/runc".into()));
        assert_eq!(real("#!/bin/sh\n"), None);
    }
}
