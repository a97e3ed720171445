//! What holds under every runtime, one sentence each.

mod lifecycle;
