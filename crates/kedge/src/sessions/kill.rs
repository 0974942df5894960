//! `kedge sessions kill`.

use std::collections::BTreeSet;

use kedge_api::SessionId;
use kedge_api::text::Printable;
use kedge_service::Failure;
use serde_json::Value;

use super::PLURAL;
use crate::app::{App, block_on};
use crate::cli::SessionsKillArgs;
use crate::defaults;
use crate::exit::Exit;
use crate::failure::{IntoFailure, failure, usage};
use crate::hub::Hub;
use crate::objects::get::{is_not_found, items, name_of};
use crate::objects::kinds;

/// What begins every id.
const MARK: &str = "s-";

/// Runs the command. An id that makes no sense, or may mean several sessions, ends none of them.
///
/// # Errors
///
/// Sessions that are not there, and whatever the hub refuses; what was ended before was said.
pub(super) fn run(app: &mut App<'_>, arguments: &SessionsKillArgs) -> Result<(), Failure> {
    let words = arguments.ids.iter().map(|word| Word::read(word));
    let words: Vec<_> = words.collect::<Result<_, _>>()?;
    let hub = app.default_client()?;
    block_on(kill(app, &hub, &words))
}

async fn kill(app: &mut App<'_>, hub: &Hub, words: &[Word]) -> Result<(), Failure> {
    let kind = kinds::kind(PLURAL)?;
    // Whoever may end a session need not be able to list it.
    let known = match words.iter().any(|word| matches!(word, Word::Beginning(_))) {
        true => live(hub).await?,
        false => BTreeSet::new(),
    };
    let mut missing = None;
    let mut doomed = Vec::new();
    for word in words {
        match word.meant(&known)? {
            Some(id) if doomed.contains(&id) => {}
            Some(id) => doomed.push(id),
            None => {
                missing.get_or_insert(word.not_found());
            }
        }
    }
    for id in doomed {
        match hub.end(&format!("{PLURAL}/{id}")).await {
            Ok(session) => app.say(&line(kind.singular, &id, &session))?,
            Err(error) if is_not_found(&error) => {
                missing.get_or_insert(error.into_failure());
            }
            Err(error) => return Err(error.into_failure()),
        }
    }
    missing.map_or(Ok(()), Err)
}

/// The ids of all sessions that the person sees.
async fn live(hub: &Hub) -> Result<BTreeSet<SessionId>, Failure> {
    let list = hub.fetch(PLURAL).await.map_err(IntoFailure::into_failure)?;
    let ids = items(&list)
        .iter()
        .filter_map(|one| name_of(one).parse().ok());
    Ok(ids.collect())
}

/// One line about a session that was ended; what the hub says of it is made printable.
fn line(singular: &str, id: &SessionId, session: &Value) -> String {
    let field = |name: &str| {
        let text = session.get(name).and_then(Value::as_str);
        Printable::new(text.unwrap_or("?")).to_string()
    };
    let (user, login, server) = (field("user"), field("login"), field("server"));
    format!("{singular}.kedge.dev \"{id}\" killed: {user} as {login} on {server}")
}

/// What somebody typed for a session.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Word {
    /// How its id goes on behind the mark.
    Beginning(String),
    /// All of it.
    Whole(SessionId),
}

impl Word {
    fn read(word: &str) -> Result<Self, Failure> {
        let rest = word.strip_prefix(MARK).unwrap_or(word);
        if let Ok(id) = format!("{MARK}{rest}").parse() {
            return Ok(Self::Whole(id));
        }
        let is_beginning = rest
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7'));
        if rest.is_empty() || !is_beginning || rest.len() > defaults::SESSION_ID_CHARACTERS {
            let text = format!("`{}` is no session's id", Printable::new(word));
            return Err(usage(text).hint(LISTS));
        }
        Ok(Self::Beginning(rest.to_owned()))
    }

    /// The session, when there is one.
    ///
    /// # Errors
    ///
    /// When it may be several.
    fn meant(&self, known: &BTreeSet<SessionId>) -> Result<Option<SessionId>, Failure> {
        let rest = match self {
            Self::Beginning(rest) => rest,
            Self::Whole(id) => return Ok(Some(id.clone())),
        };
        let begins = |id: &&SessionId| {
            let behind = id.as_str().strip_prefix(MARK);
            behind.is_some_and(|behind| behind.starts_with(rest))
        };
        let found: Vec<_> = known.iter().filter(begins).collect();
        match found.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some((*one).clone())),
            several => {
                let named = several.iter().take(defaults::SESSIONS_NAMED);
                let mut named: Vec<_> = named.map(ToString::to_string).collect();
                if several.len() > named.len() {
                    named.push("…".to_owned());
                }
                let text = format!(
                    "`{MARK}{rest}` is the beginning of {} sessions: {}",
                    several.len(),
                    named.join(", ")
                );
                Err(usage(text).hint("give more of the id"))
            }
        }
    }

    fn not_found(&self) -> Failure {
        let id = match self {
            Self::Beginning(rest) => format!("{MARK}{rest}"),
            Self::Whole(id) => id.to_string(),
        };
        failure(Exit::NotFound, format!("session `{id}` not found")).hint(LISTS)
    }
}

/// What helps who has no good id.
const LISTS: &str = "kedge sessions lists those that live";

#[cfg(test)]
mod tests {
    use super::*;

    fn id(beginning: &str) -> SessionId {
        format!("s-{beginning:a<26}").parse().unwrap()
    }

    fn said(failed: &Failure) -> String {
        let mut out = Vec::new();
        failed.write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_beginning_of_an_id_is_enough_where_it_is_the_only_one() {
        let known = BTreeSet::from([id("abc"), id("abd"), id("sx")]);
        let meant = |word: &str| Word::read(word).unwrap().meant(&known);
        for (word, wanted) in [
            ("s-abc", Some(id("abc"))),
            ("abc", Some(id("abc"))),
            ("s-s", Some(id("sx"))),
            ("s", Some(id("sx"))),
            ("abe", None),
            (id("abd").as_str(), Some(id("abd"))),
            // The hub may know what is not listed.
            (id("zz").as_str(), Some(id("zz"))),
        ] {
            assert_eq!(meant(word).unwrap(), wanted, "{word}");
        }
        let failed = meant("ab").unwrap_err();
        assert_eq!(failed.exit_code(), std::process::ExitCode::from(2));
        let listed = format!(
            "error: `s-ab` is the beginning of 2 sessions: {}, {}\nhint: give more of the id\n",
            id("abc"),
            id("abd")
        );
        assert_eq!(said(&failed), listed);
        let none = Word::read("abe").unwrap().not_found();
        assert_eq!(none.exit_code(), std::process::ExitCode::from(6));
    }

    #[test]
    fn many_candidates_are_one_line() {
        let known = (b'a'..=b'z').map(|letter| id(&format!("q{}", char::from(letter))));
        let failed = Word::read("q")
            .unwrap()
            .meant(&known.collect())
            .unwrap_err();
        let said = said(&failed);
        assert!(
            said.contains("of 26 sessions: ") && said.contains(", …\n"),
            "{said}"
        );
        assert_eq!(said.matches("s-q").count(), 1 + defaults::SESSIONS_NAMED);
    }

    #[test]
    fn what_is_no_id_is_said_to_be_none() {
        for word in [
            "",
            "s-",
            "S-ABC",
            "s-a1",
            "../x",
            "a\u{1b}",
            "s-s-a",
            &"a".repeat(27),
        ] {
            let failed = Word::read(word).unwrap_err();
            assert_eq!(
                failed.exit_code(),
                std::process::ExitCode::from(2),
                "{word}"
            );
            assert!(!said(&failed).contains('\u{1b}'));
        }
    }

    #[test]
    fn the_line_is_printable_whatever_the_hub_says() {
        let session = serde_json::json!({"user": "a\u{1b}[2J\nb", "server": 7});
        let line = line("session", &id("abc"), &session);
        assert!(!line.contains(['\u{1b}', '\n']), "{line:?}");
        assert!(line.ends_with(" as ? on ?"), "{line}");
    }
}
