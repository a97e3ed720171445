//! A container as podman and Docker tell of it: their command lines are alike in this.

use serde_json::Value;

use crate::pod::Netns;
use crate::tools::Outcome;

/// A container that podman, or Docker, has started.
#[derive(Clone, Debug)]
pub struct Started {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// Pid of its process.
    pub pid: u32,
    /// Its address; empty when it has none of its own.
    pub ip: String,
}

impl Started {
    /// Its network namespace, as its process has it.
    #[must_use]
    pub fn netns(&self) -> Netns {
        Netns::of(self.pid).expect("the container lives")
    }

    /// A container as it is now, by what the engine says to `container inspect`.
    #[track_caller]
    pub(super) fn inspect(container: &str, call: impl FnOnce(&[&str]) -> Outcome) -> Self {
        let outcome = call(&["container", "inspect", container]);
        let list: Value = serde_json::from_str(outcome.expect_success()).expect("a list in JSON");
        let inspected = &list[0];
        let networks = inspected["NetworkSettings"]["Networks"].as_object();
        let own = inspected["NetworkSettings"]["IPAddress"].as_str().filter(|ip| !ip.is_empty());
        let mut ips = networks.into_iter().flatten().filter_map(|(_, network)| network["IPAddress"].as_str());
        Self {
            name: inspected["Name"].as_str().unwrap_or_default().trim_start_matches('/').to_owned(),
            id: inspected["Id"].as_str().expect("an id").to_owned(),
            pid: inspected["State"]["Pid"]
                .as_u64()
                .and_then(|pid| u32::try_from(pid).ok())
                .unwrap_or_default(),
            ip: own.or_else(|| ips.find(|ip| !ip.is_empty())).unwrap_or_default().to_owned(),
        }
    }
}
