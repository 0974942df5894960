//! `cargo xtask bench`: the tunnel against what people would use instead, in one run on one machine.

use measure::Bench;

mod measure;
mod row;
mod stage;

/// Every bench there is, in the order of the report.
fn all() -> Vec<Box<dyn Bench>> {
    Vec::new()
}
