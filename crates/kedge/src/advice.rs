//! What helps somebody whose login is no good.
//!
//! Two things that only the hub can say, and says to everybody: how people log in there, and what time
//! it is. A clock that is minutes off makes every login too old or too young, and looks like anything
//! but a wrong clock.

use std::fmt;

use bytes::Bytes;
use http::{Response, header};
use jiff::Timestamp;
use kedge_api::HubName;
use kedge_api::rest::Discovery;

use crate::defaults;
use crate::words;

/// What helps. Shown, it is what belongs in parentheses behind a login, if anything.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Advice {
    /// The command that logs in there.
    pub command: String,
    /// How wrong this machine's clock is, where it is.
    pub clock: Option<ClockSkew>,
}

/// A clock that differs from the hub's by more than a login bears.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ClockSkew {
    /// By how many seconds this machine's clock is ahead; behind, when negative.
    ahead: i64,
}

impl Advice {
    /// What a hub's discovery document and its `Date` say, asked between two moments.
    #[must_use]
    pub fn new(
        hub: &HubName,
        answer: &Response<Bytes>,
        asked: Timestamp,
        answered: Timestamp,
    ) -> Self {
        let discovery = serde_json::from_slice::<Discovery>(answer.body()).ok();
        let is_static = discovery.is_some_and(|said| {
            let authentication = said.authentication;
            authentication.issuers.is_empty() && !authentication.methods.is_empty()
        });
        let date = answer
            .headers()
            .get(header::DATE)
            .and_then(|date| date.to_str().ok());
        Self {
            command: login_command(hub.as_str(), is_static),
            clock: date.and_then(|date| ClockSkew::of(date, asked, answered)),
        }
    }

    /// What can be said when the hub says nothing.
    #[must_use]
    pub fn unknown(hub: &HubName) -> Self {
        Self {
            command: login_command(hub.as_str(), false),
            clock: None,
        }
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.clock {
            Some(clock) => write!(f, " ({clock})"),
            None => Ok(()),
        }
    }
}

impl ClockSkew {
    /// What a `Date` header says of this machine's clock; nothing when they agree well enough.
    #[must_use]
    pub fn of(date: &str, asked: Timestamp, answered: Timestamp) -> Option<Self> {
        let theirs = jiff::fmt::rfc2822::DateTimeParser::new()
            .relaxed_weekday(true)
            .parse_timestamp(date)
            .ok()?
            .as_second();
        // Anything between question and answer is no difference.
        let (first, last) = (asked.as_second(), answered.as_second());
        let ahead = if theirs < first {
            first - theirs
        } else if theirs > last {
            last - theirs
        } else {
            0
        };
        let least = i64::try_from(defaults::CLOCK_SKEW.as_secs()).unwrap_or(i64::MAX);
        (ahead.abs() >= least).then_some(Self { ahead })
    }
}

impl fmt::Display for ClockSkew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = words::span(std::time::Duration::from_secs(self.ahead.unsigned_abs()));
        match self.ahead > 0 {
            true => write!(f, "this machine's clock is {by} ahead of the hub's"),
            false => write!(f, "this machine's clock is {by} behind the hub's"),
        }
    }
}

/// The command that logs in at a hub, where issuers are or are not.
#[must_use]
pub fn login_command(hub: &str, is_static: bool) -> String {
    match is_static {
        true => format!("kedge login {hub} --token-file FILE"),
        false => format!("kedge login {hub}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(date: &str, asked: i64, answered: i64) -> Option<String> {
        let at = |second| Timestamp::from_second(second).unwrap();
        ClockSkew::of(date, at(asked), at(answered)).map(|skew| skew.to_string())
    }

    #[test]
    fn a_clock_that_is_off_is_said_to_be() {
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        let theirs = 784_111_777;
        assert_eq!(said(date, theirs, theirs), None);
        assert_eq!(said(date, theirs - 119, theirs - 119), None);
        // A slow answer is no wrong clock.
        assert_eq!(said(date, theirs - 300, theirs + 300), None);
        assert_eq!(
            said(date, theirs + 600, theirs + 601).as_deref(),
            Some("this machine's clock is 10 min ahead of the hub's")
        );
        assert_eq!(
            said(date, theirs - 90_000, theirs - 90_000).as_deref(),
            Some("this machine's clock is 25 h behind the hub's")
        );
        for odd in ["", "now", "Sun, 06 Nov 1994", "\u{1b}[2J"] {
            assert_eq!(said(odd, 0, 0), None, "{odd}");
        }
    }

    #[test]
    fn what_says_nothing_still_names_the_command() {
        let hub: HubName = "main".parse().unwrap();
        let at = Timestamp::UNIX_EPOCH;
        for body in ["", "{", "[]", "{\"authentication\": 5}"] {
            let answer = Response::new(Bytes::from(body));
            let advice = Advice::new(&hub, &answer, at, at);
            assert_eq!(advice, Advice::unknown(&hub), "{body}");
            assert_eq!(advice.command, "kedge login main");
        }
    }
}
