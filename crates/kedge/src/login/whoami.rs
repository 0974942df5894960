//! `kedge whoami`: who the hub takes somebody for, and as whom it would log them in where.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use futures_util::{StreamExt, stream};
use kedge_api::policy::PolicyReason;
use kedge_api::resources::{Effect, Permission};
use kedge_api::rest::{Explanation, ExplanationRequest, Verdict, WhoAmI};
use kedge_api::text::Printable;
use kedge_api::{HubName, ServerName, Time};
use kedge_service::Failure;
use kedge_service::report::chain;
use serde_json::{Value, json};

use crate::app::{App, block_on};
use crate::cli::{DataFormat, WhoamiArgs};
use crate::credentials::Stored;
use crate::defaults;
use crate::failure::IntoFailure;
use crate::hub::{Hub, HubError};
use crate::objects::print;
use crate::objects::table::table;
use crate::words;

/// Runs the command.
///
/// # Errors
///
/// When the hub does not say, and when it knows nothing of a server that was asked about; what it did say is
/// printed then.
pub fn run(app: &mut App<'_>, arguments: &WhoamiArgs) -> Result<(), Failure> {
    let client = app.default_client()?;
    let (person, mut servers) = block_on(async {
        let person = client.who_am_i().await.map_err(IntoFailure::into_failure)?;
        let servers = logins(&client, &person, &arguments.server).await;
        Ok((person, servers))
    })?;
    let text = match arguments.output {
        Some(format) => {
            let value = data(&person, &servers);
            match format {
                DataFormat::Json => print::json(&value),
                DataFormat::Yaml => print::yaml(&value)?,
            }
        }
        None => {
            let renewal = renewal(app, client.name());
            page(client.name(), &person, &servers, renewal, app.now().into())
        }
    };
    app.print(&text)?;
    match servers.failed.take() {
        Some(error) => Err(error.into_failure()),
        None => Ok(()),
    }
}

/// The logins at servers.
struct Servers {
    /// Each, or why there is none.
    logins: Vec<(ServerName, Result<String, String>)>,
    /// How many more there are.
    more: usize,
    /// Why it is not known which there are.
    unknown: Option<String>,
    /// The first server that was asked about by its name, and of which the hub says nothing.
    failed: Option<HubError>,
}

/// Whether the login is renewed by itself.
#[derive(Clone, Copy)]
enum Renewal {
    /// It is.
    ByItself,
    /// It ends when it ends, or nobody knows.
    None,
}

/// Asks for the logins at these servers, or at the first of those that there are.
async fn logins(client: &Hub, person: &WhoAmI, asked: &[ServerName]) -> Servers {
    let (names, more) = match asked {
        [] => match reachable(client).await {
            Ok(mut names) => {
                let more = names.len().saturating_sub(defaults::WHOAMI_SERVERS);
                names.truncate(defaults::WHOAMI_SERVERS);
                (names, more)
            }
            Err(error) => {
                return Servers {
                    logins: Vec::new(),
                    more: 0,
                    unknown: Some(chain(&error)),
                    failed: None,
                };
            }
        },
        asked => (asked.to_vec(), 0),
    };
    let said: Vec<_> = stream::iter(names)
        .map(async |name| {
            let said = login(client, person, &name).await;
            (name, said)
        })
        .buffered(defaults::WHOAMI_REQUESTS)
        .collect()
        .await;
    let mut failed = None;
    let mut logins = Vec::with_capacity(said.len());
    for (name, said) in said {
        let login = said.unwrap_or_else(|error| {
            let why = chain(&error);
            // One of a list may have gone meanwhile.
            if !asked.is_empty() {
                failed.get_or_insert(error);
            }
            Err(why)
        });
        logins.push((name, login));
    }
    Servers {
        logins,
        more,
        unknown: None,
        failed,
    }
}

/// The login at a server, or why there is none.
///
/// Asked as the question that it is: whoever asks for the way to a server and is told no has been refused something,
/// which the hub keeps for those who look after it.
async fn login(
    client: &Hub,
    person: &WhoAmI,
    server: &ServerName,
) -> Result<Result<String, String>, HubError> {
    let question = ExplanationRequest {
        user: Some(person.user.clone()),
        subject: Some(person.subject.clone()),
        issuer: Some(person.issuer.clone()),
        groups: None,
        claims: BTreeMap::new(),
        server: server.clone(),
        login: None,
        permission: Permission::Ssh,
        at: None,
        source: None,
        authenticated_at: None,
    };
    let said: Explanation = client.ask("explanations", &question).await?;
    Ok(match &said.login {
        Some(login) if said.allowed => Ok(login.to_string()),
        _ => Err(why_not(server, &said)),
    })
}

/// Why somebody may not reach a server, as the hub would have refused it.
fn why_not(server: &ServerName, said: &Explanation) -> String {
    let place = match &said.login {
        Some(login) => format!("{server} as {login}"),
        None => server.to_string(),
    };
    match (&said.outcome, &said.login_error) {
        (Verdict::NoLogin, Some(why)) => why.clone(),
        (Verdict::Denied, _) => format!("you may not reach {place}: a policy denies it"),
        _ => {
            let allowing = said
                .trace
                .iter()
                .filter(|policy| policy.effect == Effect::Allow);
            let mut reasons = allowing.map(|policy| policy.reason);
            let circumstance = reasons.find(|reason| {
                matches!(
                    reason,
                    PolicyReason::AuthenticationAge
                        | PolicyReason::NotYet
                        | PolicyReason::RequiredClaim { .. }
                        | PolicyReason::Sessions
                        | PolicyReason::Source
                        | PolicyReason::TimeWindow
                )
            });
            match circumstance {
                Some(reason) => format!("no policy allows you to reach {place}: {reason}"),
                None => format!("no policy allows you to reach {place}"),
            }
        }
    }
}

async fn reachable(client: &Hub) -> Result<Vec<ServerName>, HubError> {
    let list = client.fetch("servers").await?;
    let items = list.get("items").and_then(Value::as_array);
    let names = items.into_iter().flatten().filter_map(|item| {
        let name = item.pointer("/metadata/name")?.as_str()?;
        name.parse().ok()
    });
    Ok(names.collect())
}

fn renewal(app: &App<'_>, hub: &HubName) -> Renewal {
    match app.state(hub).store().load() {
        Ok(Some(Stored::Oidc(login))) if login.refresh_token.is_some() => Renewal::ByItself,
        Ok(Some(Stored::File(_) | Stored::Command(_))) => Renewal::ByItself,
        _ => Renewal::None,
    }
}

fn data(person: &WhoAmI, servers: &Servers) -> Value {
    let mut value = serde_json::to_value(person).unwrap_or_default();
    let logins: Vec<_> = servers
        .logins
        .iter()
        .map(|(name, login)| match login {
            Ok(login) => json!({ "name": name, "login": login }),
            Err(why) => json!({ "name": name, "error": why }),
        })
        .collect();
    if let Some(fields) = value.as_object_mut() {
        fields.insert("servers".to_owned(), Value::Array(logins));
        if servers.more > 0 {
            fields.insert("serversNotAsked".to_owned(), json!(servers.more));
        }
        if let Some(why) = &servers.unknown {
            fields.insert("serversError".to_owned(), json!(why));
        }
    }
    value
}

/// What people see.
fn page(hub: &HubName, person: &WhoAmI, servers: &Servers, renewal: Renewal, now: Time) -> String {
    let mut text = String::new();
    let mut line = |key: &str, value: &str| {
        let value = if value.is_empty() { "<none>" } else { value };
        let _ = writeln!(text, "{:<15}{}", format!("{key}:"), Printable::new(value));
    };
    line("Hub", hub.as_str());
    line("User", person.user.as_str());
    line("Subject", person.subject.as_str());
    line("Issuer", person.issuer.as_str());
    line("Method", &person.method.to_string());
    let groups: Vec<_> = person.groups.iter().map(|group| group.as_str()).collect();
    line("Groups", &groups.join(", "));
    match (&person.login, &person.login_error) {
        (Some(login), _) => line("Login", login.as_str()),
        (None, Some(why)) => line("Login", &format!("<none>: {why}")),
        (None, None) => line("Login", ""),
    }
    line("Rights", &rights(person).join("; "));
    if let Some(at) = person.authenticated_at {
        line("Authenticated", &format!("{} ({at})", words::ago(at, now)));
    }
    if let Some(end) = person.expires_at {
        let by_itself = match renewal {
            Renewal::ByItself => ", renewed by itself",
            Renewal::None => "",
        };
        let when = words::until(end, now);
        line("Expires", &format!("{when} ({end}){by_itself}"));
    }
    if let Some(why) = &servers.unknown {
        line("Servers", &format!("<unknown>: {why}"));
    }
    if !servers.logins.is_empty() {
        let rows: Vec<_> = servers
            .logins
            .iter()
            .map(|(name, login)| {
                let login = match login {
                    Ok(login) => Printable::new(login).to_string(),
                    Err(why) => format!("<none>: {}", Printable::new(why)),
                };
                vec![name.to_string(), login]
            })
            .collect();
        text.push('\n');
        text.push_str(&table(Some(&["SERVER", "LOGIN"]), &rows));
    }
    if servers.more > 0 {
        let _ = writeln!(
            text,
            "and {} more: kedge whoami --server NAME",
            servers.more
        );
    }
    text
}

/// What the person may do at the hub itself, in policies' own words.
fn rights(person: &WhoAmI) -> Vec<String> {
    let rights = &person.hub_rights;
    let mut words: Vec<String> = person.permissions.clone();
    for role in &rights.roles {
        let role = role.to_string();
        if !words.contains(&role) {
            words.push(role);
        }
    }
    words.extend(rights.rules.iter().map(rule));
    words.extend(rights.denied_roles.iter().map(|role| format!("not {role}")));
    let denied = rights.denied_rules.iter();
    words.extend(denied.map(|denied| format!("not {}", rule(denied))));
    words
}

/// `get, list of servers (web01)`
fn rule(rule: &impl serde::Serialize) -> String {
    let value = serde_json::to_value(rule).unwrap_or_default();
    let list = |key: &str| {
        let items = value.get(key).and_then(Value::as_array);
        let words = items.into_iter().flatten().filter_map(Value::as_str);
        words.collect::<Vec<_>>().join(", ")
    };
    let names = match list("resourceNames") {
        names if names.is_empty() => String::new(),
        names => format!(" ({names})"),
    };
    format!("{} of {}{names}", list("verbs"), list("resources"))
}
