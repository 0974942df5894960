//! `kedge policy test`: policies against a table of expectations, without a hub.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use kedge_api::expectations::{Checked, Report, Table};
use kedge_api::rest::Verdict;
use kedge_api::text::Printable;
use kedge_api::{AccessPolicy, ObjectName};
use kedge_service::Failure;
use serde_json::Value;

use crate::app::App;
use crate::cli::{PolicyCommand, PolicyTestArgs};
use crate::exit::Exit;
use crate::explain;
use crate::failure::{failure, usage};
use crate::objects::{manifest, print};

/// Runs the command.
///
/// # Errors
///
/// A table or policies that cannot be read, and expectations that are not met.
pub fn run(app: &mut App<'_>, command: &PolicyCommand) -> Result<(), Failure> {
    match command {
        PolicyCommand::Test(arguments) => test(app, arguments),
    }
}

fn test(app: &mut App<'_>, arguments: &PolicyTestArgs) -> Result<(), Failure> {
    let (source, text) = manifest::text(app, &arguments.file)?;
    let table = parse(&source, &text)?;
    let policies = policies(app, &arguments.file, &source, &table)?;
    let report = table.check(&policies, app.now().into());
    match arguments.output {
        Some(format) => {
            let value = serde_json::to_value(&report).unwrap_or_default();
            app.print(&print::data(format, &value)?)?;
        }
        None => {
            app.print(&page(&report))?;
            for name in &report.untested {
                app.note(&format!("note: nothing here tests the policy {name}"));
            }
        }
    }
    let failed = report.checked.iter().filter(|checked| !checked.passed);
    match failed.count() {
        0 => Ok(()),
        count => {
            let all = report.checked.len();
            let text = format!("{source}: {count} of {all} expectations are not met");
            Err(failure(Exit::Failure, text))
        }
    }
}

fn parse(source: &str, text: &str) -> Result<Table, Failure> {
    let value: Value = serde_norway::from_str(text)
        .map_err(|error| usage(format!("{source}: not YAML or JSON: {error}")))?;
    Table::parse(value.to_string().as_bytes())
        .map_err(|status| usage(format!("{source}: {}", Printable::new(&status.message))))
}

/// All policies of the table: those in it, and those of its files, which are beside it.
fn policies(
    app: &mut App<'_>,
    file: &Path,
    source: &str,
    table: &Table,
) -> Result<Vec<AccessPolicy>, Failure> {
    let mut policies = table
        .inline()
        .map_err(|status| usage(format!("{source}: {}", Printable::new(&status.message))))?;
    for path in table.files() {
        policies.extend(manifest::policies(app, &beside(file, path))?);
    }
    let mut names = BTreeSet::new();
    for policy in &policies {
        let name: &ObjectName = &policy.metadata.name;
        if !names.insert(name) {
            return Err(usage(format!("{source}: the policy {name} is there twice")));
        }
    }
    Ok(policies)
}

fn beside(table: &Path, path: &str) -> PathBuf {
    table.parent().unwrap_or(Path::new("")).join(path)
}

/// What people see: a line for each expectation, and for those that are not met why it came out otherwise.
fn page(report: &Report) -> String {
    let mut text = String::new();
    for checked in &report.checked {
        let mark = if checked.passed { "ok  " } else { "FAIL" };
        text.push_str(&format!(
            "{mark} {}: {}\n",
            checked.question,
            found(checked)
        ));
        if checked.passed {
            continue;
        }
        let wanted = match &checked.expected_policy {
            Some(policy) => format!("{} by {policy}", checked.expected),
            None => checked.expected.to_string(),
        };
        text.push_str(&format!("     expected: {wanted}\n"));
        for line in explain::trace(&checked.trace).lines() {
            text.push_str(&format!("     {line}\n"));
        }
    }
    text
}

fn found(checked: &Checked) -> String {
    match (&checked.found, &checked.policy, &checked.login_error) {
        (Verdict::Allowed, Some(policy), _) => format!("allowed by {policy}"),
        (Verdict::Denied, Some(policy), _) => format!("denied by {policy}"),
        (Verdict::NoLogin, _, Some(why)) => format!("no login: {}", Printable::new(why)),
        (Verdict::NoPolicy, _, _) => "no policy allows it".to_owned(),
        (other, _, _) => other.to_string(),
    }
}
