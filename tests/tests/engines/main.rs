//! The engines of the harness: each comes up on a node, runs pods, and leaves nothing.

#![allow(clippy::unwrap_used, reason = "what fails here is the test")]

mod containerd;
mod docker;
mod podman;
mod system;

/// Makes a test of each listed `fn(&Node, &str)` for each version of an engine.
#[macro_export]
macro_rules! on_each_version {
    ($need:ident: $($module:ident $version:literal),+: $names:tt) => {
        $($crate::on_each_version!(@ $need $module $version $names);)+
    };
    (@ $need:ident $module:ident $version:literal [$($name:ident),+ $(,)?]) => {
        mod $module {
            $(#[test]
            fn $name() {
                porthole_tests::requires!(root, ip, $need);
                porthole_tests::node::run(porthole_tests::test_path!(), |node| super::$name(node, $version));
            })+
        }
    };
}
