//! Which kinds there are, and how people name them.

use kedge_api::resources::{AccessPolicy, JoinToken, Server};
use kedge_api::{LabelSelector, ObjectName, Resource};
use kedge_service::Failure;
use kedge_service::config::nearest;

use super::columns::{self, Column};
use crate::exit::Exit;
use crate::failure::{IntoFailure, failure, usage};

/// A kind of object.
#[derive(Debug)]
pub struct Kind {
    /// `Server`
    pub kind: &'static str,
    /// `servers`, as in the path.
    pub plural: &'static str,
    /// `server`
    pub singular: &'static str,
    /// `srv`
    pub short: &'static [&'static str],
    /// What a table of them shows.
    pub columns: &'static [Column],
    /// What can be done with them.
    pub access: KindAccess,
}

/// What can be done with a kind's objects.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KindAccess {
    /// They can be listed, and nothing else: they are no stored objects.
    ListOnly,
    /// Everything.
    Full,
}

impl Kind {
    const fn of<R: Resource>(columns: &'static [Column]) -> Self {
        Self {
            kind: R::KIND,
            plural: R::PLURAL,
            singular: R::SINGULAR,
            short: R::SHORT_NAMES,
            columns,
            access: KindAccess::Full,
        }
    }

    /// `server.kedge.dev/web01`, as `kubectl` prints it.
    #[must_use]
    pub fn qualified(&self, name: &str) -> String {
        format!("{}.kedge.dev/{name}", self.singular)
    }
}

/// Every kind.
pub static KINDS: [Kind; 4] = [
    Kind::of::<AccessPolicy>(columns::POLICIES),
    Kind::of::<JoinToken>(columns::TOKENS),
    Kind::of::<Server>(columns::SERVERS),
    Kind {
        kind: "Session",
        plural: "sessions",
        singular: "session",
        short: &[],
        columns: columns::SESSIONS,
        access: KindAccess::ListOnly,
    },
];

/// The kind that a word names, in any of its spellings.
///
/// # Errors
///
/// A word that names none.
pub fn kind(word: &str) -> Result<&'static Kind, Failure> {
    let lower = word.to_ascii_lowercase();
    let lower = lower.strip_suffix(".kedge.dev").unwrap_or(&lower);
    // `policies` and `tokens` are as good as `policy` and `token`.
    let one = match lower.strip_suffix("ies") {
        Some(stem) => format!("{stem}y"),
        None => lower.strip_suffix('s').unwrap_or(lower).to_owned(),
    };
    let found = KINDS.iter().find(|kind| {
        let names = [kind.plural, kind.singular];
        let mut names = names.iter().chain(kind.short);
        names.any(|name| *name == lower || *name == one)
    });
    found.ok_or_else(|| {
        let known: Vec<_> = KINDS.iter().map(|kind| kind.plural).collect();
        let failed = usage(format!(
            "there is no kind `{}`",
            kedge_api::text::Printable::new(word)
        ));
        match nearest(lower, &known) {
            Some(nearest) => failed.hint(format!("did you mean `{nearest}`?")),
            None => failed.hint(format!("the kinds are {}", known.join(", "))),
        }
    })
}

/// What a command line names.
#[derive(Debug)]
pub enum Selection {
    /// All of a kind, or those with some labels.
    All(&'static Kind, Option<LabelSelector>),
    /// Certain ones.
    Named(Vec<(&'static Kind, ObjectName)>),
}

/// Reads `servers`, `server web01 web02` and `server/web01 policy/developers`.
///
/// # Errors
///
/// Kinds and names that are none, and mixtures of the forms.
pub fn selection(words: &[String], selector: Option<&LabelSelector>) -> Result<Selection, Failure> {
    let named = |kind: &'static Kind, name: &str| {
        if kind.access == KindAccess::ListOnly {
            let text = format!("{} can only be listed", kind.plural);
            return Err(usage(text).hint(format!("kedge get {}", kind.plural)));
        }
        Ok((
            kind,
            name.parse::<ObjectName>()
                .map_err(IntoFailure::into_failure)?,
        ))
    };
    let both = || usage("names and a label selector exclude each other");
    if words.first().is_some_and(|word| word.contains('/')) {
        if selector.is_some() {
            return Err(both());
        }
        let objects = words.iter().map(|word| {
            let (word, name) = word.split_once('/').ok_or_else(|| {
                usage("KIND/NAME and KIND NAME cannot be mixed")
                    .hint("kedge get server web01 web02, or kedge get server/web01 server/web02")
            })?;
            named(kind(word)?, name)
        });
        return objects.collect::<Result<_, _>>().map(Selection::Named);
    }
    let (word, names) = words
        .split_first()
        .ok_or_else(|| failure(Exit::Usage, "no kind was named"))?;
    let kind = kind(word)?;
    if names.is_empty() {
        return Ok(Selection::All(kind, selector.cloned()));
    }
    if selector.is_some() {
        return Err(both());
    }
    let objects = names.iter().map(|name| named(kind, name));
    objects.collect::<Result<_, _>>().map(Selection::Named)
}

/// The path of a list, with its selector.
#[must_use]
pub fn list_path(kind: &Kind, selector: Option<&LabelSelector>) -> String {
    match selector.filter(|selector| !selector.is_empty()) {
        Some(selector) => {
            format!(
                "{}?labelSelector={}",
                kind.plural,
                encode(&selector.to_string())
            )
        }
        None => kind.plural.to_owned(),
    }
}

/// Percent-encodes a query's value.
#[must_use]
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(words: &[&str]) -> String {
        let words: Vec<_> = words.iter().map(ToString::to_string).collect();
        match selection(&words, None) {
            Ok(Selection::All(kind, _)) => format!("all {}", kind.plural),
            Ok(Selection::Named(objects)) => {
                let objects: Vec<_> = objects
                    .iter()
                    .map(|(k, n)| k.qualified(n.as_str()))
                    .collect();
                objects.join(" ")
            }
            Err(failed) => {
                let mut out = Vec::new();
                failed.write(&mut out).unwrap();
                String::from_utf8(out).unwrap()
            }
        }
    }

    #[test]
    fn the_forms_of_kubectl() {
        assert_eq!(shown(&["servers"]), "all servers");
        assert_eq!(shown(&["srv"]), "all servers");
        assert_eq!(shown(&["Servers.kedge.dev"]), "all servers");
        assert_eq!(
            shown(&["server", "a", "b"]),
            "server.kedge.dev/a server.kedge.dev/b"
        );
        assert_eq!(
            shown(&["server/a", "policy/b"]),
            "server.kedge.dev/a accesspolicy.kedge.dev/b"
        );
        assert_eq!(shown(&["ap"]), "all accesspolicies");
        assert_eq!(shown(&["policies"]), "all accesspolicies");
        assert_eq!(shown(&["tokens"]), "all jointokens");
        assert_eq!(
            shown(&["token", "q7k2m4xw3p"]),
            "jointoken.kedge.dev/q7k2m4xw3p"
        );
        assert_eq!(shown(&["sessions"]), "all sessions");
    }

    #[test]
    fn mistakes_say_what_is_meant() {
        insta::assert_snapshot!(shown(&["sevrers"]), @r"
        error: there is no kind `sevrers`
        hint: did you mean `servers`?
        ");
        assert!(shown(&["server/a", "b"]).contains("cannot be mixed"));
        assert!(shown(&["server", "server/a"]).contains("not legal"));
        assert!(shown(&["server", "../x"]).contains("not legal"));
        assert!(shown(&["sessions", "s-1"]).contains("only be listed"));
    }

    #[test]
    fn queries_are_encoded() {
        assert_eq!(
            encode("env in (a,b),!c d&e"),
            "env%20in%20%28a%2Cb%29%2C%21c%20d%26e"
        );
    }
}
