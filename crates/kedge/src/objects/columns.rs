//! What a table shows of each kind.
//!
//! Cells are read from JSON and not from types: a hub that is newer than this program, or says
//! something odd, still gets its table. Every cell is made printable.

use jiff::Timestamp;
use kedge_api::text::Printable;
use serde_json::Value;

/// One column.
#[derive(Debug)]
pub struct Column {
    /// Its heading.
    pub heading: &'static str,
    /// When it is shown.
    pub shown: Shown,
    /// Its text for an object.
    cell: fn(&Value, Timestamp) -> String,
}

/// When a column is shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shown {
    /// In every table.
    Always,
    /// With `-o wide`.
    Wide,
}

impl Column {
    const fn new(heading: &'static str, cell: fn(&Value, Timestamp) -> String) -> Self {
        Self {
            heading,
            shown: Shown::Always,
            cell,
        }
    }

    const fn wide(heading: &'static str, cell: fn(&Value, Timestamp) -> String) -> Self {
        Self {
            heading,
            shown: Shown::Wide,
            cell,
        }
    }

    /// The cell, fit for a terminal.
    #[must_use]
    pub fn cell(&self, object: &Value, now: Timestamp) -> String {
        Printable::new(&(self.cell)(object, now)).to_string()
    }
}

/// Servers.
pub const SERVERS: &[Column] = &[
    Column::new("NAME", |o, _| text(o, "/metadata/name")),
    Column::new("PHASE", |o, _| text(o, "/status/phase")),
    Column::new("LAST SEEN", |o, now| {
        match age(o, "/status/lastSeen", now) {
            Some(age) => format!("{age} ago"),
            None => "never".to_owned(),
        }
    }),
    Column::new("HOST KEY", |o, _| text(o, "/status/hostKeyFingerprint")),
    Column::new("VERSION", |o, _| text(o, "/status/agentVersion")),
    Column::wide("OS", |o, _| text(o, "/status/os")),
    Column::wide("LOGIN", |o, _| text(o, "/spec/sshUser")),
    Column::wide("ADDRESS", |o, _| text(o, "/status/remoteAddress")),
    Column::wide("LABELS", |o, _| labels(o, "/metadata/labels")),
];

/// Policies.
pub const POLICIES: &[Column] = &[
    Column::new("NAME", |o, _| text(o, "/metadata/name")),
    Column::new("EFFECT", |o, _| match text(o, "/spec/effect") {
        absent if absent == NONE => "Allow".to_owned(),
        effect => effect,
    }),
    Column::new("USERS", |o, _| words(o, "/spec/subjects/users")),
    Column::new("GROUPS", |o, _| words(o, "/spec/subjects/groups")),
    Column::new("SERVERS", |o, _| {
        together([
            words(o, "/spec/servers/names"),
            labels(o, "/spec/servers/matchLabels"),
            conditions(o, "/spec/servers/matchExpressions"),
        ])
    }),
    Column::new("LOGINS", |o, _| words(o, "/spec/logins")),
    Column::new("AGE", |o, now| {
        age(o, "/metadata/creationTimestamp", now).unwrap_or(NONE.into())
    }),
    Column::wide("PERMISSIONS", |o, _| words(o, "/spec/permissions")),
    Column::wide("ISSUERS", |o, _| words(o, "/spec/subjects/issuers")),
    Column::wide("CLAIMS", |o, _| conditions(o, "/spec/subjects/claims")),
    Column::wide("HUB", |o, _| {
        let rules = o.pointer("/spec/hub/rules").and_then(Value::as_array);
        let rules = rules.into_iter().flatten().map(|rule| {
            let (verbs, resources) = (words(rule, "/verbs"), words(rule, "/resources"));
            format!("{verbs}:{resources}")
        });
        let roles = words(o, "/spec/hub/roles");
        together(std::iter::once(roles).chain(rules))
    }),
];

/// Join tokens.
pub const TOKENS: &[Column] = &[
    Column::new("NAME", |o, _| text(o, "/metadata/name")),
    Column::new("USED", |o, _| {
        let used = o
            .pointer("/status/used")
            .and_then(Value::as_u64)
            .unwrap_or(0);
        format!("{used}/{}", text(o, "/spec/uses"))
    }),
    Column::new("EXPIRES", |o, now| {
        match seconds_until(o, "/spec/expiresAt", now) {
            Some(left) if left <= 0 => "expired".to_owned(),
            Some(left) => format!("in {}", duration(left)),
            None => NONE.to_owned(),
        }
    }),
    Column::new("SERVER", |o, _| text(o, "/spec/serverName")),
    Column::new("AGE", |o, now| {
        age(o, "/metadata/creationTimestamp", now).unwrap_or(NONE.into())
    }),
    Column::wide("USED BY", |o, _| words(o, "/status/usedBy")),
    Column::wide("LABELS", |o, _| labels(o, "/spec/labels")),
];

/// Live sessions.
pub const SESSIONS: &[Column] = &[
    Column::new("ID", |o, _| text(o, "/id")),
    Column::new("USER", |o, _| match text(o, "/user") {
        // A hub that is older than this program.
        absent if absent == NONE => text(o, "/subject"),
        user => user,
    }),
    Column::new("SERVER", |o, _| text(o, "/server")),
    Column::new("LOGIN", |o, _| text(o, "/login")),
    Column::new("AGE", |o, now| age(o, "/since", now).unwrap_or(NONE.into())),
    Column::new("STATE", |o, _| text(o, "/state")),
    Column::new("UP", |o, _| bytes(o, "/bytesUp")),
    Column::new("DOWN", |o, _| bytes(o, "/bytesDown")),
    Column::new("RTT", |o, _| {
        round_trip(o, &["/client/rttMilliseconds", "/agent/rttMilliseconds"])
    }),
    Column::new("FROM", |o, _| text(o, "/source")),
    Column::wide("SUBJECT", |o, _| text(o, "/subject")),
    Column::wide("POLICY", |o, _| text(o, "/policy")),
    Column::wide("ENDS", |o, now| match seconds_until(o, "/until", now) {
        Some(left) => format!("in {}", duration(left)),
        None => NONE.to_owned(),
    }),
    Column::wide("CLIENT RTT", |o, _| {
        round_trip(o, &["/client/rttMilliseconds"])
    }),
    Column::wide("AGENT RTT", |o, _| {
        round_trip(o, &["/agent/rttMilliseconds"])
    }),
    Column::wide("AGENT", |o, _| text(o, "/agent/remoteAddress")),
];

/// What stands where there is nothing, as with `kubectl`.
pub const NONE: &str = "<none>";

fn text(object: &Value, pointer: &str) -> String {
    match object.pointer(pointer) {
        Some(Value::String(text)) if !text.is_empty() => text.clone(),
        None | Some(Value::Null | Value::String(_)) => NONE.to_owned(),
        Some(other) => other.to_string(),
    }
}

fn words(object: &Value, pointer: &str) -> String {
    let items = object.pointer(pointer).and_then(Value::as_array);
    let items: Vec<_> = items
        .into_iter()
        .flatten()
        .map(|item| {
            item.as_str()
                .map_or_else(|| item.to_string(), str::to_owned)
        })
        .collect();
    if items.is_empty() {
        NONE.to_owned()
    } else {
        items.join(",")
    }
}

fn labels(object: &Value, pointer: &str) -> String {
    let pairs = object.pointer(pointer).and_then(Value::as_object);
    let pairs: Vec<_> = pairs
        .into_iter()
        .flatten()
        .map(|(key, value)| match value {
            Value::String(value) => format!("{key}={value}"),
            other => format!("{key}={other}"),
        })
        .collect();
    if pairs.is_empty() {
        NONE.to_owned()
    } else {
        pairs.join(",")
    }
}

/// Conditions in the form of `kubectl -l`: `env in (a,b)`, `!legacy`.
fn conditions(object: &Value, pointer: &str) -> String {
    let conditions = object.pointer(pointer).and_then(Value::as_array);
    let conditions = conditions.into_iter().flatten().map(|condition| {
        let (key, values) = (text(condition, "/key"), words(condition, "/values"));
        match text(condition, "/operator").as_str() {
            "DoesNotExist" => format!("!{key}"),
            "Exists" => key,
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            other => format!("{key} {other} ({values})"),
        }
    });
    together(conditions)
}

/// All of them that say something.
fn together(parts: impl IntoIterator<Item = String>) -> String {
    let parts: Vec<_> = parts.into_iter().filter(|part| part != NONE).collect();
    if parts.is_empty() {
        NONE.to_owned()
    } else {
        parts.join(",")
    }
}

fn bytes(object: &Value, pointer: &str) -> String {
    let Some(count) = object.pointer(pointer).and_then(Value::as_u64) else {
        return NONE.to_owned();
    };
    match count {
        0..10_240 => format!("{count} B"),
        10_240..10_485_760 => format!("{} KiB", count >> 10),
        10_485_760..10_737_418_240 => format!("{} MiB", count >> 20),
        _ => format!("{} GiB", count >> 30),
    }
}

/// Milliseconds, one after the other; none where one of them was not measured yet.
fn round_trip(object: &Value, pointers: &[&str]) -> String {
    let mut parts = pointers
        .iter()
        .map(|pointer| object.pointer(pointer).and_then(Value::as_u64));
    match parts.try_fold(0_u64, |sum, part| sum.checked_add(part?)) {
        None => NONE.to_owned(),
        Some(0) => "<1 ms".to_owned(),
        Some(whole) => format!("{whole} ms"),
    }
}

fn age(object: &Value, pointer: &str, now: Timestamp) -> Option<String> {
    seconds_until(object, pointer, now).map(|left| duration(-left))
}

fn seconds_until(object: &Value, pointer: &str, now: Timestamp) -> Option<i64> {
    let then: Timestamp = object.pointer(pointer)?.as_str()?.parse().ok()?;
    Some(then.as_second() - now.as_second())
}

/// A duration as `kubectl` shortens it: the two units that matter.
#[must_use]
pub fn duration(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |large: i64, unit: &str, small: i64, small_unit: &str| match small {
        0 => format!("{large}{unit}"),
        small => format!("{large}{unit}{small}{small_unit}"),
    };
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => two(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, "d", hours % 24, "h"),
        691_200..63_072_000 => format!("{days}d"),
        _ => two(days / 365, "y", days % 365, "d"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_kubectls() {
        for (seconds, text) in [
            (-5, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (155, "2m35s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_800, "3h"),
            (12_000, "3h20m"),
            (90_000, "25h"),
            (172_800, "2d"),
            (180_000, "2d2h"),
            (8 * 86_400, "8d"),
            (800 * 86_400, "2y70d"),
        ] {
            assert_eq!(duration(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn a_cell_is_printable_whatever_the_hub_says() {
        let object = serde_json::json!({ "metadata": { "name": "a\u{1b}[2J\nb\u{202e}" } });
        let cell = SERVERS[0].cell(&object, Timestamp::UNIX_EPOCH);
        assert!(!cell.contains(['\u{1b}', '\n', '\u{202e}']), "{cell:?}");
    }

    #[test]
    fn a_policy_shows_whether_it_denies_and_what_it_selects_by() {
        let policy = serde_json::json!({"metadata": {"name": "p"}, "spec": {
            "effect": "Deny",
            "subjects": {
                "issuers": ["*"],
                "claims": [
                    {"key": "a", "operator": "In", "values": ["x", "y"]}, {"key": "b", "operator": "NotIn", "values": ["z"]},
                    {"key": "c", "operator": "Exists"}, {"key": "d", "operator": "DoesNotExist"},
                    {"key": "e\u{1b}", "operator": "Newer"},
                ],
            },
            "servers": {"names": ["db01"], "matchLabels": {"env": "prod"}, "matchExpressions": [{"key": "old", "operator": "DoesNotExist"}]},
            "logins": ["*"],
            "hub": {"roles": ["viewer"], "rules": [{"verbs": ["get", "list"], "resources": ["servers"]}]},
        }});
        let now = Timestamp::UNIX_EPOCH;
        let row: Vec<_> = POLICIES
            .iter()
            .map(|column| column.cell(&policy, now))
            .collect();
        let expected = [
            "p",
            "Deny",
            NONE,
            NONE,
            "db01,env=prod,!old",
            "*",
            NONE,
            NONE,
            "*",
            r"a in (x,y),b notin (z),c,!d,e\u{1b} Newer (<none>)",
            "viewer,get,list:servers",
        ];
        assert_eq!(row, expected);
        let bare = serde_json::json!({"metadata": {"name": "p"}, "spec": {}});
        assert_eq!(POLICIES[1].cell(&bare, now), "Allow");
    }

    #[test]
    fn round_trips_add_up_once_both_are_known() {
        let shown = |client: Value, agent: Value| {
            let object = serde_json::json!({
                "client": {"rttMilliseconds": client}, "agent": {"rttMilliseconds": agent},
            });
            let column = SESSIONS.iter().find(|column| column.heading == "RTT");
            column.unwrap().cell(&object, Timestamp::UNIX_EPOCH)
        };
        assert_eq!(shown(12.into(), 30.into()), "42 ms");
        assert_eq!(shown(0.into(), 0.into()), "<1 ms");
        assert_eq!(shown(12.into(), Value::Null), NONE);
        assert_eq!(shown("x".into(), (-1).into()), NONE);
    }

    #[test]
    fn absent_is_none() {
        let empty = serde_json::json!({});
        let now = Timestamp::UNIX_EPOCH;
        let row: Vec<_> = SERVERS
            .iter()
            .map(|column| column.cell(&empty, now))
            .collect();
        assert_eq!(row[..4], [NONE, NONE, "never", NONE]);
    }
}
