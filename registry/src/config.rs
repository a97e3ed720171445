//! `/etc/porthole/config.toml`: every key has a default, and a wrong one costs only itself.

use crate::adopt::{Engines, StateKind};
use crate::audit::Audit;
use crate::bounded;
use crate::bounds::Bounds;
use crate::hidden::Hidden;
use crate::hook_entry::TIMEOUT;
use crate::naming::Template;
use crate::text::clean;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::{Table, Value};

/// Where the configuration is unless it is named.
pub const DEFAULT_PATH: &str = "/etc/porthole/config.toml";
/// The shortest and the longest deadline. The longest leaves a hook time to end before the runtime kills it, even where a busy
/// machine starts it late.
const DEADLINES: RangeInclusive<Duration> =
    Duration::from_millis(10)..=TIMEOUT.saturating_sub(Duration::from_secs(2));
/// More than this is no configuration.
const MAX_BYTES: u64 = 1 << 20;

/// What to do when the hook fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// Log it and let the container start.
    Ignore,
    /// Log it and fail, and with it the container.
    Fail,
}

/// The configuration of the hook and of `porthole`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The registry: records, index of pins, lock. On a tmpfs, so that a reboot clears it.
    pub run_dir: PathBuf,
    /// The pins; iproute2 looks at `/run/netns` alone.
    pub netns_dir: PathBuf,
    /// How long a hook may take.
    pub deadline: Duration,
    /// What a failure of the hook does.
    pub on_error: OnError,
    /// How pins are named.
    pub pin_name: Template,
    /// Where engines keep their state, for adoption.
    pub engines: Engines,
    /// What `exec` writes to the system log.
    pub audit: Audit,
    /// What a command of `porthole exec` may use up.
    pub exec: Bounds,
    /// What of the host commands do not see.
    pub hidden: Hidden,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            run_dir: "/run/porthole".into(),
            netns_dir: "/run/netns".into(),
            deadline: Duration::from_secs(1),
            on_error: OnError::Ignore,
            pin_name: Template::default(),
            engines: Engines::default(),
            audit: Audit::default(),
            exec: Bounds::default(),
            hidden: Hidden::default(),
        }
    }
}

/// Something in the file that has no effect, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    file: String,
    what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file, self.what)
    }
}

impl Config {
    /// Reads the file at `path`, or at [`DEFAULT_PATH`] where none is named and one exists.
    ///
    /// A key that is unknown or has a wrong value keeps its default and is reported as a problem: the
    /// hook logs those, `porthole` refuses them.
    pub fn load(path: Option<&Path>) -> (Self, Vec<Problem>) {
        let file = path.unwrap_or(Path::new(DEFAULT_PATH));
        let problem = |what: String| Problem { file: file.display().to_string(), what };
        let text = match read(file) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && path.is_none() => {
                return (Self::default(), Vec::new());
            }
            Err(e) => return (Self::default(), vec![problem(e.to_string())]),
        };
        let (config, problems) = Self::parse(&text);
        (config, problems.into_iter().map(problem).collect())
    }

    /// Reads a configuration from its text; see [`Config::load`].
    pub fn parse(text: &str) -> (Self, Vec<String>) {
        let mut config = Self::default();
        let mut problems: Vec<String> = Vec::new();
        match text.parse::<Table>() {
            Ok(table) => {
                for (key, value) in &table {
                    problems.extend(config.set(key, value).err());
                }
            }
            Err(e) => problems.push(e.to_string().replace('\n', " ")),
        }
        // What is wrong is quoted, and goes to the log.
        let problems = problems.iter().filter_map(|problem| clean(problem)).collect();
        (config, problems)
    }

    fn set(&mut self, key: &str, value: &Value) -> Result<(), String> {
        match key {
            "run_dir" => self.run_dir = directory(key, value)?,
            "netns_dir" => self.netns_dir = directory(key, value)?,
            "deadline_ms" => {
                let ms = value.as_integer().and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis);
                self.deadline = ms.filter(|ms| DEADLINES.contains(ms)).ok_or_else(|| {
                    format!(
                        "deadline_ms: expected {} to {} milliseconds: runtimes kill the hook after {} s, and fail the \
                         container",
                        DEADLINES.start().as_millis(),
                        DEADLINES.end().as_millis(),
                        TIMEOUT.as_secs()
                    )
                })?;
            }
            "on_error" => {
                self.on_error = match value.as_str() {
                    Some("ignore") => OnError::Ignore,
                    Some("fail") => OnError::Fail,
                    _ => return Err("on_error: expected \"ignore\" or \"fail\"".into()),
                }
            }
            "pin" => {
                for (key, value) in value.as_table().ok_or("pin: expected a table")? {
                    match (key.as_str(), value.as_str()) {
                        ("name", Some(text)) => {
                            self.pin_name = Template::parse(text).map_err(|e| format!("pin.name: {e}"))?;
                        }
                        ("name", None) => return Err("pin.name: expected a string".into()),
                        _ => return Err(format!("pin.{key}: unknown key")),
                    }
                }
            }
            "exec" => {
                for (key, value) in value.as_table().ok_or("exec: expected a table")? {
                    let set = self.hidden.set(key, value).unwrap_or_else(|| self.exec.set(key, value));
                    set.map_err(|e| format!("exec.{key}: {e}"))?;
                }
            }
            "engines" => {
                let table = value.as_table().ok_or("engines: expected a table")?;
                let wrong: Vec<_> =
                    table.iter().filter_map(|(key, value)| self.set_engine(key, value).err()).collect();
                if !wrong.is_empty() {
                    return Err(wrong.join("; "));
                }
            }
            "audit" => {
                for (key, value) in value.as_table().ok_or("audit: expected a table")? {
                    self.audit.set(key, value).map_err(|e| format!("audit.{key}: {e}"))?;
                }
            }
            _ => return Err(format!("{key}: unknown key")),
        }
        Ok(())
    }

    fn set_engine(&mut self, key: &str, value: &Value) -> Result<(), String> {
        let kind: StateKind = key.parse().map_err(|e| format!("engines: {e}"))?;
        let key = format!("engines.{key}");
        let list = value.as_array().ok_or_else(|| format!("{key}: expected a list of directories"))?;
        let directories: Result<_, _> = list.iter().map(|value| directory(&key, value)).collect();
        self.engines.set(kind, directories?);
        Ok(())
    }
}

fn directory(key: &str, value: &Value) -> Result<PathBuf, String> {
    let path = value.as_str().map(PathBuf::from).filter(|path| path.is_absolute());
    path.ok_or_else(|| format!("{key}: expected an absolute path"))
}

fn read(path: &Path) -> std::io::Result<String> {
    bounded::text(path, MAX_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Format;
    use crate::bounds::Cgroup;

    #[test]
    fn an_empty_file_gives_the_defaults() {
        assert_eq!(Config::parse(""), (Config::default(), vec![]));
    }

    #[test]
    fn every_key_is_read() {
        let text = "run_dir = '/r'\nnetns_dir = '/n'\ndeadline_ms = 250\non_error = 'fail'\n[pin]\nname = '{namespace}.{pod}'\n[audit]\nrequired = true\nformat = 'rfc5424'\n[exec]\ncgroup = 'target'\npids = 9\nmemory = '64MiB'\ncpu_weight = 7";
        let (config, problems) = Config::parse(text);
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!((config.run_dir, config.netns_dir), ("/r".into(), "/n".into()));
        assert_eq!((config.deadline, config.on_error), (Duration::from_millis(250), OnError::Fail));
        assert_eq!(config.pin_name, Template::parse("{namespace}.{pod}").unwrap());
        assert_eq!(config.audit, Audit { required: true, format: Format::Rfc5424 });
        let wanted = Bounds { cgroup: Cgroup::Target, pids: 9, memory: 64 << 20, cpu_weight: 7 };
        assert_eq!(config.exec, wanted);
    }

    #[test]
    fn a_deadline_is_refused_that_a_runtime_would_not_wait_for() {
        for ms in [10, 1000, 8000] {
            let (config, problems) = Config::parse(&format!("deadline_ms = {ms}"));
            assert_eq!((config.deadline, problems.len()), (Duration::from_millis(ms), 0));
        }
        for ms in ["9", "8001", "60000", "-1", "1.5", "'1s'"] {
            let (config, problems) = Config::parse(&format!("deadline_ms = {ms}"));
            assert_eq!(config.deadline, Config::default().deadline, "{ms}");
            assert!(problems[0].contains("10 to 8000") && problems[0].contains("after 10 s"), "{problems:?}");
        }
    }

    #[test]
    fn directories_of_engines_replace_the_usual_ones_of_that_engine() {
        let (config, problems) = Config::parse("[engines]\ncontainerd = ['/a', '/b']\ncrun = []");
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(config.engines.of(StateKind::Containerd), [PathBuf::from("/a"), "/b".into()]);
        assert_eq!(config.engines.of(StateKind::Crun), Vec::<PathBuf>::new());
        assert_eq!(config.engines.of(StateKind::Runc), Engines::default().of(StateKind::Runc));
        let wrong = "[engines]\nruncc = ['/a']\nrunc = 'x'\ncrun = ['relative']\ncontainerd = ['/a']";
        let (config, problems) = Config::parse(wrong);
        assert_eq!(config.engines.of(StateKind::Containerd), [PathBuf::from("/a")]);
        assert_eq!(config.engines.of(StateKind::Crun), Engines::default().of(StateKind::Crun));
        for part in ["runcc", "containers-storage", "engines.runc: ", "engines.crun: "] {
            assert!(problems[0].contains(part), "{part}: {problems:?}");
        }
    }

    #[test]
    fn a_wrong_value_costs_only_its_own_key() {
        let (config, problems) =
            Config::parse("run_dir = 'relative'\ndeadline_ms = 250\nspeed = 9\n[pin]\nname = '{nope}'");
        assert_eq!(config.run_dir, Config::default().run_dir);
        assert_eq!(config.deadline, Duration::from_millis(250));
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(problems.iter().any(|p| p == "speed: unknown key"));
    }

    #[test]
    fn what_is_not_toml_gives_the_defaults_and_one_problem_on_one_line() {
        let (config, problems) = Config::parse("= = =\n");
        assert_eq!(config, Config::default());
        assert!(problems.len() == 1 && !problems[0].contains('\n'), "{problems:?}");
    }

    #[test]
    fn a_file_that_is_too_long_is_a_problem_and_has_no_effect() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        let comment = format!("#{}\n", "x".repeat(1022));
        // A key that is lost at the end keeps something from a command.
        let text = format!("deadline_ms = 250\n{}[audit]\nrequired = true\n", comment.repeat(1024));
        std::fs::write(&path, text).unwrap();
        let (config, problems) = Config::load(Some(&path));
        assert_eq!(config, Config::default());
        assert!(problems.len() == 1 && problems[0].to_string().contains("larger than"), "{problems:?}");
    }

    #[test]
    fn a_named_file_has_to_exist_and_the_default_one_need_not() {
        assert_eq!(Config::load(Some(Path::new("/nonexistent/porthole.toml"))).1.len(), 1);
    }
}
