//! A daemon's manual page (section 8): one page for the program and its commands, with the help's own words.

use std::io;

use clap::Command;
use clap_mangen::Man;

/// Renders the page as roff. The examples are those that follow the program's long help.
///
/// # Errors
/// What clap's own rendering fails with, which is nothing when it writes to memory.
pub fn page(command: Command) -> io::Result<String> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let examples = command
        .get_after_long_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    let man = Man::new(command.clone()).section("8");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    let mut page = utf8(page)?;
    page.push_str(".SH COMMANDS\n");
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        page.push_str(&subcommand(sub)?);
    }
    for part in examples.split("\n\n") {
        page.push_str(&extra(part));
    }
    Ok(page)
}

/// A command: what it does and takes, without the options that all have.
fn subcommand(command: &Command) -> io::Result<String> {
    let own = command.clone().mut_args(|argument| {
        let common = matches!(argument.get_id().as_str(), "config" | "help" | "version");
        argument.hide(common)
    });
    let takes = own.get_arguments().any(|argument| !argument.is_hide_set());
    let man = Man::new(own);
    let mut description = Vec::new();
    man.render_description_section(&mut description)?;
    let mut options = Vec::new();
    if takes {
        man.render_options_section(&mut options)?;
    }
    let body = utf8(description)? + &utf8(options)?;
    let kept = body
        .lines()
        .filter(|line| !line.starts_with(".SH") && !is_preamble(line));
    let body: String = kept.flat_map(|line| [line, "\n"]).collect();
    Ok(format!(".SS {}\n{body}", command.get_name()))
}

/// The definitions that every rendered part begins with.
fn is_preamble(line: &str) -> bool {
    line.starts_with(".ie") || line.starts_with(".el")
}

/// A paragraph of the help's end: one that begins with a heading becomes a section.
fn extra(part: &str) -> String {
    let (heading, text) = match part.split_once('\n') {
        Some((first, rest)) if first.ends_with(':') && !first.starts_with(' ') => (
            format!(".SH {}\n", first.trim_end_matches(':').to_uppercase()),
            rest,
        ),
        _ => (".sp\n".to_owned(), part),
    };
    let escape = |line: &str| {
        let line = line
            .strip_prefix("  ")
            .unwrap_or(line)
            .replace('\\', "\\e")
            .replace('-', "\\-");
        // A line that begins with a control character would be a request.
        if line.starts_with(['.', '\'']) {
            format!("\\&{line}\n")
        } else {
            format!("{line}\n")
        }
    };
    let lines: String = text.lines().map(escape).collect();
    format!("{heading}.nf\n{lines}.fi\n")
}

fn utf8(bytes: Vec<u8>) -> io::Result<String> {
    String::from_utf8(bytes).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered() -> String {
        let run = Command::new("run").about("Runs it").arg(
            clap::Arg::new("config")
                .long("config")
                .help("Where the file is"),
        );
        let secret = Command::new("man").hide(true);
        let examples = "Examples:\n  Run it:\n    it run -f x\n\n.dot begins a line";
        let command = Command::new("it")
            .about("Does it")
            .after_long_help(examples)
            .subcommands([run, secret]);
        page(command).unwrap()
    }

    #[test]
    fn a_page_has_the_commands_and_the_examples_and_nothing_hidden() {
        let page = rendered();
        assert!(page.contains(".TH it 8"), "{page}");
        assert!(page.contains(".SH COMMANDS\n.SS run\n"), "{page}");
        assert!(page.contains(".SH EXAMPLES\n.nf\nRun it:\n"), "{page}");
        assert!(!page.contains(".SS man"), "{page}");
    }

    #[test]
    fn no_line_of_text_is_taken_for_a_request() {
        let page = rendered();
        assert!(page.contains("\n\\&.dot begins a line\n"), "{page}");
    }
}
