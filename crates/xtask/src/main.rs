//! Developer commands: `cargo xtask demo`, `test`, `generate`, `bless`.

use std::process::ExitCode;

fn main() -> ExitCode {
    xtask::main()
}
