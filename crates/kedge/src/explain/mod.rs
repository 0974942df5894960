//! `kedge explain`: why somebody may reach a server, or may not; and what other policies would have said to what was.

mod replay;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use kedge_api::login::LoginOrigin;
use kedge_api::policy::PolicyTrace;
use kedge_api::rest::{AssumedFact, Explanation, ExplanationRequest, FactOrigin, Verdict};
use kedge_api::text::Printable;
use kedge_api::{ClaimName, Group, Login, ServerName, Subject, Time};
use kedge_service::Failure;
use serde_json::Value;

use crate::app::{App, block_on};
use crate::cli::ExplainArgs;
use crate::exit::Exit;
use crate::failure::{IntoFailure, failure, usage};
use crate::names;
use crate::objects::print;
use crate::objects::table::table;
use crate::words;

/// Runs the command.
///
/// # Errors
///
/// Values that make no sense, and whatever the hub refuses.
pub fn run(app: &mut App<'_>, arguments: &ExplainArgs) -> Result<(), Failure> {
    if arguments.since.is_none() && !(arguments.with.is_empty() && arguments.without.is_empty()) {
        let text = "--with and --without go with --since";
        return Err(usage(text).hint("kedge explain --help"));
    }
    match (
        &arguments.since,
        &arguments.user,
        &arguments.permission,
        &arguments.target,
    ) {
        (Some(since), ..) => replay::run(app, arguments, since),
        (None, Some(user), Some(permission), Some(target)) => {
            one(app, arguments, user, permission, target)
        }
        _ => Err(usage("say who, what and where").hint("kedge explain --help")),
    }
}

fn one(
    app: &mut App<'_>,
    arguments: &ExplainArgs,
    user: &Subject,
    permission: &str,
    target: &str,
) -> Result<(), Failure> {
    let (login, host) = match target.rsplit_once('@') {
        Some((login, host)) => (Some(login), host),
        None => (None, target),
    };
    let login = match login {
        Some(login) => names::login(login.as_ref()).map_err(IntoFailure::into_failure)?,
        None => None,
    };
    let place = app.place(host)?;
    let request = ExplanationRequest {
        user: Some(user.clone()),
        subject: None,
        issuer: arguments.issuer.clone(),
        groups: arguments.groups.as_deref().map(groups).transpose()?,
        claims: claims(&arguments.claim)?,
        server: place.server.clone(),
        login,
        permission: permission.to_owned().into(),
        at: arguments.at,
        source: arguments.source,
        authenticated_at: arguments.authenticated_at,
    };
    let client = app.client(place.hub_name, place.hub)?;
    let explanation: Explanation = block_on(async {
        let asked = client.ask("explanations", &request).await;
        asked.map_err(IntoFailure::into_failure)
    })?;
    let text = match arguments.output {
        Some(format) => {
            let value = serde_json::to_value(&explanation).unwrap_or_default();
            print::data(format, &value)?
        }
        None => page(user, &request.server, &explanation, app.now().into()),
    };
    app.print(&text)?;
    if explanation.allowed {
        Ok(())
    } else {
        Err(not_allowed())
    }
}

/// The failure that the answer itself has said, for scripts to see.
pub(crate) fn not_allowed() -> Failure {
    failure(Exit::Denied, "the answer says why")
}

fn groups(words: &[String]) -> Result<std::collections::BTreeSet<Group>, Failure> {
    let words = words.iter().filter(|word| !word.is_empty());
    words
        .map(|word| word.parse().map_err(IntoFailure::into_failure))
        .collect()
}

/// `KEY=TEXT`, and a list of the texts where a key comes several times.
fn claims(words: &[String]) -> Result<BTreeMap<String, Value>, Failure> {
    let mut claims: BTreeMap<String, Value> = BTreeMap::new();
    for word in words {
        let (key, text) = word.split_once('=').ok_or_else(|| {
            let shown = Printable::new(word);
            usage(format!("claim `{shown}` is not KEY=TEXT"))
        })?;
        let key: ClaimName = key.parse().map_err(IntoFailure::into_failure)?;
        let text = Value::from(text);
        match claims.get_mut(key.as_str()) {
            None => {
                claims.insert(key.into(), text);
            }
            Some(Value::Array(list)) => list.push(text),
            Some(single) => *single = Value::Array(vec![single.take(), text]),
        }
    }
    Ok(claims)
}

/// What people see.
fn page(user: &Subject, server: &ServerName, explanation: &Explanation, now: Time) -> String {
    let mut text = answer(user, server, explanation);
    if explanation.outcome == Verdict::NoLogin && !about_oneself(explanation) {
        text.push_str("A claim that the hub does not know of can be given: --claim KEY=TEXT\n");
    }
    let mut lines = String::new();
    let mut line = |key: &str, value: String| {
        let _ = writeln!(lines, "{:<10}{value}", format!("{key}:"));
    };
    if let Some(login) = &explanation.login {
        line("Login", origin(login, explanation.login_origin));
    }
    if explanation.at != now {
        line("At", explanation.at.to_string());
    }
    if let Some(length) = explanation.max_session {
        line("Session", format!("{length} at most"));
    }
    if let Some(at) = explanation.review_at {
        line("Until", format!("{at}, when time may change the answer"));
    }
    let parts = [
        lines,
        trace(&explanation.trace),
        facts(&explanation.assumed, now),
    ];
    for part in parts.iter().filter(|part| !part.is_empty()) {
        text.push('\n');
        text.push_str(part);
    }
    text
}

/// Whether the hub went by the very token that it was asked with: nothing is to be added to that.
fn about_oneself(explanation: &Explanation) -> bool {
    let mut facts = explanation.assumed.iter();
    facts.any(|fact| fact.origin == FactOrigin::Token)
}

fn answer(user: &Subject, server: &ServerName, explanation: &Explanation) -> String {
    let user = Printable::new(user.as_str());
    let may = if explanation.allowed {
        "may"
    } else {
        "may not"
    };
    let place = match &explanation.login {
        Some(login) => format!("{server} as {login}"),
        None => server.to_string(),
    };
    let why = match (&explanation.outcome, &explanation.policy) {
        (Verdict::Allowed, Some(policy)) => format!("the policy {policy} allows it"),
        (Verdict::Denied, Some(policy)) => format!("the policy {policy} denies it"),
        (Verdict::NoPolicy, _) => "no policy allows it".to_owned(),
        (Verdict::NoLogin, _) => {
            let why = explanation.login_error.as_deref();
            Printable::new(why.unwrap_or("nothing names a login")).to_string()
        }
        (other, _) => other.to_string(),
    };
    format!("{user} {may} reach {place}: {why}\n")
}

fn origin(login: &Login, origin: Option<LoginOrigin>) -> String {
    match origin {
        Some(LoginOrigin::Claim) => format!("{login}, from the person's claim"),
        Some(LoginOrigin::Requested) => format!("{login}, asked for"),
        Some(LoginOrigin::ServerUser) => format!("{login}, which everybody gets there"),
        None => login.to_string(),
    }
}

/// Every policy and its verdict, as a table.
#[must_use]
pub fn trace(trace: &[PolicyTrace]) -> String {
    let rows: Vec<_> = trace
        .iter()
        .map(|entry| {
            let matched = if entry.matched { "yes" } else { "no" };
            vec![
                entry.policy.to_string(),
                entry.effect.to_string(),
                matched.to_owned(),
                entry.reason.to_string(),
            ]
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    table(Some(&["POLICY", "EFFECT", "MATCHED", "REASON"]), &rows)
}

fn facts(facts: &[AssumedFact], now: Time) -> String {
    let rows: Vec<_> = facts
        .iter()
        .map(|fact| {
            let value = match &fact.value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let origin = match (&fact.origin, fact.seen) {
                (FactOrigin::Configuration, _) => "the hub's configuration".to_owned(),
                (FactOrigin::Given, _) => "given".to_owned(),
                (FactOrigin::LastSeen, Some(seen)) => {
                    format!("last seen {} ({seen})", words::ago(seen, now))
                }
                (FactOrigin::Token, _) => "your token".to_owned(),
                (other, _) => other.to_string(),
            };
            vec![
                Printable::new(&fact.fact).to_string(),
                Printable::new(&value).to_string(),
                origin,
            ]
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    table(Some(&["FACT", "VALUE", "FROM"]), &rows)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parts_that_are_empty_leave_no_gap() {
        let explanation: Explanation = serde_json::from_value(json!({
            "allowed": false, "outcome": "no-login", "at": "2026-01-01T12:00:00Z",
            "assumed": [{"fact": "user", "value": "alice", "origin": "given"}],
        }))
        .unwrap();
        let (user, server) = ("alice".parse().unwrap(), "web01".parse().unwrap());
        let page = page(&user, &server, &explanation, explanation.at);
        assert!(page.contains("KEY=TEXT\n\nFACT"), "{page}");
    }

    #[test]
    fn what_the_own_token_lacks_is_not_to_be_given() {
        let hint = |origin: &str| {
            let explanation: Explanation = serde_json::from_value(json!({
                "allowed": false, "outcome": "no-login", "at": "2026-01-01T12:00:00Z",
                "assumed": [{"fact": "user", "value": "alice", "origin": origin}],
            }))
            .unwrap();
            let (user, server) = ("alice".parse().unwrap(), "web01".parse().unwrap());
            page(&user, &server, &explanation, explanation.at).contains("--claim KEY=TEXT")
        };
        assert!(hint("last-seen"));
        assert!(!hint("token"));
    }

    #[test]
    fn claims_are_texts_and_lists_of_them() {
        let words = ["a=1", "b=x=y", "a=2", "a=", "https://x.example/c=z"].map(str::to_owned);
        let expected = json!({"a": ["1", "2", ""], "b": "x=y", "https://x.example/c": "z"});
        assert_eq!(json!(claims(&words).unwrap()), expected);
        for wrong in ["a", "=x", "{login}=x", "a\n=x"] {
            assert!(claims(&[wrong.to_owned()]).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn no_groups_can_be_said() {
        assert!(groups(&[String::new()]).unwrap().is_empty());
        assert_eq!(groups(&["a".into(), "b".into()]).unwrap().len(), 2);
        assert!(groups(&["a\u{1b}".into()]).is_err());
    }
}
