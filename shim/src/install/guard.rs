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

/// The second line of the script.
const HEAD: &str = "# Written by `porthole install`, removed by `porthole uninstall`.";

/// Plans the script for a runtime of an engine, and returns its path.
pub(crate) fn install(
    context: &Context<'_>,
    plan: &mut Plan,
    engine: EngineName,
    name: &str,
    real: &Path,
) -> Result<PathBuf, Problem> {
    install_with(context, plan, engine, name, real, &[])
}

/// As [`install`], for a runtime that is called with arguments of its own before those of the engine.
pub(crate) fn install_with(
    context: &Context<'_>,
    plan: &mut Plan,
    engine: EngineName,
    name: &str,
    real: &Path,
    args: &[String],
) -> Result<PathBuf, Problem> {
    if !is_word(name) || !args.iter().all(|arg| is_word(&arg.replace('/', "."))) {
        return Err(Problem::failed(format!(
            "{engine}: the runtime {name} has a name or arguments that cannot be written into a script"
        )));
    }
    let path = path(engine, name);
    let programs = context.programs;
    if let Some(path) =
        [&path, real, &programs.runtime, &programs.hook].into_iter().find(|path| !is_plain(path))
    {
        return Err(Problem::failed(format!(
            "{}: a path with other characters than letters, digits and ._-/ cannot be written into a script",
            path.display()
        )));
    }
    let script = script(&programs.runtime, &programs.hook, real, args);
    let content = Content::program(script.into_bytes());
    plan.set(context.tree, &path, Rank::Support, Owner::Engine(engine), Some(content), Edit::Own)?;
    Ok(path)
}

/// Where the script for a runtime of an engine is.
pub(crate) fn path(engine: EngineName, name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(format!("{engine}-{name}"))
}

/// Whether a text is such a script.
pub(crate) fn is_script(text: &str) -> bool {
    text.lines().nth(1) == Some(HEAD)
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

/// Whether the shell takes it as it is.
fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-+=:,@%".contains(&byte))
}

fn script(runtime: &Path, hook: &Path, real: &Path, args: &[String]) -> String {
    let (runtime, hook, real) = (runtime.display(), hook.display(), real.display());
    let args: String = args.iter().map(|arg| format!("{arg} ")).collect();
    format!(
        "#!/bin/sh\n\
         {HEAD}\n\
         test -x {runtime} && exec {runtime} --real {real} --hook {hook} -- {args}\"$@\"\n\
         exec {real} {args}\"$@\"\n"
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
            &[],
        );
        assert_eq!(real(&text), Some("/usr/bin/runc".into()));
        assert_eq!(real("#!/bin/sh\n"), None);
    }

    #[test]
    fn arguments_of_the_runtime_come_before_the_engines_either_way() {
        let text = script(
            Path::new("/r"),
            Path::new("/h"),
            Path::new("/usr/bin/runsc"),
            &["--platform=kvm".to_owned()],
        );
        assert!(text.contains("--hook /h -- --platform=kvm \"$@\"\n"), "{text}");
        assert!(text.ends_with("exec /usr/bin/runsc --platform=kvm \"$@\"\n"), "{text}");
        assert_eq!(real(&text), Some("/usr/bin/runsc".into()));
    }

    #[test]
    fn what_the_shell_would_read_otherwise_is_no_word() {
        for text in ["a b", "$x", "`x`", "a;b", "a'b", "a\"b", "a\nb", "*", "~", "a\\", "é", "#", ""] {
            assert!(!is_word(text), "{text}");
        }
        assert!(is_word("--platform=kvm"));
    }
}
