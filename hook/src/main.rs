//! OCI hook.
fn main() {}
