//! Records of container namespaces and pins of their network namespaces.

pub mod container_id;
pub mod identity;
pub mod naming;
pub mod oci;
pub mod text;
