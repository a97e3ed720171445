//! What is asked of the policy for one exec.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};

use caps::Capability;
use porthole_registry::namespace::NamespaceKind;
use rustix::fs::AtFlags;

use super::Target;
use super::args::{Place, Request};
use super::capabilities::Capabilities;
use super::error::{ExecError, Step};
use super::ids::{Ids, NOBODY};
use super::namespaces::Selection;
use super::places::{Directory, OpenedDirectory};
use super::plan::{Caller, Plan};
use super::view::View;
use crate::policy::{Accounts, Asked, Names, Need, PodName, Program, Verdict, find_program};

/// The answer before there is a plan: a refusal here holds for every command and, while the target is unknown, for every
/// target.
pub(crate) fn ask_beforehand(request: &Request, target: Option<&Target>, caller: &Caller) -> Verdict {
    let asked = Asked {
        user: caller.invoker.user(&Accounts::read()),
        target: target.map(names),
        profile: request.profile.name.to_owned(),
        command: None,
        needs: asked_for(request),
        writable: Vec::new(),
    };
    asked.answer(&caller.policy)
}

/// The policy's answer. Root is not asked about: nothing is read for it.
pub(crate) fn ask(
    request: &Request,
    target: &Target,
    caller: &Caller,
    plan: &Plan,
    words: &[OsString],
    writable: &[OpenedDirectory],
) -> Result<Verdict, ExecError> {
    if caller.invoker.is_root() {
        return Ok(Verdict::root());
    }
    let accounts = Accounts::read();
    let user = caller.invoker.user(&accounts);
    let needs = needs(request, target, plan, &user.gids, caller.invoker.uid, &accounts)?;
    let word = words.first().map_or(OsStr::new(""), |word| word);
    let program = match (&plan.view, &plan.working_directory) {
        (View::Entered, _) => Program::OfTarget(word.to_string_lossy().into_owned()),
        (_, Directory::Opened(_)) => find_program(word, plan.environment.path(), None),
        (_, directory) => find_program(word, plan.environment.path(), Some(directory.in_view())),
    };
    let asked = Asked {
        user,
        target: Some(names(target)),
        profile: plan.profile.name.to_owned(),
        command: Some((program, plan.command.iter().skip(1).cloned().collect())),
        needs,
        writable: writable.iter().map(|opened| opened.path.clone()).collect(),
    };
    Ok(asked.answer(&caller.policy))
}

fn names(target: &Target) -> Names {
    let called = PodName { namespace: target.identity.namespace.clone(), pod: target.identity.pod.clone() };
    Names { called, all: target.identities.clone() }
}

/// The words that a rule has to allow for these options, wherever they lead.
fn asked_for(request: &Request) -> BTreeSet<Need> {
    let of_target = |place: &Option<Place>| *place == Some(Place::Target);
    let of_host = |place: &Option<Place>| matches!(place, Some(Place::Host(_)));
    let joined = |namespace| match &request.namespaces {
        Selection::All => false,
        Selection::These(these) => these.contains(&namespace),
    };
    let hostile = [NamespaceKind::Mnt, NamespaceKind::Pid, NamespaceKind::User].into_iter().any(joined);
    // In a user namespace of the target's, 0 may be anybody.
    let root = !joined(NamespaceKind::User)
        && request.namespaces != Selection::All
        && (request.uid == Some(0) || request.gid == Some(0));
    let all = [
        (Need::Enter, hostile || of_target(&request.root) || of_target(&request.working_directory)),
        (Need::Chroot, of_host(&request.root)),
        (Need::CapAdd, !request.add.is_empty()),
        (Need::Root, root || request.preserve_credentials),
        (Need::Env, !request.variables.is_empty()),
        (Need::Directory, of_host(&request.working_directory)),
        (Need::Context, request.follow_context),
        // The configuration and the site's profiles are the administrator's own wish. Without a process that waits,
        // nothing ends the processes that the command starts.
        (Need::Unbound, request.detach || !request.fork || request.asks_for_another_cgroup),
    ];
    all.into_iter().filter_map(|(need, asked)| asked.then_some(need)).collect()
}

/// What a rule has to allow by name for this.
fn needs(
    request: &Request,
    target: &Target,
    plan: &Plan,
    gids: &BTreeSet<u32>,
    own_uid: u32,
    accounts: &Accounts,
) -> Result<BTreeSet<Need>, ExecError> {
    let mut needs = asked_for(request);
    let mut need = |what, needed: bool| {
        if needed {
            needs.insert(what);
        }
    };
    need(Need::Enter, plan.namespaces.hostile());
    need(Need::HostMount, sees_the_host(request, target, plan)?);
    let own = |id, is_own: bool| id == 0 || id == NOBODY || is_own;
    let others = |uid: u32, gid: u32| !own(uid, uid == own_uid) || !own(gid, gids.contains(&gid));
    match plan.ids {
        Ids::Kept => need(Need::Root, true),
        Ids::Set { uid, gid, host: None } => {
            need(Need::Root, uid == 0 || gid == 0);
            need(Need::User, others(uid, gid));
            // By these anybody becomes root, whatever ids they begin with.
            need(Need::Root, makes_root(request.add));
        }
        Ids::Set { host: Some((uid, gid)), .. } => {
            need(Need::Root, uid == 0 || gid == 0);
            // A container's ids are its own, where they are nobody's on the host.
            let of_host = of_no_container(target) || accounts.have(uid, gid);
            need(Need::User, of_host && others(uid, gid));
        }
    }
    need(Need::Host, request.follow_context && of_no_container(target));
    let may_trace = plan.capabilities.permitted.contains(Capabilities::of(Capability::CAP_SYS_PTRACE));
    need(Need::Host, on_the_hosts(plan, NamespaceKind::Net)?);
    need(Need::Host, may_trace && (!plan.fork || on_the_hosts(plan, NamespaceKind::Pid)?));
    Ok(needs)
}

/// Whether one of these is as good as uid 0: past the permissions of files, to other ids, or into the kernel.
fn makes_root(capabilities: Capabilities) -> bool {
    let into_the_kernel = [
        Capability::CAP_SYS_MODULE,
        Capability::CAP_SYS_RAWIO,
        Capability::CAP_MKNOD,
        Capability::CAP_SETFCAP,
        Capability::CAP_BPF,
    ];
    let all = into_the_kernel.map(Capabilities::of).into_iter();
    !capabilities.disjoint(all.fold(Capabilities::PAST_PERMISSIONS, Capabilities::union))
}

/// Whether the target, or a part of it, is of no recorded container.
fn of_no_container(target: &Target) -> bool {
    target.identities.iter().any(|name| name.pod.is_none())
}

/// Whether no view is built, or one that the command is not in, over a file system that is not known to be a container's
/// own: that of a process in the host's mount namespace, with the host's root, or of no container.
fn sees_the_host(request: &Request, target: &Target, plan: &Plan) -> Result<bool, ExecError> {
    let from_target = plan.namespaces.has(NamespaceKind::Mnt)
        || [&request.root, &request.working_directory].into_iter().any(|place| *place == Some(Place::Target));
    let Some(process) = target.process.as_ref().filter(|_| from_target) else { return Ok(false) };
    let is_the_same = |ours: &str, theirs: &str| {
        let failed =
            |name: &str| Step::Policy.failed(format!("{name} of porthole and of process {}", process.pid));
        let ours = rustix::fs::stat(ours).map_err(failed(theirs))?;
        let theirs =
            rustix::fs::statat(&process.proc_dir, theirs, AtFlags::empty()).map_err(failed(theirs))?;
        Ok::<_, ExecError>((ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino))
    };
    Ok(of_no_container(target) || is_the_same("/proc/self/ns/mnt", "ns/mnt")? || is_the_same("/", "root")?)
}

/// Whether the command stays in, or joins, the namespace that porthole is in.
fn on_the_hosts(plan: &Plan, kind: NamespaceKind) -> Result<bool, ExecError> {
    let Some(join) = plan.namespaces.0.iter().find(|join| join.namespace == kind) else { return Ok(true) };
    let own = rustix::fs::stat(format!("/proc/self/ns/{}", kind.proc_name()));
    let own = own.map_err(Step::Policy.failed(format!("{kind} namespace of porthole")))?;
    Ok(own.st_ino == join.inode)
}

/// The error that says what the policy said.
pub(crate) fn refusal(
    verdict: &Verdict,
    caller: &Caller,
    target: &str,
    profile: &str,
    command: &[String],
) -> ExecError {
    let name = caller.invoker.name.clone().unwrap_or_else(|| caller.invoker.uid.to_string());
    let why: Vec<_> =
        verdict.missed.iter().map(|missed| format!("rule {}: {}", missed.rule, missed.why)).collect();
    let why = if why.is_empty() { String::new() } else { format!(" ({})", why.join("; ")) };
    Step::Policy.refused(
        format!("{verdict}{}", if verdict.rule.is_some() { "" } else { &why }),
        format!(
            "`porthole policy check {name} {target} {profile} -- {}` tells more; docs: reference/policy.md",
            command.join(" ")
        ),
    )
}
