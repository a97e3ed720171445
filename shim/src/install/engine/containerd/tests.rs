//! Configurations as sites write them: what is ours gets in, is what containerd would read, and goes without a trace.

use super::config::{Effective, RUNC_V2, Runtime, plugin};
use super::edit::{ConfigEdit, Wanted};
use super::text::Text;
use toml::Table;

const SPEC: &str = "/etc/porthole/containerd/base-spec.json";

fn table(version: i64, more: &[&str]) -> Vec<String> {
    let path = ["plugins", plugin(version), "containerd", "runtimes"];
    path.iter().chain(more).map(|key| (*key).to_owned()).collect()
}

fn spec(version: i64, runtime: &str) -> Wanted {
    Wanted {
        table: table(version, &[runtime]),
        key: "base_runtime_spec".to_owned(),
        value: SPEC.into(),
        needed: false,
    }
}

fn binary(version: i64, runtime: &str) -> Wanted {
    let value = format!("/etc/porthole/runtime/containerd-{runtime}");
    Wanted {
        table: table(version, &[runtime, "options"]),
        key: "BinaryName".to_owned(),
        value: value.into(),
        needed: false,
    }
}

fn kind(version: i64, runtime: &str) -> Wanted {
    Wanted {
        table: table(version, &[runtime]),
        key: "runtime_type".to_owned(),
        value: RUNC_V2.into(),
        needed: true,
    }
}

fn parse(text: &str) -> Table {
    toml::from_str(text).unwrap_or_else(|e| panic!("{e}:\n{text}"))
}

/// The tables of `text` with the wanted keys in them, by another parser.
fn expected(text: &str, wanted: &[Wanted]) -> Table {
    let mut all = parse(text);
    for wanted in wanted {
        let mut at = &mut all;
        for key in &wanted.table {
            let next = at.entry(key.clone()).or_insert_with(|| toml::Value::Table(Table::new()));
            at = next.as_table_mut().unwrap();
        }
        at.insert(wanted.key.clone(), toml::Value::try_from(wanted.value.clone()).unwrap());
    }
    all
}

/// Shapes of a file with runtime `runc`, and whether taking ours back gives the same bytes.
fn shapes() -> Vec<(i64, String)> {
    let mut shapes = Vec::new();
    for version in [2, 3] {
        let p = if version == 2 { "\"io.containerd.grpc.v1.cri\"" } else { "'io.containerd.cri.v1.runtime'" };
        for text in [
            // Nothing of runtimes.
            "version = V\n",
            "version = V\nroot = '/data'\n\n[grpc]\n  address = '/run/c.sock' # ours\n",
            "version = V\n[plugins.P]\n  sandbox_image = 'pause:3'\n",
            // As containerd's own documentation has it: nested and indented.
            "# head\nversion = V\n\n[plugins]\n  [plugins.P]\n    x = 1\n    [plugins.P.containerd]\n      default_runtime_name = 'runc' # default\n      [plugins.P.containerd.runtimes]\n        [plugins.P.containerd.runtimes.runc]\n          runtime_type = 'io.containerd.runc.v2' # shim\n          # options follow\n          [plugins.P.containerd.runtimes.runc.options]\n            SystemdCgroup = true # for systemd\n\n    [plugins.P.cni]\n      bin_dir = '/opt/cni/bin'\n# tail\n",
            // A header without keys; tables out of order; tabs.
            "version = V\n[plugins.P.containerd.runtimes.runc.options]\n\tSystemdCgroup = true\n[plugins.P.containerd.runtimes.runc]\n\n[metrics]\n\taddress = ''\n",
            // Only a table of it.
            "version = V\n[plugins.P.containerd.runtimes.runc.options]\n  SystemdCgroup = true\n",
            // Dotted keys, of all lengths.
            "version = V\nplugins.P.containerd.runtimes.runc.runtime_type = 'io.containerd.runc.v2'\nroot = '/x'\n",
            "version = V\n[plugins.P]\n  containerd.runtimes.runc.runtime_type = 'io.containerd.runc.v2' # x\n  containerd.runtimes.runc.options.SystemdCgroup = true\n  [plugins.P.cni]\n",
            "version = V\n[plugins.P.containerd]\nruntimes.runc.options.SystemdCgroup = true\n",
            "version = V\n[plugins.P.containerd.runtimes]\n  runc . options . SystemdCgroup = true\n  kata.runtime_type = 'io.containerd.kata.v2'\n",
            // Inline tables.
            "version = V\n[plugins.P.containerd.runtimes]\nrunc = { runtime_type = 'io.containerd.runc.v2', options = { SystemdCgroup = true } } # c\n",
            "version = V\n[plugins.P.containerd.runtimes]\nrunc = {}\n",
            "version = V\n[plugins.P.containerd.runtimes]\nrunc = { }\n",
            "version = V\n[plugins.P]\ncontainerd = { runtimes = { nvidia = { runtime_type = \"io.containerd.runc.v2\" } } }\n",
            "version = V\n[plugins.P.containerd.runtimes]\nrunc = { runtime_type = 'io.containerd.runc.v2', options.SystemdCgroup = true }\n",
            "version = V\nplugins = { P = { containerd = { runtimes = { runc = { options = { Root = 'a, \"{b' } } } } } }\n",
            // Others beside it.
            "version = V\n[plugins.P.containerd.runtimes.nvidia]\nruntime_type = 'io.containerd.runc.v2'\n[plugins.P.containerd.runtimes.nvidia.options]\nBinaryName = '/usr/bin/nvidia-container-runtime'\n[plugins.P.containerd.runtimes.runc]\nruntime_type = 'io.containerd.runc.v2'\npod_annotations = [\n  'a', # one\n  'b',\n]\n",
            // Values of ours are there already, as others.
            "version = V\n[plugins.P.containerd.runtimes.runc]\nbase_runtime_spec = ''   # none\n[plugins.P.containerd.runtimes.runc.options]\nBinaryName = 'crun' # fast\nSystemdCgroup = true\n",
        ] {
            shapes.push((version, text.replace('V', &version.to_string()).replace('P', p)));
        }
    }
    let windows: Vec<_> =
        shapes.iter().map(|(version, text)| (*version, text.replace('\n', "\r\n"))).collect();
    shapes.extend(windows);
    shapes
}

#[test]
fn every_way_to_write_tables_takes_our_keys_and_gives_them_back() {
    for (version, text) in shapes() {
        for wanted in [
            vec![spec(version, "runc")],
            vec![binary(version, "runc")],
            vec![spec(version, "runc"), spec(version, "nvidia")],
            vec![kind(version, "runc"), binary(version, "runc")],
        ] {
            // Only a table that we make gets its type from us.
            if wanted[0].needed && Text::parse(&text).unwrap().get(&wanted[0].table).is_some() {
                continue;
            }
            let (new, edit) = ConfigEdit::make(Some(&text), version, &wanted)
                .unwrap_or_else(|e| panic!("{}:\n{text}", e.0));
            assert_eq!(parse(&new), expected(&text, &wanted), "from:\n{text}\nto:\n{new}");
            assert!(edit.stands(&new, &wanted));
            // Nothing that was there is another.
            let lines: Vec<_> = new.lines().collect();
            let edited: Vec<_> = text.lines().filter(|line| !lines.contains(line)).collect();
            assert!(edited.len() <= wanted.len(), "{edited:?} of\n{text}\nto:\n{new}");
            assert_eq!(new.contains("\r\n"), text.contains("\r\n"));
            assert!(!text.contains("\r\n") || !new.replace("\r\n", "").contains('\n'), "{new:?}");
            let back = edit.take_back(&new).unwrap().unwrap();
            assert_eq!(back, text, "by way of:\n{new}");
        }
    }
}

#[test]
fn what_is_taken_back_is_only_ours_when_somebody_has_edited_the_file() {
    for (version, text) in shapes() {
        let wanted = [spec(version, "runc"), binary(version, "runc")];
        let (new, edit) = ConfigEdit::make(Some(&text), version, &wanted).unwrap();
        let newline = if text.contains("\r\n") { "\r\n" } else { "\n" };
        let theirs = format!(
            "# of theirs{newline}{new}{newline}[stream_processors.x]{newline}accepts = ['y']{newline}"
        );
        let back = edit.take_back(&theirs).unwrap().unwrap();
        let plain = format!(
            "# of theirs{newline}{text}{newline}[stream_processors.x]{newline}accepts = ['y']{newline}"
        );
        assert_eq!(parse(&back), parse(&plain), "{back}");
        for line in plain.lines() {
            assert!(back.lines().any(|other| other == line), "{line:?} is gone from\n{back}");
        }
    }
}

#[test]
fn a_value_that_somebody_has_set_since_is_theirs() {
    let text = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc]\n";
    let wanted = [spec(2, "runc")];
    let (new, edit) = ConfigEdit::make(Some(text), 2, &wanted).unwrap();
    let theirs = new.replace(SPEC, "/etc/theirs.json");
    assert!(!edit.stands(&theirs, &wanted));
    assert_eq!(edit.take_back(&theirs).unwrap().unwrap(), theirs);
}

#[test]
fn a_table_that_somebody_has_added_to_keeps_what_gives_it_meaning() {
    let wanted = [kind(2, "runc"), spec(2, "runc")];
    let (new, edit) = ConfigEdit::make(Some("version = 2\n"), 2, &wanted).unwrap();
    let theirs = format!("{new}privileged_without_host_devices = true\n");
    let back = parse(&edit.take_back(&theirs).unwrap().unwrap());
    let runc = &back["plugins"]["io.containerd.grpc.v1.cri"]["containerd"]["runtimes"]["runc"];
    assert_eq!(runc.as_table().unwrap().len(), 2, "{runc:?}");
    assert_eq!(runc["runtime_type"].as_str(), Some(RUNC_V2));
}

#[test]
fn a_file_that_we_made_goes_unless_somebody_has_written_into_it() {
    let wanted = [kind(2, "runc"), binary(2, "runc")];
    let (text, edit) = ConfigEdit::make(None, 2, &wanted).unwrap();
    assert_eq!(
        text,
        "# Written by `porthole install`, taken back by `porthole uninstall`.\nversion = 2\n\n\
         [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc]\nruntime_type = \"io.containerd.runc.v2\"\n\n\
         [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc.options]\n\
         BinaryName = \"/etc/porthole/runtime/containerd-runc\"\n"
    );
    assert_eq!(edit.take_back(&text).unwrap(), None);
    let theirs = format!("{text}\n[grpc]\naddress = '/x'\n");
    let back = edit.take_back(&theirs).unwrap().unwrap();
    assert_eq!(parse(&back), parse("version = 2\n[grpc]\naddress = '/x'\n"));
}

#[test]
fn an_error_says_line_and_column() {
    for (text, place) in [
        ("version = 2\nroot = \n", "line 2, column"),
        ("version = 2\n[plugins\n", "line 2, column"),
        ("a = 1\nb = 2\na = 3\n", "line 3, column 1"),
        ("é = 'x\n", "line 1, column"),
    ] {
        let error = Text::parse(text).unwrap_err().0;
        assert!(error.starts_with(place), "{text:?}: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn a_runtime_that_is_no_table_is_an_error_and_not_replaced() {
    let text = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".containerd]\nruntimes = 'none'\n";
    let error = ConfigEdit::make(Some(text), 2, &[spec(2, "runc")]).unwrap_err().0;
    assert!(error.contains("runtimes` is no table"), "{error}");
}

#[test]
fn what_containerd_says_is_read_in_every_version() {
    for (text, state, address) in [
        (
            "version = 2\nstate = '/s'\n[grpc]\naddress = '/a'\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc]\nruntime_type = 'io.containerd.runc.v2'\nbase_runtime_spec = ''\n",
            "/s",
            "/a",
        ),
        (
            "version = 3\n[grpc]\naddress = '/a'\n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]\nruntime_type = 'io.containerd.runc.v2'\n[plugins.'io.containerd.grpc.v1.cri']\nstream_server_port = '0'\n",
            "/run/containerd",
            "/a",
        ),
        (
            "version = 4\n[plugins.'io.containerd.server.v1.grpc']\naddress = '/b'\n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]\nruntime_type = 'io.containerd.runc.v2'\n",
            "/run/containerd",
            "/b",
        ),
    ] {
        let effective = Effective(parse(text));
        assert_eq!(effective.state().to_str(), Some(state));
        assert_eq!(effective.address().to_str(), Some(address));
        let runtimes = effective.runtimes();
        assert_eq!(runtimes.len(), 1, "{text}");
        assert_eq!(
            (runtimes[0].name.as_str(), runtimes[0].kind.as_str(), &runtimes[0].base_spec),
            ("runc", RUNC_V2, &None)
        );
        assert!(!effective.cri_is_disabled());
    }
    let disabled = |text: &str| Effective(parse(text)).cri_is_disabled();
    assert!(disabled("disabled_plugins = ['cri']"));
    assert!(disabled("disabled_plugins = ['io.containerd.grpc.v1.cri']"));
    assert!(!disabled("disabled_plugins = ['io.containerd.internal.v1.opt']"));
}

#[test]
fn runtimes_and_the_default_one_are_found_in_both_versions_of_the_configuration() {
    for version in [2, 3] {
        let plugin = plugin(version);
        let effective = Effective(parse(&format!(
            "[plugins.'{plugin}'.containerd]\ndefault_runtime_name = 'crun'\n\
             [plugins.'{plugin}'.containerd.runtimes.runc]\nbase_runtime_spec = '/b.json'\n\
             [plugins.'{plugin}'.containerd.runtimes.crun]\nbase_runtime_spec = ''\noptions.BinaryName = '/g'\n"
        )));
        let named = |name: &str| Runtime {
            name: name.into(),
            place: vec!["runtimes".into(), name.into()],
            kind: String::new(),
            base_spec: None,
            binary: None,
        };
        let crun = Runtime { binary: Some("/g".into()), ..named("crun") };
        let runc = Runtime { base_spec: Some("/b.json".into()), ..named("runc") };
        assert_eq!(effective.runtimes(), [crun, runc]);
        assert_eq!(effective.default_runtime(), "crun");
    }
    let empty = Effective(Table::new());
    assert_eq!((empty.runtimes(), empty.default_runtime()), (Vec::new(), "runc"));
}
