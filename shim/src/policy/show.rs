//! `porthole policy`: what the rules say, before somebody has to find out.

use super::language::directory;
use super::{Accounts, Asked, Missed, Names, Need, PodName, Program, Verdict, beside, file, find_program};
use crate::exit::{Exit, ExitCode};
use crate::inspect::netns_of;
use crate::inventory::Inventory;
use crate::output::{self, Format};
use crate::problem::Problem;
use crate::target::{Selector, Target};
use porthole_registry::config::Config;
use porthole_registry::namespace::NamespaceId;
use porthole_registry::process::Process;
use rustix::fd::OwnedFd;
use rustix::fs::CWD;
use serde::Serialize;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// `porthole policy`
#[derive(Debug, clap::Args)]
pub(crate) struct PolicyArgs {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, clap::Subcommand)]
enum PolicyCommand {
    /// Tell whether a user may run a command in a target, and which rule says so
    Check {
        /// A name or uid
        #[arg(value_name = "USER")]
        user: String,
        /// A target, or the NAMESPACE/POD of one that does not exist yet
        #[arg(value_name = "TARGET")]
        target: String,
        /// A profile
        #[arg(value_name = "PROFILE")]
        profile: String,
        /// What else exec would be asked for: enter, chroot, host-mount, cap-add, root, user, env, directory, context,
        /// host, unbound
        #[arg(long, value_name = "WHAT", value_delimiter = ',')]
        with: Vec<Need>,
        /// A directory of the host that exec would be asked to show writable, without links (repeatable)
        #[arg(long, value_name = "DIR", value_parser = directory)]
        writable: Vec<PathBuf>,
        /// The command and its arguments [default: /bin/sh]
        #[arg(trailing_var_arg = true, value_name = "CMD")]
        command: Vec<OsString>,
    },
    /// Print the rules as they are understood
    Show,
}

/// Where commands are looked for: sudo's usual `secure_path`.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs it. `config_path` is where the configuration is, if that was said.
pub(crate) fn run(
    args: PolicyArgs,
    config_path: Option<&Path>,
    config: &Config,
    format: Format,
) -> Result<ExitCode, Problem> {
    let path = beside(config_path);
    match args.command {
        PolicyCommand::Show => show(&path, format),
        PolicyCommand::Check { user, target, profile, with, writable, command } => {
            let named = named(&target, config)?;
            let accounts = Accounts::read();
            let user = accounts.named(&user).ok_or_else(|| {
                Problem::failed(format!("there is no user {user:?} in /etc/passwd; a uid will do"))
            })?;
            let words = if command.is_empty() { vec!["/bin/sh".into()] } else { command };
            let text = |word: &OsString| word.to_string_lossy().into_owned();
            let mut needs: BTreeSet<Need> = with.into_iter().collect();
            needs.extend(named.on_host_network.then_some(Need::Host));
            let without_view = [Need::Enter, Need::Chroot, Need::HostMount];
            let program = if without_view.iter().any(|need| needs.contains(need)) {
                Program::OfTarget(words.first().map(text).unwrap_or_default())
            } else {
                find_program(words.first().map_or(OsStr::new(""), |w| w), PATH.as_ref(), None)
            };
            let asked = Asked {
                user,
                target: Some(named.names),
                profile,
                command: Some((program, words.iter().skip(1).map(text).collect())),
                needs,
                writable,
            };
            let verdict = if asked.user.uid == 0 { Verdict::root() } else { asked.answer(&path) };
            let command = words.iter().map(text).collect();
            report(&asked, &target, command, &verdict, format)
        }
    }
}

/// What the policy knows of a target.
struct Named {
    names: Names,
    on_host_network: bool,
}

fn named(target: &str, config: &Config) -> Result<Named, Problem> {
    let inventory = Inventory::read(config)?;
    let called = |namespace: Option<&String>, pod: &str| PodName {
        namespace: namespace.cloned(),
        pod: Some(pod.to_owned()),
    };
    let named = |called, netns: &OwnedFd, process: Option<&Process>| {
        let own = NamespaceId::at(CWD, Path::new("/proc/self/ns/net")).ok();
        Ok(Named {
            names: Names { called, all: inventory.identities(netns, process)? },
            on_host_network: NamespaceId::of(netns).ok() == own,
        })
    };
    match (inventory.resolve(target), Selector::parse(target)?) {
        (Ok(Target::Pod(pod, record)), _) => {
            let name = called(pod.namespace.as_ref(), &pod.name);
            let process = record.and_then(|record| inventory.process(record));
            match inventory.open_netns(pod) {
                Ok(netns) => named(name, &netns, process.as_ref()),
                // It has ended: what it was called is all there is to ask for.
                Err(_) => Ok(Named {
                    names: Names { called: name, all: Vec::new() },
                    on_host_network: pod.on_host_network,
                }),
            }
        }
        (Ok(Target::Process(process)), _) => named(PodName::default(), &netns_of(&process)?, Some(&process)),
        (Ok(Target::Netns(_, netns)), _) => named(PodName::default(), &netns, None),
        (Err(_), Selector::Pod(namespace, pod) | Selector::Container(namespace, pod, _)) => Ok(Named {
            names: Names { called: called(Some(&namespace), &pod), all: Vec::new() },
            on_host_network: false,
        }),
        (Err(mut problem), _) => {
            if problem.exit == Exit::NoTarget {
                problem.remedy = Some("for a pod that does not exist yet: NAMESPACE/POD".to_owned());
            }
            Err(problem)
        }
    }
}

#[derive(Serialize)]
struct Answer<'a> {
    user: &'a str,
    uid: u32,
    groups: &'a BTreeSet<String>,
    target: &'a str,
    namespace: Option<&'a str>,
    pod: Option<&'a str>,
    also: &'a [String],
    profile: &'a str,
    command: Vec<String>,
    needs: &'a BTreeSet<Need>,
    writable: &'a [PathBuf],
    #[serde(flatten)]
    verdict: &'a Verdict,
    not_matched: &'a [Missed],
}

fn report(
    asked: &Asked,
    target: &str,
    command: Vec<String>,
    verdict: &Verdict,
    format: Format,
) -> Result<ExitCode, Problem> {
    let who = asked.who();
    let called = asked.target.as_ref().map(|names| &names.called);
    let namespace = called.and_then(|called| called.namespace.as_deref());
    let pod = called.and_then(|called| called.pod.as_deref());
    let also = asked.target.iter().flat_map(|names| names.all.iter().filter(|name| **name != names.called));
    let also: Vec<_> = also.map(ToString::to_string).collect();
    if format == Format::Json {
        output::print_json(&Answer {
            user: &who,
            uid: asked.user.uid,
            groups: &asked.user.groups,
            target,
            namespace,
            pod,
            also: &also,
            profile: &asked.profile,
            command,
            needs: &asked.needs,
            writable: &asked.writable,
            verdict,
            not_matched: &verdict.missed,
        })?;
    } else {
        let groups: Vec<_> = asked.user.groups.iter().map(String::as_str).collect();
        let mut text = format!("{verdict}\n");
        text += &format!(
            "  user     {who} (uid {}; groups {})\n",
            asked.user.uid,
            if groups.is_empty() { "-".to_owned() } else { groups.join(" ") }
        );
        text += &format!(
            "  target   {target} (namespace {}, pod {})\n",
            namespace.unwrap_or("-"),
            pod.unwrap_or("-")
        );
        for name in &also {
            text += &format!("  also     {name}\n");
        }
        text += &format!("  profile  {}\n  command  {}", asked.profile, command.join(" "));
        text += &verdict.program.as_ref().map(|p| format!(" ({})", p.display())).unwrap_or_default();
        text.push('\n');
        for Missed { rule, line, why } in &verdict.missed {
            text += &format!("  rule {rule} (line {line}) does not match: {why}\n");
        }
        output::print(&text)?;
    }
    Ok(if verdict.allowed { ExitCode::SUCCESS } else { Exit::Refused.into() })
}

fn show(path: &Path, format: Format) -> Result<ExitCode, Problem> {
    let remedy = "until it is mended nobody but root may do anything; docs: reference/policy.md";
    let policy = file::load(path).map_err(|what| Problem::new(Exit::Usage, what, remedy))?;
    let rules = policy.as_ref().map(super::Policy::show).unwrap_or_default();
    if format == Format::Json {
        output::print_json(&rules)?;
        return Ok(ExitCode::SUCCESS);
    }
    if policy.is_none() {
        output::print(&format!(
            "there is no {}: root and the groups sudo, wheel and admin may do everything, nobody else anything\n",
            path.display()
        ))?;
        return Ok(ExitCode::SUCCESS);
    }
    let list = |items: &[String]| if items.is_empty() { "any".to_owned() } else { items.join(",") };
    let rows: Vec<_> = rules
        .iter()
        .map(|rule| {
            let who = rule.users.iter().cloned().chain(rule.groups.iter().map(|group| format!("%{group}")));
            let commands: Vec<_> = rule.commands.iter().map(|c| format!("{c:?}")).collect();
            let writable: Vec<_> = rule.writable.iter().map(|path| path.display().to_string()).collect();
            vec![
                rule.rule.to_string(),
                rule.line.to_string(),
                format!("{:?}", rule.effect).to_lowercase(),
                list(&who.collect::<Vec<_>>()),
                list(&rule.namespaces),
                list(&rule.pods),
                list(&rule.profiles),
                if commands.is_empty() { "any".to_owned() } else { commands.join(",") },
                output::or_dash(Some(rule.allow.join(","))),
                output::or_dash(Some(writable.join(","))),
                output::or_dash(rule.reason.as_ref()),
            ]
        })
        .collect();
    let header = [
        "RULE",
        "LINE",
        "EFFECT",
        "WHO",
        "NAMESPACES",
        "PODS",
        "PROFILES",
        "COMMANDS",
        "ALLOW",
        "WRITABLE",
        "REASON",
    ];
    output::print(&output::table(&header, &rows))?;
    Ok(ExitCode::SUCCESS)
}
