//! Records of containers' namespaces, and pins of their network namespaces.
//!
//! What `porthole-hook` and `porthole` share. Everything is in terms of descriptors that are opened once; nothing
//! here starts a process, opens a socket or reads the environment.

pub mod adopt;
pub mod attributes;
pub mod audit;
mod beneath;
pub mod bounded;
pub mod bounds;
pub mod config;
pub mod container_id;
pub mod deadline;
pub mod dissolve;
pub mod error;
pub mod hidden;
pub mod hook_entry;
pub mod host;
pub mod identity;
mod index;
pub mod json_edit;
mod lenient;
mod lock;
pub mod look;
pub mod namespace;
pub mod naming;
mod netns_dir;
pub mod observe;
pub mod oci;
mod pin;
pub mod process;
pub mod reconcile;
pub mod record;
pub mod registration;
mod release;
mod rename;
pub mod sandbox;
pub mod stage;
pub mod store;
pub mod stray;
pub mod text;
pub mod views;

pub use error::Error;
pub use lock::Lock;
pub use netns_dir::NetnsDir;
pub use pin::Found;
pub use release::Released;
