//! `kedge explain --since`: policies tried out on what was.

use kedge_api::rest::{HistoryEvent, Replay, ReplayChange, ReplayRequest, Verdict};
use kedge_api::text::Printable;
use kedge_api::{AccessPolicy, Time};
use kedge_service::Failure;
use serde_json::json;

use crate::app::{App, block_on};
use crate::cli::ExplainArgs;
use crate::defaults;
use crate::exit::Exit;
use crate::failure::{IntoFailure, failure, usage};
use crate::hub::Hub;
use crate::objects::table::table;
use crate::objects::{manifest, print};
use crate::tokens;

/// All pages of a replay together.
#[derive(Debug, Default)]
struct Whole {
    examined: u64,
    changed: Vec<ReplayChange>,
    /// Changes beyond those that are kept.
    more: usize,
}

/// Tries the policies out.
pub(super) fn run(app: &mut App<'_>, arguments: &ExplainArgs, since: &str) -> Result<(), Failure> {
    if arguments.with.is_empty() && arguments.without.is_empty() {
        let text = "nothing to try out: --since needs --with FILE or --without NAME";
        return Err(usage(text).hint("kedge explain --help"));
    }
    let mut request = ReplayRequest {
        since: moment(since, app.now().into())?,
        continue_token: None,
        policies: policies(app, arguments)?,
        remove: arguments.without.clone(),
    };
    let client = app.default_client()?;
    let whole = block_on(pages(&client, &mut request))?;
    let text = match arguments.output {
        Some(format) => {
            let value = json!({
                "since": request.since, "examined": whole.examined, "changed": whole.changed, "notShown": whole.more,
            });
            print::data(format, &value)?
        }
        None => page(&whole, request.since),
    };
    app.print(&text)
}

fn policies(app: &mut App<'_>, arguments: &ExplainArgs) -> Result<Vec<AccessPolicy>, Failure> {
    let mut policies: Vec<AccessPolicy> = Vec::new();
    for path in &arguments.with {
        for policy in manifest::policies(app, path)? {
            let name = policy.metadata.name.clone();
            if policies.iter().any(|other| other.metadata.name == name) {
                return Err(usage(format!("the policy {name} is given twice")));
            }
            policies.push(policy);
        }
    }
    Ok(policies)
}

/// `7d`, `12h`, or a moment.
fn moment(text: &str, now: Time) -> Result<Time, Failure> {
    match text.parse() {
        Ok(time) => Ok(time),
        Err(_) => Ok(now.saturating_sub(tokens::lifetime(text)?)),
    }
}

/// Asks for one page after the other, each with its own deadline.
async fn pages(client: &Hub, request: &mut ReplayRequest) -> Result<Whole, Failure> {
    let mut whole = Whole::default();
    loop {
        let asked = client.ask("policyreplays", &*request).await;
        let page: Replay = asked.map_err(IntoFailure::into_failure)?;
        whole.examined = whole.examined.saturating_add(page.examined);
        let room = defaults::REPLAY_CHANGES.saturating_sub(whole.changed.len());
        whole.more += page.changed.len().saturating_sub(room);
        whole.changed.extend(page.changed.into_iter().take(room));
        match page.continue_token {
            None => return Ok(whole),
            // A hub that does not get on would be asked for ever.
            token if token == request.continue_token => {
                return Err(failure(Exit::Failure, "the hub's answer has no end"));
            }
            token => request.continue_token = token,
        }
    }
}

fn page(whole: &Whole, since: Time) -> String {
    let mut text = String::new();
    if !whole.changed.is_empty() {
        let rows: Vec<_> = whole.changed.iter().map(row).collect();
        let headings = [
            "TIME", "USER", "SERVER", "LOGIN", "WAS", "NOW", "THEN", "POLICY",
        ];
        text.push_str(&table(Some(&headings), &rows));
        text.push('\n');
    }
    let count = |verdict: fn(&Verdict) -> bool| {
        let changes = whole.changed.iter();
        changes.filter(|change| verdict(&change.after)).count()
    };
    let allowed = count(|after| *after == Verdict::Allowed);
    let refused = count(|after| *after != Verdict::Allowed);
    text.push_str(&format!(
        "{} sessions and refusals since {since}: {refused} would be refused, {allowed} would be allowed\n",
        whole.examined
    ));
    if whole.more > 0 {
        text.push_str(&format!("and {} more that are not shown\n", whole.more));
    }
    text
}

fn row(change: &ReplayChange) -> Vec<String> {
    let record = &change.record;
    let was = match (&record.event, &record.code) {
        (HistoryEvent::Refused, Some(code)) => format!("refused ({})", Printable::new(code)),
        (event, _) => event.to_string(),
    };
    vec![
        record.at.to_string(),
        Printable::new(record.principal.user.as_str()).to_string(),
        record.server.to_string(),
        or_none(record.login.as_ref()),
        was,
        change.before.to_string(),
        change.after.to_string(),
        or_none(change.policy.as_ref()),
    ]
}

fn or_none(value: Option<&impl ToString>) -> String {
    value.map_or_else(|| "<none>".to_owned(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_is_a_length_or_a_moment() {
        let now: Time = "2026-01-08T00:00:00Z".parse().unwrap();
        let at = |text: &str| moment(text, now).ok().map(|time| time.to_string());
        assert_eq!(at("7d").unwrap(), "2026-01-01T00:00:00Z");
        assert_eq!(at("90m").unwrap(), "2026-01-07T22:30:00Z");
        assert_eq!(
            at("2025-12-24T18:00:00+01:00").unwrap(),
            "2025-12-24T17:00:00Z"
        );
        assert_eq!(at("7000000000d").unwrap(), "-009999-01-02T01:59:59Z");
        for wrong in ["", "yesterday", "-7d", "7", "2026-01-01"] {
            assert_eq!(at(wrong), None, "{wrong}");
        }
    }
}
