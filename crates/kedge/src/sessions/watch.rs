//! `kedge sessions --watch`: the list, asked for again and again, and what is new in it.
//!
//! A session is shown when it is there for the first time, when its state is another one, and, as `Ended`, when it is not
//! there any more. What changes all the time, bytes and round trips, is shown with these.

use std::collections::BTreeMap;
use std::io;

use kedge_api::StatusReason;
use kedge_service::Failure;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};

use super::PLURAL;
use crate::app::{App, broken_pipe};
use crate::defaults;
use crate::failure::IntoFailure;
use crate::hub::{Hub, HubError};
use crate::objects::get::{self, Form};
use crate::objects::kinds;

/// Shows what happens until somebody ends it.
///
/// # Errors
///
/// Standard output that is closed, what the hub refuses, and a hub that was not there for too long.
///
/// # Cancel safety
///
/// The request is dropped; a login that is being renewed is not to be: see [`Hub::prepare`].
pub(super) async fn run(app: &mut App<'_>, hub: &Hub, form: Form) -> Result<(), Failure> {
    let kind = kinds::kind(PLURAL)?;
    let mut known = Known::default();
    let (mut widths, mut is_first) = (Vec::new(), true);
    let mut failures = None;
    loop {
        match hub.fetch(kind.plural).await {
            Ok(list) => {
                failures = Some(0);
                let news = known.news(get::items(&get::with_kinds(kind, list)));
                // The columns are as wide as the first rows need, so the heading comes with them.
                if !news.is_empty() {
                    get::show_watched(app, kind, &news, form, &mut widths, is_first)?;
                    is_first = false;
                }
            }
            // Whoever begins to watch is told at once that it does not work.
            Err(error) => match failures {
                Some(count) if is_passing(&error) && count < defaults::WATCH_FAILURES => {
                    if count == 0 {
                        app.note(&format!(
                            "warning: {}; trying again",
                            kedge_service::report::chain(&error)
                        ));
                    }
                    failures = Some(count + 1);
                }
                _ => return Err(error.into_failure()),
            },
        }
        if is_output_closed() {
            return Err(broken_pipe());
        }
        tokio::time::sleep(defaults::SESSIONS_PAUSE).await;
    }
}

/// The sessions that were there the last time, by id.
#[derive(Debug, Default)]
struct Known(BTreeMap<String, Value>);

impl Known {
    /// What is to be shown of a new list: those that ended, and those that are new or in another state.
    fn news(&mut self, list: &[Value]) -> Vec<Value> {
        let now: BTreeMap<_, _> = list
            .iter()
            .map(|session| (get::name_of(session).to_owned(), session.clone()))
            .collect();
        let before = std::mem::replace(&mut self.0, now);
        let ended = before
            .iter()
            .filter(|(id, _)| !self.0.contains_key(*id))
            .map(|(_, session)| ended(session));
        let changed = list.iter().filter(|session| {
            let last = before.get(get::name_of(session));
            last.is_none_or(|last| last.get("state") != session.get("state"))
        });
        ended.chain(changed.cloned()).collect()
    }
}

/// A session as it was last seen, and that it is over.
fn ended(session: &Value) -> Value {
    let mut session = session.clone();
    if let Some(fields) = session.as_object_mut() {
        fields.insert("state".to_owned(), json!("Ended"));
    }
    session
}

/// Whether a moment later it may be otherwise: the hub restarts, or another one takes over.
fn is_passing(error: &HubError) -> bool {
    match error.reason() {
        Some(StatusReason::ServiceUnavailable | StatusReason::TooManyRequests) => true,
        Some(_) => false,
        None => matches!(
            error,
            HubError::Broken { .. }
                | HubError::Dial { .. }
                | HubError::Timeout { .. }
                | HubError::Unexpected { .. }
        ),
    }
}

/// Whether nobody reads what is printed any more. It may be long until there is something to print that would show it.
fn is_output_closed() -> bool {
    let stdout = io::stdout();
    // Errors and hangups are told without being asked for.
    let mut watched = [PollFd::new(&stdout, PollFlags::empty())];
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let told = poll(&mut watched, Some(&at_once));
    let closed = PollFlags::ERR | PollFlags::HUP;
    told.is_ok() && watched.iter().any(|fd| fd.revents().intersects(closed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(id: &str, state: &str, bytes: u64) -> Value {
        json!({ "id": id, "state": state, "bytesUp": bytes })
    }

    fn shown(news: &[Value]) -> Vec<String> {
        let line = |one: &Value| {
            let state = one["state"].as_str().unwrap();
            format!("{} {state} {}", one["id"].as_str().unwrap(), one["bytesUp"])
        };
        news.iter().map(line).collect()
    }

    #[test]
    fn what_begins_changes_and_ends_is_news_and_nothing_else_is() {
        let mut known = Known::default();
        let (a, b) = (session("a", "Attached", 1), session("b", "Attached", 2));
        assert_eq!(
            shown(&known.news(&[b.clone(), a.clone()])),
            ["b Attached 2", "a Attached 1"],
            "in the hub's order"
        );
        assert_eq!(known.news(&[b, a]), [] as [Value; 0]);
        let more = [session("b", "Attached", 20), session("a", "Detached", 10)];
        assert_eq!(shown(&known.news(&more)), ["a Detached 10"]);
        let others = [session("a", "Attached", 11), session("c", "Attached", 0)];
        assert_eq!(
            shown(&known.news(&others)),
            ["b Ended 20", "a Attached 11", "c Attached 0"],
            "with the bytes that it was last seen with"
        );
        assert_eq!(shown(&known.news(&[])), ["a Ended 11", "c Ended 0"]);
        assert_eq!(known.news(&[]), [] as [Value; 0]);
    }

    #[test]
    fn a_list_without_ids_and_states_is_a_list() {
        let mut known = Known::default();
        let odd = [json!({}), json!(null), json!({"id": 7})];
        assert!(!known.news(&odd).is_empty());
        assert_eq!(known.news(&[]).len(), 1, "they had one name between them");
    }
}
