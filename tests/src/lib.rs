//! Harness of porthole's integration tests: every test body runs on a *node* of its own, a process tree with
//! private pid, mount and network namespaces, its own `/run`, `/dev` and system log, and real runtimes in it.
//!
//! A body says what must hold; the node ends the test with a look for anything left behind.

pub mod bundle;
pub mod cgroups;
pub mod child;
pub mod container;
pub mod engine;
pub mod fake;
pub mod hung;
pub mod leaks;
pub mod log;
pub mod machine;
pub mod need;
pub mod node;
pub mod pod;
pub mod process;
pub mod runtime;
pub mod strace;
pub mod tools;

pub use bundle::Bundle;
pub use container::Container;
pub use node::Node;
pub use pod::{Netns, Sandbox};
pub use runtime::Runtime;
pub use tools::{HookRun, Outcome};

/// The path of the running test, as libtest knows it (`module::name`).
#[macro_export]
macro_rules! test_path {
    () => {{
        fn here() {}
        $crate::node::path_of(std::any::type_name_of_val(&here))
    }};
}

/// Ends the test with an error that says what to install, unless every listed need is there.
///
/// A person may name a need in `PORTHOLE_WAIVE`; the test then returns early, and says so loudly.
#[macro_export]
macro_rules! requires {
    ($($need:ident),+ $(,)?) => {
        if !$crate::need::all(&[$(stringify!($need)),+]) {
            return;
        }
    };
}

/// Makes one test of each listed `fn(&Node)`: `on_a_node!(requires(root, ip): first, second)`.
#[macro_export]
macro_rules! on_a_node {
    (requires $needs:tt: $($name:ident),+ $(,)?) => {
        mod node {
            $(#[test]
            fn $name() {
                $crate::requires! $needs;
                $crate::node::run($crate::test_path!(), super::$name);
            })+
        }
    };
}

/// Makes three tests of each listed `fn(&Node, Runtime)`, one for each runtime.
#[macro_export]
macro_rules! on_every_runtime {
    ($($name:ident),+ $(,)?) => {
        mod runc {
            $(#[test]
            fn $name() {
                $crate::requires!(root, ip, runc);
                $crate::node::run($crate::test_path!(), |node| super::$name(node, $crate::Runtime::Runc));
            })+
        }
        mod crun {
            $(#[test]
            fn $name() {
                $crate::requires!(root, ip, crun);
                $crate::node::run($crate::test_path!(), |node| super::$name(node, $crate::Runtime::Crun));
            })+
        }
        mod libcontainer {
            $(#[test]
            fn $name() {
                $crate::requires!(root, ip);
                $crate::node::run($crate::test_path!(), |node| super::$name(node, $crate::Runtime::Libcontainer));
            })+
        }
    };
}

/// Makes a test of each listed `fn(&Node, &str)` for each version of an engine:
/// `on_each_version!(podman: podman_4_3 "4.3", podman_5_4 "5.4": [first, second])`.
#[macro_export]
macro_rules! on_each_version {
    ($need:ident: $($module:ident $version:literal),+: $names:tt) => {
        $($crate::on_each_version!(@ $need $module $version $names);)+
    };
    (@ $need:ident $module:ident $version:literal [$($name:ident),+ $(,)?]) => {
        mod $module {
            $(#[test]
            fn $name() {
                $crate::requires!(root, ip, $need);
                $crate::node::run($crate::test_path!(), |node| super::$name(node, $version));
            })+
        }
    };
}
