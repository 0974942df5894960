//! What the demo's logins go through: a small OpenID provider, and a browser without a window.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use kedge_testkit::browser::Browser;
use kedge_testkit::issuer::{Issuer, IssuerOptions, IssuerPerson};
use serde_json::{Map, Value, json};

/// A small OpenID provider for the demo, and a browser without a window. Neither is for production.
#[derive(Debug, Parser)]
enum Commands {
    /// Open a page, follow redirects, and log in wherever a form asks for it.
    Browse {
        /// The name to log in with.
        #[arg(long = "as", value_name = "NAME")]
        user: String,
        /// The page.
        url: String,
    },
    /// Serve on a loopback port until a signal ends it. Says where, as one line of JSON on stderr.
    Serve {
        /// Somebody who can log in, as JSON: {"name": "alice", "claims": {"groups": ["dev"]}}. May be given often.
        #[arg(long = "person", value_name = "JSON")]
        people: Vec<String>,
        /// The port; 0 takes a free one.
        #[arg(long, default_value_t = 0)]
        port: u16,
    },
}

fn main() -> ExitCode {
    match run(Commands::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(commands: Commands) -> Result<()> {
    match commands {
        Commands::Browse { user, url } => Browser::new(&user).open(&url)?.success().map(drop),
        Commands::Serve { people, port } => {
            let people = people.iter().map(|text| person(text));
            let mut options = IssuerOptions {
                port,
                ..IssuerOptions::default()
            };
            let people = people.collect::<Result<Vec<_>>>()?;
            if !people.is_empty() {
                options.people = people;
            }
            let issuer = Issuer::start(options)?;
            say(&json!({ "message": "issuer listening", "url": issuer.url() }).to_string());
            loop {
                std::thread::park();
            }
        }
    }
}

fn person(text: &str) -> Result<IssuerPerson> {
    let value: Value = serde_json::from_str(text).context("a person is a JSON object")?;
    let name = value
        .get("name")
        .and_then(Value::as_str)
        .context("a person has a name")?;
    let none = Map::new();
    let claims = value.get("claims").and_then(Value::as_object);
    let claims = claims.unwrap_or(&none).iter();
    Ok(
        claims.fold(IssuerPerson::new(name), |person, (name, value)| {
            person.claim(name, value.clone())
        }),
    )
}

#[expect(clippy::print_stderr, reason = "whoever started it reads this")]
fn say(text: &str) {
    eprintln!("{text}");
}
