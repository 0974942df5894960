//! Entry point.

fn main() -> std::process::ExitCode {
    kedge_hub::cli::main()
}
