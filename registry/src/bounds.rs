//! What a command of `porthole exec` may use up, as the configuration and profiles say it.

use std::str::FromStr;
use toml::Value;

/// Whose cgroup a command is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cgroup {
    /// One of its own, with limits.
    #[default]
    Own,
    /// The target's.
    Target,
    /// The caller's, without any limit of ours.
    None,
}

impl FromStr for Cgroup {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "own" => Ok(Self::Own),
            "target" => Ok(Self::Target),
            "none" => Ok(Self::None),
            _ => Err("expected own, target or none".to_owned()),
        }
    }
}

/// The cgroup and its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Whose.
    pub cgroup: Cgroup,
    /// Processes and threads.
    pub pids: u64,
    /// Bytes.
    pub memory: u64,
    /// As in cgroups v2: 100 is what every other cgroup has.
    pub cpu_weight: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { cgroup: Cgroup::Own, pids: 512, memory: 1 << 30, cpu_weight: 50 }
    }
}

impl Bounds {
    /// Sets one key of the table `[exec]`.
    pub(crate) fn set(&mut self, key: &str, value: &Value) -> Result<(), String> {
        match key {
            "cgroup" => {
                let word = value.as_str().ok_or("expected own, target or none");
                self.cgroup = word.map_err(str::to_owned).and_then(str::parse)?;
            }
            "pids" => self.pids = pids(value)?,
            "memory" => self.memory = memory(value)?,
            "cpu_weight" => self.cpu_weight = cpu_weight(value)?,
            _ => return Err("unknown key".to_owned()),
        }
        Ok(())
    }
}

fn number(value: &Value) -> Option<u64> {
    value.as_integer().and_then(|number| u64::try_from(number).ok())
}

/// A number of processes and threads.
pub fn pids(value: &Value) -> Result<u64, String> {
    let pids = number(value).filter(|pids| (1..=4_194_304).contains(pids));
    pids.ok_or_else(|| "expected 1 to 4194304".to_owned())
}

/// A weight, as in cgroups v2.
pub fn cpu_weight(value: &Value) -> Result<u64, String> {
    let weight = number(value).filter(|weight| (1..=10_000).contains(weight));
    weight.ok_or_else(|| "expected 1 to 10000".to_owned())
}

/// Bytes, as a number or with a unit.
pub fn memory(value: &Value) -> Result<u64, String> {
    let bytes = number(value).or_else(|| value.as_str().and_then(size));
    // With less not even a small program starts.
    let bytes = bytes.filter(|bytes| (1 << 20..=1 << 50).contains(bytes));
    bytes.ok_or_else(|| "expected bytes, or text like \"512MiB\" or \"1GiB\", at least 1 MiB".to_owned())
}

/// `512MiB`, `512M`, `1GiB`, `4096`.
fn size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim_start() {
        "" | "B" => 0,
        "K" | "KiB" => 10,
        "M" | "MiB" => 20,
        "G" | "GiB" => 30,
        "T" | "TiB" => 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_binary_units_or_none() {
        assert_eq!(size("4096"), Some(4096));
        assert_eq!(size("512M"), Some(512 << 20));
        assert_eq!(size("1 GiB"), Some(1 << 30));
        for wrong in ["", "MiB", "-1M", "1MB", "1.5G", "99999999999T"] {
            assert_eq!(size(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_out_of_range_or_of_another_type_is_refused() {
        let integer = Value::Integer;
        assert_eq!(pids(&integer(1)), Ok(1));
        assert!(pids(&integer(0)).is_err() && pids(&integer(-1)).is_err() && pids(&"1".into()).is_err());
        assert_eq!(cpu_weight(&integer(10_000)), Ok(10_000));
        assert!(cpu_weight(&integer(0)).is_err() && cpu_weight(&integer(10_001)).is_err());
        assert_eq!(memory(&"1GiB".into()), Ok(1 << 30));
        assert_eq!(memory(&integer(1 << 20)), Ok(1 << 20));
        assert!(memory(&integer(4096)).is_err() && memory(&Value::Boolean(true)).is_err());
    }

    #[test]
    fn a_cgroup_is_one_of_three_words() {
        let mut bounds = Bounds::default();
        bounds.set("cgroup", &"none".into()).unwrap();
        assert_eq!(bounds.cgroup, Cgroup::None);
        assert!(bounds.set("cgroup", &"mine".into()).is_err());
        assert!(bounds.set("pid", &Value::Integer(1)).is_err());
    }
}
