//! Records of container namespaces and pins of their network namespaces.
