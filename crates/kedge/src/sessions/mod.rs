//! `kedge sessions`: who is where at this moment, and an end to it.

mod kill;
mod watch;

use kedge_service::Failure;

use crate::app::{App, block_on};
use crate::cli::{GetArgs, SessionsArgs, SessionsCommand};
use crate::objects::get::{self, Form};

/// What the API calls them.
const PLURAL: &str = "sessions";

/// Runs the command.
///
/// # Errors
///
/// Whatever the hub refuses, and sessions that are not there.
pub fn run(app: &mut App<'_>, arguments: &SessionsArgs) -> Result<(), Failure> {
    if let Some(SessionsCommand::Kill(arguments)) = &arguments.command {
        return kill::run(app, arguments);
    }
    if arguments.watch {
        let form = Form {
            output: arguments.output,
            headings: !arguments.no_headers,
        };
        let hub = app.default_client()?;
        return block_on(watch::run(app, &hub, form));
    }
    let arguments = GetArgs {
        objects: vec![PLURAL.to_owned()],
        output: arguments.output,
        selector: None,
        watch: false,
        no_headers: arguments.no_headers,
    };
    get::run(app, &arguments)
}
