//! Our programs: there, static, executable, on a file system that stays, changed by nobody but root, of one version. And
//! what names them where they are no more.

use super::check::{Check, Finding, count};
use super::{NEEDS_ROOT, Setting, Subject, files, named};
use crate::install::binaries::wants_interpreter;
use crate::install::plan::Rank;
use crate::install::run;
use porthole_registry::bounded;
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

pub(super) const SUBJECT: Subject =
    Subject { checks: &["porthole-binary", "hook-binary", "runtime-binary", "stale-config"], look };

/// Types that a program gets where it was put by hand, or by nobody that knows of labels.
const STRAY_TYPES: [&str; 7] =
    ["unlabeled_t", "user_home_t", "admin_home_t", "tmp_t", "user_tmp_t", "default_t", "var_run_t"];
const AGAIN: &str = "put it there again as it came: by its package, `make install`, or `porthole install` if that has put it there";

/// What is known of a program.
#[derive(Clone, Debug)]
struct Facts {
    size: u64,
    is_executable: bool,
    /// None where it is no ELF program, or may not be read.
    wants_interpreter: Option<bool>,
    is_readable: bool,
    is_noexec: bool,
    passing: Option<&'static str>,
    loose: Option<files::Loose>,
    /// None where the node has no SELinux, or the file no label.
    selinux_type: Option<String>,
    /// What it says. None where it was not asked: only what nobody but root may change is executed.
    version: Option<Result<String, String>>,
}

fn look(setting: &Setting) -> Vec<Check> {
    let state = setting.state();
    let named = named::find(&setting.tree, &state);
    let own = std::env::current_exe().unwrap_or_default();
    let mut checks = Vec::new();
    for (check, program) in [
        ("porthole-binary", "porthole"),
        ("hook-binary", "porthole-hook"),
        ("runtime-binary", "porthole-runtime"),
    ] {
        let installed =
            state.files.iter().filter(|entry| entry.rank == Rank::Binary).map(|entry| &entry.path);
        let installed = installed.filter(|path| path.file_name().is_some_and(|name| name == program));
        let mut paths: BTreeSet<PathBuf> = installed.cloned().collect();
        // One that is named and is not there is told of by what names it.
        paths.extend(named.program(program).into_iter().filter(|path| files::exists(path)));
        if program == "porthole" {
            paths.insert(own.clone());
        } else if paths.is_empty() {
            paths.extend(beside(&own, program));
        }
        checks.extend(paths.iter().map(|path| one(check, path, setting)));
        if paths.is_empty() {
            checks.push(absent(check, program, &own));
        }
    }
    checks.extend(stale(setting, &named));
    checks
}

/// Where a program is that was installed along with this one.
fn beside(own: &Path, program: &str) -> Option<PathBuf> {
    let directory = own.parent()?;
    let tried = [directory.join("../libexec/porthole").join(program), directory.join(program)];
    tried.iter().find_map(|path| path.canonicalize().ok())
}

fn absent(check: &'static str, program: &str, own: &Path) -> Check {
    let directory = own.parent().unwrap_or(Path::new("/")).display();
    let evidence = format!(
        "not beside {}, not in {directory}/../libexec/porthole, nor anywhere it is named",
        own.display()
    );
    if program == "porthole-hook" {
        Check::fail(
            check,
            program,
            evidence,
            "`make install` or the package puts it there; then `porthole install`",
        )
    } else {
        // containerd's base specs and directories of hooks do without it.
        Check::warn(
            check,
            program,
            evidence,
            "Docker, and containerd's sandboxes, need it: `make install` or the package puts it there",
        )
    }
}

fn one(check: &'static str, path: &Path, setting: &Setting) -> Check {
    let subject = path.display().to_string();
    match gather(path) {
        Ok(facts) => judge(check, &subject, &facts, setting),
        Err(error) if !setting.is_root && error.kind() == std::io::ErrorKind::PermissionDenied => {
            Check::skip(check, subject, NEEDS_ROOT)
        }
        Err(error) => Check::fail(check, subject, error.to_string(), AGAIN),
    }
}

fn gather(path: &Path) -> std::io::Result<Facts> {
    let place = path.canonicalize()?;
    let meta = place.metadata()?;
    let bytes = bounded::file(&place, crate::install::tree::LARGEST);
    let loose = files::loose_on_the_way(&place);
    let interpreter = bytes.as_deref().ok().and_then(wants_interpreter);
    let is_own = std::env::current_exe().is_ok_and(|own| own == place);
    let trusted = loose.as_ref().is_none_or(|loose| !loose.is_grave) && interpreter == Some(false);
    let version =
        if is_own { Some(Ok(env!("CARGO_PKG_VERSION").to_owned())) } else { trusted.then(|| ask(&place)) };
    Ok(Facts {
        size: meta.len(),
        is_executable: meta.is_file() && meta.mode() & 0o111 != 0,
        wants_interpreter: interpreter,
        is_readable: bytes.is_ok(),
        is_noexec: files::is_noexec(&place),
        passing: files::passing(&place),
        loose,
        selinux_type: files::selinux_type(&place).filter(|_| Path::new("/sys/fs/selinux").exists()),
        version,
    })
}

/// `porthole-hook 0.1.0`: the last word.
fn ask(path: &Path) -> Result<String, String> {
    let answer = run::output(path, &["--version"]).map_err(|e| e.to_string())?;
    answer.split_whitespace().last().map(str::to_owned).ok_or_else(|| "it says nothing".to_owned())
}

fn judge(check: &'static str, subject: &str, facts: &Facts, setting: &Setting) -> Check {
    let mut findings = Vec::new();
    if !facts.is_executable {
        findings.push(Finding::fail("is not executable", format!("`chmod 0755 {subject}`")));
    }
    match facts.wants_interpreter {
        Some(true) => findings.push(Finding::fail(
            "is dynamically linked: what runtimes call has to be static",
            "build it static, as .cargo/config.toml says, and install it again",
        )),
        None if facts.is_readable => findings.push(Finding::fail("is no ELF program", AGAIN)),
        _ => {}
    }
    if facts.is_noexec {
        findings.push(Finding::fail(
            "is on a file system mounted noexec",
            "remount it exec, or install elsewhere",
        ));
    }
    if let Some(why) = facts.passing {
        findings.push(Finding::fail(
            format!("is {why}"),
            "install it below /usr or /opt/porthole: `porthole install`",
        ));
    }
    if let Some(loose) = &facts.loose {
        let seen = format!("{} {}", loose.path.display(), loose.how);
        let remedy = format!("`chown root: {0} && chmod go-w {0}`", loose.path.display());
        findings.push(if loose.is_grave { Finding::fail(seen, remedy) } else { Finding::warn(seen, remedy) });
    }
    if let Some(kind) = facts.selinux_type.as_deref().filter(|kind| STRAY_TYPES.contains(kind)) {
        findings.push(Finding::warn(
            format!("has the SELinux type {kind}"),
            format!("`restorecon -v {subject}`"),
        ));
    }
    let own = env!("CARGO_PKG_VERSION");
    match &facts.version {
        Some(Ok(version)) if version != own => findings.push(Finding::fail(
            format!("is of version {version}, and this is {own}"),
            "`porthole install`, by the newer of the two, makes them one version",
        )),
        Some(Err(cause)) => {
            findings.push(Finding::fail(format!("does not tell its version: {cause}"), AGAIN))
        }
        _ => {}
    }
    let version = match &facts.version {
        Some(Ok(version)) => version.clone(),
        _ if setting.is_root => "version not asked".to_owned(),
        _ => "version unknown".to_owned(),
    };
    Check::of(
        check,
        subject,
        format!(
            "{}, {}, {version}",
            if facts.is_readable { "static" } else { "not readable" },
            size(facts.size)
        ),
        findings,
    )
}

/// In megabytes, with one decimal.
fn size(bytes: u64) -> String {
    let tenths = (bytes + 50_000) / 100_000;
    format!("{}.{} MB", tenths / 10, tenths % 10)
}

/// What is named and not there, a line each.
fn stale(setting: &Setting, named: &named::Named) -> Vec<Check> {
    let mut checks = Vec::new();
    for reference in &named.references {
        if let Some(wrong) = named::wrong(&setting.tree, &reference.path) {
            checks.push(Check::fail(
                "stale-config",
                reference.file.display().to_string(),
                format!("names {}, which {wrong}", reference.path.display()),
                "put back what is missing as it came: by its package, `make install` or `porthole install`; or take the configuration back: `porthole uninstall`",
            ));
        }
    }
    if checks.is_empty() {
        let evidence = format!(
            "{} named in {}, all there",
            count(named.references.len(), "path"),
            count(named.files, "file")
        );
        checks.push(Check::ok("stale-config", "configuration of the engines", evidence));
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::Verdict;

    fn facts() -> Facts {
        Facts {
            size: 1_400_000,
            is_executable: true,
            wants_interpreter: Some(false),
            is_readable: true,
            is_noexec: false,
            passing: None,
            loose: None,
            selinux_type: Some("bin_t".to_owned()),
            version: Some(Ok(env!("CARGO_PKG_VERSION").to_owned())),
        }
    }

    fn verdict(change: impl FnOnce(&mut Facts)) -> (Verdict, String) {
        let mut facts = facts();
        change(&mut facts);
        let setting = crate::doctor::tests::setting();
        let check = judge("hook-binary", "/h", &facts, &setting);
        assert_eq!(check.remedy.is_some(), check.verdict != Verdict::Ok);
        (check.verdict, check.evidence)
    }

    #[test]
    fn a_program_as_it_should_be_is_ok() {
        assert_eq!(verdict(|_| {}), (Verdict::Ok, format!("static, 1.4 MB, {}", env!("CARGO_PKG_VERSION"))));
    }

    #[test]
    fn each_thing_that_is_wrong_with_a_program_is_told() {
        let loose = |is_grave| Some(files::Loose { path: "/d".into(), how: "is open".into(), is_grave });
        assert_eq!(verdict(|f| f.is_executable = false).0, Verdict::Fail);
        assert_eq!(verdict(|f| f.wants_interpreter = Some(true)).0, Verdict::Fail);
        assert_eq!(verdict(|f| f.wants_interpreter = None).0, Verdict::Fail);
        assert_eq!(verdict(|f| f.is_noexec = true).0, Verdict::Fail);
        assert_eq!(verdict(|f| f.passing = Some("below /run")).0, Verdict::Fail);
        assert_eq!(verdict(|f| f.loose = loose(true)), (Verdict::Fail, "/d is open".to_owned()));
        assert_eq!(verdict(|f| f.loose = loose(false)).0, Verdict::Warn);
        assert_eq!(verdict(|f| f.selinux_type = Some("user_home_t".into())).0, Verdict::Warn);
        assert_eq!(verdict(|f| f.version = Some(Ok("0.0.1".into()))).0, Verdict::Fail);
        assert_eq!(verdict(|f| f.version = Some(Err("killed".into()))).0, Verdict::Fail);
    }

    #[test]
    fn what_was_not_asked_or_may_not_be_read_is_no_finding() {
        assert_eq!(verdict(|f| f.version = None).0, Verdict::Ok);
        let unreadable = |f: &mut Facts| (f.is_readable, f.wants_interpreter) = (false, None);
        assert_eq!(verdict(unreadable).0, Verdict::Ok);
    }

    #[test]
    fn this_program_finds_out_about_itself() {
        let own = std::env::current_exe().unwrap();
        let facts = gather(&own).unwrap();
        assert_eq!((facts.wants_interpreter, facts.is_executable), (Some(false), true));
        assert_eq!(facts.version, Some(Ok(env!("CARGO_PKG_VERSION").to_owned())));
    }
}
