//! Developer commands: `cargo xtask demo`, `test`, `bench`, `generate`, `bless`, `image`, `tools`.

use std::process::ExitCode;

fn main() -> ExitCode {
    xtask::main()
}
