//! Black-box tests over the built binaries with real `ssh`, `scp`, `sftp`, `rsync` and `sshd`.
//!
//! There is nothing here but `tests/e2e`, with one file for each promise. `cargo xtask test e2e` builds the binaries
//! and runs every test in a process of its own; `cargo xtask test e2e --only join` runs some.
