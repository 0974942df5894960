//! Objects at the hub: shown, described, applied, deleted, as `kubectl` does it.

pub mod apply;
pub mod columns;
pub mod delete;
pub mod describe;
pub mod get;
pub mod kinds;
pub mod manifest;
pub mod print;
pub mod table;
