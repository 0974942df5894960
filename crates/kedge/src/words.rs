//! Times as people say them.

use std::time::Duration;

use kedge_api::Time;

/// A length of time in its largest unit that says enough: `42 min`, `3 h`, `5 days`.
#[must_use]
pub fn span(length: Duration) -> String {
    let seconds = length.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// When something ends: `in 42 min`, or `3 h ago`.
#[must_use]
pub fn until(end: Time, now: Time) -> String {
    match end > now {
        true => format!("in {}", span(end.saturating_since(now))),
        false => ago(end, now),
    }
}

/// When something was: `3 h ago`.
#[must_use]
pub fn ago(moment: Time, now: Time) -> String {
    match now.saturating_since(moment) {
        Duration::ZERO => "just now".to_owned(),
        length => format!("{} ago", span(length)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Time {
        jiff::Timestamp::from_second(second).unwrap().into()
    }

    #[test]
    fn times_in_words() {
        for (end, words) in [
            (1000, "just now"),
            (1001, "in 1 s"),
            (1119, "in 119 s"),
            (1000 + 42 * 60, "in 42 min"),
            (1000 + 3 * 3600, "in 3 h"),
            (1000 + 5 * 86_400, "in 5 days"),
            (999, "1 s ago"),
            (1000 - 7200, "2 h ago"),
        ] {
            assert_eq!(until(at(end), at(1000)), words);
        }
    }
}
