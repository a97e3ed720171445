//! Docker: the wrapper as its default runtime.
