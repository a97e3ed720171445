//! The scene: the pod is made, looked at, hurt and deleted.

use crate::exit::ExitCode;
use porthole_registry::bounded;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::leftovers::{self, Counts};
use super::pod::{NAME, PORT, QUALIFIED, Role};
use super::screen::{Screen, find_program};
use super::supervise::Uninterrupted;
use super::{Error, Places, Pod, network, preflight, rootfs, runtime};

/// How long the server may take to listen.
const PATIENCE: Duration = Duration::from_secs(5);

/// Plays it. What is left when a step fails is the supervisor's to take away.
pub(super) fn play(places: &Places, hook: &Path, keep: bool) -> Result<ExitCode, Error> {
    let started = Instant::now();
    let mut screen = Screen::new(places)?;
    let before = Counts::take(places)?;
    let mut pod = Pod::plan(hook, network::free_addresses()?, leftovers::root_controllers())?;
    screen.say(&format!(
        "A pod `{NAME}`: a sandbox, an app (an HTTP server) and a sidecar, by the OCI runtime inside porthole, with {} as its hook",
        hook.display()
    ))?;
    pod.save(places)?;
    uninterrupted(|| make(places, &pod))?;
    screen.line(&format!("made in {} ms", started.elapsed().as_millis()))?;
    let pin = pin_of(places, &pod)?;

    look(&mut screen, places, &pod, &pin)?;
    if keep {
        pod.kept = true;
        pod.save(places)?;
        screen.say("The pod stays. To end it: porthole demo --end")?;
        return commands(&screen);
    }

    screen.say("The app is killed and its container deleted, as in a crash loop: the pin stays, and so does the way in")?;
    uninterrupted(|| runtime::delete(places, pod.member(Role::App)))?;
    netns_list(&mut screen, places)?;
    screen.porthole(&["list"])?;
    if find_program("ip").is_some() {
        screen.porthole(&["exec", target_of(&pin), "--", "ip", "-br", "addr"])?;
    }

    screen.say("The pod is deleted: nothing is left")?;
    let mut failures = Vec::new();
    uninterrupted(|| {
        leftovers::end_pod(places, &pod, &mut failures);
        Ok(())
    })?;
    if !failures.is_empty() {
        return Err(Error::Leftovers(failures));
    }
    netns_list(&mut screen, places)?;
    screen.porthole(&["list"])?;
    compare(&screen, places, &pod, &before)?;
    screen.line(&format!("\nThe demo took {:.1} s.", started.elapsed().as_secs_f32()))?;
    commands(&screen)
}

fn commands(screen: &Screen) -> Result<ExitCode, Error> {
    match screen.failed() {
        0 => Ok(ExitCode::SUCCESS),
        count => Err(Error::Commands { count }),
    }
}

/// As an engine does it: the sandbox is created, connected and started, then the others join it.
fn make(places: &Places, pod: &Pod) -> Result<(), Error> {
    let program = preflight::program()?;
    rootfs::make_dir(&runtime::state_dir(places), 0o700)?;
    let mut sandbox_pid = None;
    for member in &pod.members {
        let config = pod.config(member, &program, places, sandbox_pid);
        let bundle = rootfs::make_bundle(&places.demo_dir().join(member.role.name()), &config)?;
        let mut container = runtime::create(places, member, &bundle)?;
        if member.role == Role::Sandbox {
            sandbox_pid = container.pid().map(|pid| pid.as_raw());
            network::connect(pod, sandbox_pid.unwrap_or_default())?;
        }
        runtime::start(&mut container, member)?;
    }
    await_server(sandbox_pid.unwrap_or_default())
}

fn uninterrupted<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    let _whole = Uninterrupted::begin()?;
    work()
}

/// Until something listens on the server's port in the pod, seen from the host.
fn await_server(pid: i32) -> Result<(), Error> {
    let path = PathBuf::from(format!("/proc/{pid}/net/tcp"));
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        if is_listening(&bounded::text(&path, bounded::LISTS).map_err(Error::file("read", &path))?, PORT) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Err(Error::NotListening { seconds: PATIENCE.as_secs() })
}

/// Reads `/proc/net/tcp`, where 0A is LISTEN.
fn is_listening(sockets: &str, port: u16) -> bool {
    let suffix = format!(":{port:04X}");
    sockets.lines().skip(1).any(|line| {
        let mut fields = line.split_whitespace();
        fields.nth(1).is_some_and(|local| local.ends_with(&suffix)) && fields.nth(1) == Some("0A")
    })
}

/// The name that the product chose, which is not the pod's where somebody else has that one.
fn pin_of(places: &Places, pod: &Pod) -> Result<String, Error> {
    let path = places.records().join(format!("{}.json", pod.member(Role::Sandbox).id));
    let text = bounded::file(&path, bounded::FACTS).map_err(|e| Error::NotPinned {
        detail: format!("the hook left no record: {}: {e}", path.display()),
    })?;
    let record: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    match record["pin"]["name"].as_str() {
        Some(name) => Ok(name.to_owned()),
        None => Err(Error::NotPinned { detail: format!("{} names none", path.display()) }),
    }
}

/// The shortest words that mean this pod to porthole.
fn target_of(pin: &str) -> &'static str {
    if pin == NAME { NAME } else { QUALIFIED }
}

fn look(screen: &mut Screen, places: &Places, pod: &Pod, pin: &str) -> Result<(), Error> {
    if pin != NAME {
        screen.line(&format!("`{NAME}` belongs to another network namespace, so this pod is `{pin}`"))?;
    }
    let target = target_of(pin);
    screen.say("Its network namespace is there by name, for every tool that knows `ip netns`")?;
    netns_list(screen, places)?;
    match find_program("ip") {
        Some(ip) => screen.host(&ip, &["netns", "exec", pin, "ip", "-br", "addr"])?,
        None => screen.line("(there is no `ip` here; `porthole inspect` below shows the addresses)")?,
    }

    screen.say("porthole knows whose it is")?;
    screen.porthole(&["list"])?;

    screen.say(&format!(
        "A program of the host, in the pod's network, confined: the containers hold no file but porthole ({} from outside)",
        pod.address
    ))?;
    let client = client();
    let mut args = vec!["exec", target, "--"];
    args.extend(client.iter().map(String::as_str));
    screen.porthole(&args)?;

    screen.say("Everything about it")?;
    screen.porthole(&["inspect", target])
}

/// Something of the host that fetches a page; porthole itself where there is nothing.
fn client() -> Vec<String> {
    let url = format!("http://127.0.0.1:{PORT}/");
    let python = format!("import urllib.request as r; print(r.urlopen(\"{url}\").read().decode(), end=\"\")");
    let bash = format!(
        "exec 3<>/dev/tcp/127.0.0.1/{PORT}; printf \"GET / HTTP/1.0\\r\\n\\r\\n\" >&3; while read -r line; do last=$line; done <&3; echo \"$last\""
    );
    let candidates: [&[&str]; 6] = [
        &["curl", "-s", &url],
        &["wget", "-qO-", &url],
        &["busybox", "wget", "-qO-", &url],
        &["python3", "-c", &python],
        &["bash", "-c", &bash],
        &["porthole", "__demo-get"],
    ];
    let found = candidates.into_iter().find(|words| find_program(words[0]).is_some());
    match found {
        Some(words) => words.iter().map(|&word| word.to_owned()).collect(),
        None => {
            let program = preflight::program().unwrap_or_else(|_| PathBuf::from("porthole"));
            vec![program.display().to_string(), "__demo-get".to_owned()]
        }
    }
}

fn netns_list(screen: &mut Screen, places: &Places) -> Result<(), Error> {
    match find_program("ip") {
        // iproute2 knows one directory only.
        Some(ip) if is_same_dir(&places.netns_dir, Path::new("/var/run/netns")) => {
            screen.host(&ip, &["netns", "list"])
        }
        _ => {
            screen.line(&format!(
                "(`ip netns list` is not to be had here; the names in {}:)",
                places.netns_dir.display()
            ))?;
            let mut names: Vec<_> = fs::read_dir(&places.netns_dir)
                .into_iter()
                .flatten()
                .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
                .collect();
            names.sort();
            names.iter().try_for_each(|name| screen.line(name))
        }
    }
}

fn is_same_dir(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| File::open(path).and_then(|f| f.metadata()).map(|m| (m.dev(), m.ino()));
    matches!((identity(one), identity(other)), (Ok(a), Ok(b)) if a == b)
}

fn compare(screen: &Screen, places: &Places, pod: &Pod, before: &Counts) -> Result<(), Error> {
    let after = Counts::take(places)?;
    screen.line(&format!("\n{:<32}{:>8}{:>8}", "", "before", "after"))?;
    for ((what, before), (_, after)) in before.rows().into_iter().zip(after.rows()) {
        screen.line(&format!("{what:<32}{before:>8}{after:>8}"))?;
    }
    let traces = leftovers::traces(places, pod)?;
    if !traces.is_empty() {
        return Err(Error::Leftovers(
            traces.into_iter().map(|trace| format!("{trace} is still there")).collect(),
        ));
    }
    if before.rows() != after.rows() {
        screen.line("(the difference is not the demo's: nothing that bears its ids is left)")?;
    }
    let kept: Vec<_> = after.kept.difference(&before.kept).map(|point| point.display().to_string()).collect();
    if !kept.is_empty() {
        screen.line(&format!("(porthole keeps what it mounted for later: {})", kept.join(", ")))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOCKETS: &str = "  sl  local_address rem_address   st tx_queue rx_queue\n   0: 00000000:1F90 00000000:0000 0A 00000000:00000000\n   1: 0100007F:0016 0100007F:1F91 01 0:0\n";

    #[test]
    fn only_a_listening_socket_counts() {
        assert!(is_listening(SOCKETS, 8080));
        assert!(!is_listening(SOCKETS, 22));
        assert!(!is_listening(SOCKETS, 8081));
        assert!(!is_listening("", 8080));
    }

    #[test]
    fn there_is_always_a_client() {
        let words = client();
        assert!(words.len() >= 2);
        assert!(words.iter().any(|w| w.contains("8080") || w == "__demo-get"));
    }
}
