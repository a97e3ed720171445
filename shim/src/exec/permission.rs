//! What is asked of the policy for one exec.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};

use caps::Capability;
use porthole_registry::namespace::NamespaceKind;

use super::Target;
use super::args::{Place, Request};
use super::capabilities::Capabilities;
use super::error::{ExecError, Step};
use super::ids::{Ids, NOBODY};
use super::places::Directory;
use super::plan::{Caller, Plan};
use super::view::View;
use crate::policy::{Accounts, Asked, Need, Program, Verdict, find_program};

/// The policy's answer. Root is not asked about: nothing is read for it.
pub(crate) fn ask(
    request: &Request,
    target: &Target,
    caller: &Caller,
    plan: &Plan,
    words: &[OsString],
) -> Result<Verdict, ExecError> {
    if caller.invoker.is_root() {
        return Ok(Verdict::root());
    }
    let user = caller.invoker.user(&Accounts::read());
    let needs = needs(request, plan, &user.gids, caller.invoker.uid)?;
    let word = words.first().map_or(OsStr::new(""), |word| word);
    let program = match (&plan.view, &plan.working_directory) {
        (View::Entered, _) => Program::OfTarget(word.to_string_lossy().into_owned()),
        (_, Directory::Opened(_)) => find_program(word, plan.environment.path(), None),
        (_, directory) => find_program(word, plan.environment.path(), Some(directory.in_view())),
    };
    let asked = Asked {
        user,
        namespace: target.identity.namespace.clone(),
        pod: target.identity.pod.clone(),
        profile: plan.profile.name.to_owned(),
        program,
        arguments: plan.command.iter().skip(1).cloned().collect(),
        needs,
    };
    Ok(asked.answer(&caller.policy))
}

/// What a rule has to allow by name for this.
fn needs(
    request: &Request,
    plan: &Plan,
    gids: &BTreeSet<u32>,
    own_uid: u32,
) -> Result<BTreeSet<Need>, ExecError> {
    let mut needs = BTreeSet::new();
    let mut need = |what, needed: bool| {
        if needed {
            needs.insert(what);
        }
    };
    need(Need::Enter, plan.hostile() || request.working_directory == Some(Place::Target));
    need(Need::CapAdd, !request.add.is_empty());
    match plan.ids {
        Ids::Kept => need(Need::Root, true),
        // The ids of the target's own map: whoever may enter it may be anybody there.
        Ids::Set { host: Some((uid, gid)), .. } => need(Need::Root, uid == 0 || gid == 0),
        Ids::Set { uid, gid, host: None } => {
            need(Need::Root, uid == 0 || gid == 0);
            let own = |id, is_own: bool| id == 0 || id == NOBODY || is_own;
            need(Need::User, !own(uid, uid == own_uid) || !own(gid, gids.contains(&gid)));
        }
    }
    need(Need::Env, !request.variables.is_empty());
    need(Need::Directory, matches!(request.working_directory, Some(Place::Host(_))));
    need(Need::Context, request.follow_context);
    let may_trace = plan.capabilities.permitted.contains(Capabilities::of(Capability::CAP_SYS_PTRACE));
    need(Need::Host, on_the_hosts(plan, NamespaceKind::Net)?);
    need(Need::Host, may_trace && (!plan.fork || on_the_hosts(plan, NamespaceKind::Pid)?));
    // What the configuration or a profile of the site says is the administrator's own wish.
    need(Need::Unbound, request.detach || request.asks_for_another_cgroup);
    Ok(needs)
}

/// Whether the command stays in, or joins, the namespace that porthole is in.
fn on_the_hosts(plan: &Plan, kind: NamespaceKind) -> Result<bool, ExecError> {
    let Some(join) = plan.namespaces.0.iter().find(|join| join.namespace == kind) else { return Ok(true) };
    let own = rustix::fs::stat(format!("/proc/self/ns/{}", kind.proc_name()));
    let own = own.map_err(Step::Policy.failed(format!("{kind} namespace of porthole")))?;
    Ok(own.st_ino == join.inode)
}

/// The error that says what the policy said.
pub(crate) fn refusal(plan: &Plan, caller: &Caller) -> ExecError {
    let name = caller.invoker.name.clone().unwrap_or_else(|| caller.invoker.uid.to_string());
    let command = plan.command.join(" ");
    let why: Vec<_> =
        plan.policy.missed.iter().map(|missed| format!("rule {}: {}", missed.rule, missed.why)).collect();
    let why = if why.is_empty() { String::new() } else { format!(" ({})", why.join("; ")) };
    Step::Policy.refused(
        format!("{}{}", plan.policy, if plan.policy.rule.is_some() { "" } else { &why }),
        format!(
            "`porthole policy check {name} {} {} -- {command}` tells more; docs: reference/policy.md",
            plan.target, plan.profile.name
        ),
    )
}
