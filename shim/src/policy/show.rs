//! `porthole policy`: what the rules say, before somebody has to find out.

use super::{Accounts, Asked, Missed, Need, Verdict, beside, file, find_program};
use crate::exit::{Exit, ExitCode};
use crate::inventory::{Inventory, Pod};
use crate::output::{self, Cell, Format, Page};
use crate::problem::Problem;
use crate::target::{Selector, Target};
use porthole_registry::config::Config;
use porthole_registry::namespace::{NamespaceId, NamespaceKind};
use rustix::fs::CWD;
use serde::Serialize;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::Path;

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
        /// What else exec would be asked for: enter, cap-add, root, user, env, directory, context, host
        #[arg(long, value_name = "WHAT", value_delimiter = ',')]
        with: Vec<Need>,
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
        PolicyCommand::Check { user, target, profile, with, command } => {
            let named = named(&target, config)?;
            let accounts = Accounts::read();
            let user = accounts.named(&user).ok_or_else(|| {
                Problem::failed(format!("there is no user {user:?} in /etc/passwd; a uid will do"))
            })?;
            let words = if command.is_empty() { vec!["/bin/sh".into()] } else { command };
            let text = |word: &OsString| word.to_string_lossy().into_owned();
            let mut needs: BTreeSet<Need> = with.into_iter().collect();
            needs.extend(named.on_host_network.then_some(Need::Host));
            let program = if needs.contains(&Need::Enter) {
                super::Program::OfTarget(words.first().map(text).unwrap_or_default())
            } else {
                find_program(words.first().map_or(OsStr::new(""), |w| w), PATH.as_ref(), None)
            };
            let asked = Asked {
                user,
                namespace: named.namespace,
                pod: named.pod,
                profile,
                program,
                arguments: words.iter().skip(1).map(text).collect(),
                needs,
            };
            let verdict = if asked.user.uid == 0 { Verdict::root() } else { asked.answer(&path) };
            let command = words.iter().map(text).collect();
            report(&asked, &target, command, &verdict, format)
        }
    }
}

/// What the policy knows of a target.
struct Named {
    namespace: Option<String>,
    pod: Option<String>,
    on_host_network: bool,
}

fn named(target: &str, config: &Config) -> Result<Named, Problem> {
    let inventory = Inventory::read_for(target, config)?;
    let of_pod = |pod: &Pod| Named {
        namespace: pod.namespace.clone(),
        pod: Some(pod.name.clone()),
        on_host_network: pod.on_host_network,
    };
    match (inventory.resolve(target), Selector::parse(target)?) {
        (Ok(Target::Pod(pod, _)), _) => Ok(of_pod(pod)),
        (Ok(Target::Process(process)), _) => Ok(nameless(process.namespace(NamespaceKind::Net).ok())),
        (Ok(Target::Netns(path)), _) => Ok(nameless(NamespaceId::at(CWD, &path).ok())),
        (Err(_), Selector::Pod(namespace, pod) | Selector::Container(namespace, pod, _)) => {
            Ok(Named { namespace: Some(namespace), pod: Some(pod), on_host_network: false })
        }
        (Err(mut problem), _) => {
            if problem.exit == Exit::NoTarget {
                problem.remedy = Some("for a pod that does not exist yet: NAMESPACE/POD".to_owned());
            }
            Err(problem)
        }
    }
}

/// Something that no record tells of.
fn nameless(netns: Option<NamespaceId>) -> Named {
    let own = NamespaceId::at(CWD, Path::new("/proc/self/ns/net")).ok();
    Named { namespace: None, pod: None, on_host_network: netns.is_none() || netns == own }
}

#[derive(Serialize)]
struct Answer<'a> {
    user: &'a str,
    uid: u32,
    groups: &'a BTreeSet<String>,
    target: &'a str,
    namespace: Option<&'a str>,
    pod: Option<&'a str>,
    profile: &'a str,
    command: Vec<String>,
    needs: &'a BTreeSet<Need>,
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
    if format == Format::Json {
        output::print_json(&Answer {
            user: &who,
            uid: asked.user.uid,
            groups: &asked.user.groups,
            target,
            namespace: asked.namespace.as_deref(),
            pod: asked.pod.as_deref(),
            profile: &asked.profile,
            command,
            needs: &asked.needs,
            verdict,
            not_matched: &verdict.missed,
        })?;
    } else {
        let groups: Vec<_> = asked.user.groups.iter().map(String::as_str).collect();
        let groups = if groups.is_empty() { "-".to_owned() } else { groups.join(" ") };
        let namespace = asked.namespace.as_deref().unwrap_or("-");
        let pod = asked.pod.as_deref().unwrap_or("-");
        let program = verdict.program.as_ref().map(|p| format!(" ({})", p.display())).unwrap_or_default();
        let mut page = Page::default();
        page.line(format_args!("{verdict}"));
        page.line(format_args!("  user     {who} (uid {}; groups {groups})", asked.user.uid));
        page.line(format_args!("  target   {target} (namespace {namespace}, pod {pod})"));
        page.line(format_args!("  profile  {}", asked.profile));
        page.line(format_args!("  command  {}{program}", command.join(" ")));
        for Missed { rule, line, why } in &verdict.missed {
            page.line(format_args!("  rule {rule} (line {line}) does not match: {why}"));
        }
        page.print()?;
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
            let cells = [
                rule.rule.to_string(),
                rule.line.to_string(),
                format!("{:?}", rule.effect).to_lowercase(),
                list(&who.collect::<Vec<_>>()),
                list(&rule.namespaces),
                list(&rule.pods),
                list(&rule.profiles),
                if commands.is_empty() { "any".to_owned() } else { commands.join(",") },
                output::or_dash(Some(rule.allow.join(","))),
                output::or_dash(rule.reason.as_ref()),
            ];
            cells.map(Cell::phrase).to_vec()
        })
        .collect();
    let header =
        ["RULE", "LINE", "EFFECT", "WHO", "NAMESPACES", "PODS", "PROFILES", "COMMANDS", "ALLOW", "REASON"];
    output::print(&output::table(&header, &rows))?;
    Ok(ExitCode::SUCCESS)
}
