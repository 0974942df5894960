//! Developer commands: `cargo xtask demo`, `test`, `bench`, `deb`, `generate`, `bless`, `image`, `tools`.

use std::process::ExitCode;

fn main() -> ExitCode {
    xtask::main()
}
