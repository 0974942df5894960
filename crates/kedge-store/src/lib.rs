//! The store of resources: one trait, an embedded implementation.
