//! Entry point.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use kedge::app::Terminal;
use kedge::environment::Environment;

fn main() -> ExitCode {
    let environment = Environment::from_process();
    let terminal = Terminal {
        out: &mut io::stdout(),
        err: &mut io::stderr(),
        // Not locked for long: `kedge proxy` reads it by other means.
        input: &mut io::BufReader::new(io::stdin()),
        interactive: io::stdin().is_terminal(),
    };
    kedge::run(std::env::args_os().collect(), &environment, terminal)
}
