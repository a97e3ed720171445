//! What porthole's two programs on the path of a container's start share: their entry, their log line, and the way a
//! bundle's configuration is opened.

#![deny(unsafe_code)]

pub mod bundle;
pub mod log;
pub mod sys;
