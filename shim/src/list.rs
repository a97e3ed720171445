//! `porthole list`: the pods and containers of this node.

use crate::exit::ExitCode;
use crate::inventory::{Inventory, Pod, SandboxSummary};
use crate::output::{Cell, Format, few, json, or_dash, print, print_exactly, print_json, table};
use crate::problem::Problem;
use crate::share;
use porthole_registry::config::Config;
use porthole_registry::identity::{Engine, Kind};
use porthole_registry::namespace::NamespaceKind;
use porthole_registry::naming::sanitize;
use porthole_registry::record::Record;
use serde::Serialize;
use std::io::IsTerminal;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

/// So many addresses of a pod are shown: who may change its network may add any number of them.
const ADDRESSES: usize = 4;

/// What to list.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct ListArgs {
    /// Only pods whose pin, name or namespace contains this
    filter: Option<String>,
    /// Only pods of this namespace
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// Only containers of this engine: containerd, cri-o, podman, docker, nerdctl, unknown
    #[arg(short, long)]
    engine: Option<String>,
    /// A column for the inode of every namespace; those that are the host's are marked with *
    #[arg(long)]
    all_namespaces_types: bool,
    /// Again every so many seconds, until interrupted
    #[arg(short, long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2",
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    watch: Option<u64>,
}

/// One line of the list, with names that stay as they are.
#[derive(Serialize)]
pub(crate) struct Row<'a> {
    pod: &'a str,
    namespace: Option<&'a str>,
    container: Option<String>,
    pin: Option<&'a str>,
    /// Whether the pin is called by the pod's name alone.
    plain_pin: bool,
    netns: Option<u64>,
    host_network: bool,
    ips: &'a [IpAddr],
    running: bool,
    /// When the container was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<String>,
    /// The sandbox of a pod without a container.
    #[serde(skip_serializing_if = "Option::is_none")]
    sandbox: Option<SandboxSummary<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<&'a Record>,
}

/// Runs the command.
pub(crate) fn run(args: &ListArgs, config: &Config, format: Format) -> Result<ExitCode, Problem> {
    loop {
        let inventory = Inventory::read_quickly(config)?;
        for error in &inventory.bad {
            crate::output::to_stderr(&format!("porthole: {error}; {}", error.remedy().unwrap_or_default()));
        }
        let text = render(args, &inventory, format)?;
        if args.watch.is_some() && std::io::stdout().is_terminal() {
            print_exactly("\x1b[H\x1b[2J")?;
        }
        print_exactly(&text)?;
        match args.watch {
            Some(seconds) => std::thread::sleep(Duration::from_secs(seconds)),
            None => return Ok(ExitCode::SUCCESS),
        }
    }
}

fn render(args: &ListArgs, inventory: &Inventory, format: Format) -> Result<String, Problem> {
    let pods = inventory.pods.iter().filter(|pod| args.selects(pod));
    let chosen: Vec<_> = pods.map(|pod| Chosen::of(pod, format, args)).collect();
    let looks = look(inventory, &chosen);
    let rows = rows(&chosen, &looks);
    if format == Format::Json {
        return json(&rows);
    }
    Ok(as_table(&rows, format, args.all_namespaces_types))
}

/// These pods and containers, for other commands that show them the same way.
pub(crate) fn show(
    inventory: &Inventory,
    found: &[(&Pod, Option<&Record>)],
    format: Format,
) -> Result<(), Problem> {
    let choose = |&(pod, record): &(_, Option<_>)| match record {
        Some(record) => Chosen { pod, containers: vec![record] },
        None => Chosen::of(pod, format, &ListArgs::default()),
    };
    let chosen: Vec<_> = found.iter().map(choose).collect();
    let looks = look(inventory, &chosen);
    let rows = rows(&chosen, &looks);
    if format == Format::Json { print_json(&rows) } else { print(&as_table(&rows, format, false)) }
}

impl ListArgs {
    fn selects(&self, pod: &Pod) -> bool {
        let contains = |text: Option<&str>| {
            self.filter.as_ref().is_none_or(|filter| text.is_some_and(|text| text.contains(filter.as_str())))
        };
        let texts =
            [Some(pod.name.as_str()), pod.namespace.as_deref(), pod.pin.as_ref().map(|pin| pin.as_str())];
        texts.into_iter().any(contains)
            && self.namespace.as_ref().is_none_or(|wanted| pod.namespace.as_ref() == Some(wanted))
            && (self.engine.is_none()
                || pod.sandbox.as_ref().is_some_and(|idle| self.selects_engine(idle.sandbox.engine))
                || pod.containers.iter().any(|record| self.selects_engine(record.engine)))
    }

    fn selects_engine(&self, engine: Engine) -> bool {
        self.engine.as_ref().is_none_or(|wanted| wanted == engine.as_str())
    }
}

/// A pod, and those of its containers that have a row; a pod without containers has one itself.
struct Chosen<'a> {
    pod: &'a Pod,
    containers: Vec<&'a Record>,
}

impl<'a> Chosen<'a> {
    /// The sandbox has a row of its own only where it is all there is, or where everything is asked for.
    fn of(pod: &'a Pod, format: Format, args: &ListArgs) -> Self {
        let alone = pod.containers.iter().all(|record| record.kind == Kind::Sandbox);
        let containers = pod.containers.iter().filter(|record| {
            (alone || record.kind == Kind::Container || format != Format::Table)
                && args.selects_engine(record.engine)
        });
        Self { pod, containers: containers.collect() }
    }
}

/// What only the kernel knows of a pod.
struct Look {
    ips: Vec<IpAddr>,
    /// Whether each chosen container runs, and when it was started.
    lives: Vec<(bool, String)>,
}

/// Asks the kernel, for all pods at once.
fn look(inventory: &Inventory, chosen: &[Chosen<'_>]) -> Vec<Look> {
    let pods: Vec<_> = chosen.iter().map(|chosen| chosen.pod).collect();
    let boot = &inventory.boot_id;
    let life = |record: &&Record| (record.is_running(boot), record.started(boot));
    let lives = share::map(chosen, |chosen| chosen.containers.iter().map(life).collect());
    let looks = inventory.addresses(&pods).into_iter().zip(lives);
    looks.map(|(ips, lives)| Look { ips, lives }).collect()
}

fn rows<'a>(chosen: &[Chosen<'a>], looks: &'a [Look]) -> Vec<Row<'a>> {
    let of_one = |(chosen, look): (&Chosen<'a>, &'a Look)| {
        if chosen.pod.containers.is_empty() {
            return vec![row(chosen.pod, &look.ips, None)];
        }
        let containers = chosen.containers.iter().zip(&look.lives);
        containers.map(|(record, life)| row(chosen.pod, &look.ips, Some((*record, life)))).collect()
    };
    chosen.iter().zip(looks).flat_map(of_one).collect()
}

fn row<'a>(pod: &'a Pod, ips: &'a [IpAddr], container: Option<(&'a Record, &(bool, String))>) -> Row<'a> {
    let record = container.map(|(record, _)| record);
    Row {
        pod: &pod.name,
        namespace: pod.namespace.as_deref(),
        container: record.map(Pod::container_label),
        pin: pod.pin.as_ref().map(|pin| pin.as_str()),
        plain_pin: pod.pin.as_ref().is_some_and(|pin| *pin == sanitize(&pod.name)),
        netns: pod.netns.map(|id| id.ino),
        host_network: pod.on_host_network,
        ips,
        running: container.is_some_and(|(_, life)| life.0),
        started: container.map(|(_, life)| life.1.clone()),
        sandbox: pod.sandbox_summary(),
        record,
    }
}

fn as_table(rows: &[Row<'_>], format: Format, every_kind: bool) -> String {
    let mut header = vec!["POD", "NAMESPACE", "CONTAINER", "ENGINE", "PID", "NETNS", "IPS", "AGE"];
    let wide = format == Format::Wide;
    if wide {
        header.extend(["PIN", "ID", "KIND", "IMAGE", "CGROUP"]);
    }
    if every_kind {
        header.extend(["MNT", "PID-NS", "IPC", "UTS", "USER", "CGROUP-NS", "TIME"]);
    }
    let cells = rows.iter().map(|row| {
        let record = row.record;
        let netns =
            if row.host_network { Some("host".to_owned()) } else { row.netns.map(|ino| ino.to_string()) };
        let sandbox = row.sandbox.as_ref();
        let pid = record.map(|record| if row.running { record.pid.to_string() } else { "ended".to_owned() });
        let pid = pid.or_else(|| sandbox.map(|sandbox| sandbox.state().to_owned()));
        let engine = record.map(|record| record.engine.as_str()).or(sandbox.map(|sandbox| sandbox.engine));
        let container = row.container.as_deref().or(sandbox.map(|_| "(sandbox)"));
        let mut cells: Vec<Cell> = vec![
            row.pod.into(),
            or_dash(row.namespace).into(),
            or_dash(container).into(),
            or_dash(engine).into(),
            or_dash(pid).into(),
            or_dash(netns).into(),
            Cell::phrase(or_dash(Some(few(row.ips, ADDRESSES, ",")))),
            or_dash(row.started.as_deref().and_then(age)).into(),
        ];
        if wide {
            cells.extend([
                Cell::from(or_dash(row.pin)),
                Cell::from(or_dash(record.map(|r| r.id.short()).or(sandbox.map(SandboxSummary::short)))),
                Cell::from(or_dash(record.map(|r| kind(r.kind)).or(sandbox.map(|_| kind(Kind::Sandbox))))),
                Cell::from(or_dash(record.and_then(|record| record.image.as_ref()))),
                Cell::from(or_dash(record.and_then(|record| record.cgroup.as_ref()))),
            ]);
        }
        if every_kind {
            cells.extend(NamespaceKind::ALL.iter().skip(1).map(|kind| {
                let ns = record.and_then(|record| record.namespaces.get(kind));
                or_dash(ns.map(|ns| format!("{}{}", ns.id.ino, if ns.host { "*" } else { "" }))).into()
            }));
        }
        cells
    });
    table(&header, &cells.collect::<Vec<_>>())
}

const fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Sandbox => "sandbox",
        Kind::Container => "container",
    }
}

/// The age of something that started at this time.
pub(crate) fn age(since: &str) -> Option<String> {
    let since = humantime::parse_rfc3339(since).ok()?;
    // A clock that was set back makes it negative: nothing to show then.
    Some(short(SystemTime::now().duration_since(since).ok()?))
}

/// A duration in its two largest units at most, as kubectl shows ages.
pub(crate) fn short(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => format!("{minutes}m{}s", seconds % 60),
        600..7200 => format!("{minutes}m"),
        7200..86_400 => format!("{hours}h{}m", minutes % 60),
        86_400..864_000 => format!("{days}d{}h", hours % 24),
        _ => format!("{days}d"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_two_units_at_most() {
        for (seconds, text) in [
            (0, "0s"),
            (119, "119s"),
            (150, "2m30s"),
            (3600, "60m"),
            (9000, "2h30m"),
            (90_000, "1d1h"),
            (8_640_000, "100d"),
        ] {
            assert_eq!(short(Duration::from_secs(seconds)), text);
        }
    }
}
