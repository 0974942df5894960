//! What the API server knows of policies besides their fields.

use super::{Cell, Column, Rule};

/// Whether the policy denies.
macro_rules! denies {
    () => {
        "(has(self.effect) && self.effect == 'Deny')"
    };
}

/// Whether it selects a server.
macro_rules! servers {
    () => {
        "(has(self.servers) && ((has(self.servers.names) && size(self.servers.names) > 0) || \
         (has(self.servers.matchLabels) && size(self.servers.matchLabels) > 0) || \
         (has(self.servers.matchExpressions) && size(self.servers.matchExpressions) > 0)))"
    };
}

/// Whether it lists a login.
macro_rules! logins {
    () => {
        "(has(self.logins) && size(self.logins) > 0)"
    };
}

/// As `kedge get policies` shows them.
pub(crate) const COLUMNS: &[Column] = &[
    Column::new("Effect", Cell::Text, ".spec.effect"),
    Column::new("Users", Cell::Text, ".spec.subjects.users"),
    Column::new("Groups", Cell::Text, ".spec.subjects.groups"),
    Column::new("Servers", Cell::Text, ".spec.servers"),
    Column::new("Logins", Cell::Text, ".spec.logins"),
    Column::new("Age", Cell::Age, ".metadata.creationTimestamp"),
    Column::wide("Permissions", Cell::Text, ".spec.permissions"),
    Column::wide("Issuers", Cell::Text, ".spec.subjects.issuers"),
    Column::wide("Claims", Cell::Text, ".spec.subjects.claims"),
    Column::wide("Hub", Cell::Text, ".spec.hub"),
];

pub(crate) const RULES: &[Rule] = &[
    // Who.
    Rule {
        at: "spec.subjects",
        holds: "(has(self.users) && size(self.users) > 0) || (has(self.groups) && size(self.groups) > 0) || \
                (has(self.issuers) && size(self.issuers) > 0) || (has(self.claims) && size(self.claims) > 0)",
        message: "names nobody; list users, groups, issuers or claims (`users: [\"*\"]` is everybody)",
        field: "",
    },
    Rule {
        at: "spec.subjects.groups[]",
        holds: "self != '*'",
        message: "`*` means nothing here; `spec.subjects.users: [\"*\"]` is everybody",
        field: "",
    },
    Rule {
        at: "spec.subjects.issuers[]",
        holds: "self in ['*', 'static'] || self.startsWith('https://') || \
                self.matches('^http://(localhost|127(\\\\.[0-9]{1,3}){3}|\\\\[::1\\\\])(:|/|$)')",
        message: "is plain http; only `https` is safe outside this machine",
        field: "",
    },
    Rule {
        at: "spec.subjects.issuers[]",
        holds: "!self.matches('/(\\\\.|%2[eE]){1,2}(/|$)')",
        message: "its path is not in normal form",
        field: "",
    },
    values_needed("spec.subjects.claims[]"),
    no_values("spec.subjects.claims[]"),
    no_star("spec.subjects.claims[].values[]"),
    // Where, as whom, to do what: needed unless the policy is about the hub alone.
    Rule {
        at: "spec",
        holds: concat!(servers!(), " || (has(self.hub) && !", logins!(), ")"),
        message: "selects nothing; list names, matchLabels or matchExpressions (`names: [\"*\"]` is every server)",
        field: ".servers",
    },
    Rule {
        at: "spec",
        holds: concat!(logins!(), " || (has(self.hub) && !", servers!(), ")"),
        message: "lists no login; `{login}` is the one a person's identity gives",
        field: ".logins",
    },
    Rule {
        at: "spec",
        holds: concat!(
            "!has(self.permissions) || size(self.permissions) > 0 || (has(self.hub) && !",
            servers!(),
            " && !",
            logins!(),
            ")"
        ),
        message: "lists no permission",
        field: ".permissions",
    },
    Rule {
        at: "spec.servers.matchLabels",
        holds: LABEL_KEYS,
        message: LABEL_KEYS_MESSAGE,
        field: "",
    },
    values_needed("spec.servers.matchExpressions[]"),
    no_values("spec.servers.matchExpressions[]"),
    // What can only be denied, and what cannot.
    Rule {
        at: "spec",
        holds: concat!(denies!(), " || !has(self.logins) || !('*' in self.logins)"),
        message: "`*` can only be denied; list the logins that are allowed",
        field: ".logins",
    },
    Rule {
        at: "spec",
        holds: concat!(
            denies!(),
            " || !has(self.permissions) || !('*' in self.permissions)"
        ),
        message: "`*` can only be denied; list the permissions that are allowed",
        field: ".permissions",
    },
    Rule {
        at: "spec",
        holds: concat!(
            "!",
            denies!(),
            " || !has(self.constraints) || !has(self.constraints.maxSession)"
        ),
        message: LIMITS_NOTHING,
        field: ".constraints.maxSession",
    },
    Rule {
        at: "spec",
        holds: concat!(
            "!",
            denies!(),
            " || !has(self.constraints) || !has(self.constraints.maxAuthAge)"
        ),
        message: LIMITS_NOTHING,
        field: ".constraints.maxAuthAge",
    },
    Rule {
        at: "spec",
        holds: concat!(
            "!",
            denies!(),
            " || !has(self.constraints) || !has(self.constraints.maxSessions)"
        ),
        message: LIMITS_NOTHING,
        field: ".constraints.maxSessions",
    },
    // The hub.
    Rule {
        at: "spec.hub",
        holds: "(has(self.roles) && size(self.roles) > 0) || (has(self.rules) && size(self.rules) > 0)",
        message: "grants nothing; list roles or rules",
        field: "",
    },
    // Under which circumstances.
    Rule {
        at: "spec.constraints.sourceRanges[]",
        holds: "isCIDR(self)",
        message: "is no network; write `203.0.113.0/24` or `2001:db8::/32`, and IPv4 as IPv4",
        field: "",
    },
    Rule {
        at: "spec.constraints.sourceRanges[]",
        holds: "!isCIDR(self) || cidr(self) == cidr(self).masked()",
        message: "has bits beyond its prefix",
        field: "",
    },
    Rule {
        at: "spec.constraints",
        // Whole seconds count, as in the hub.
        holds: "!has(self.notBefore) || !has(self.notAfter) || int(self.notAfter) > int(self.notBefore)",
        message: "is not after `notBefore`",
        field: ".notAfter",
    },
    Rule {
        at: "spec.constraints.timeWindows[]",
        holds: "self.from != '24:00'",
        message: "`24:00` only ends a window; write `00:00`",
        field: ".from",
    },
    Rule {
        at: "spec.constraints.timeWindows[].days",
        holds: "self.all(day, self.exists_one(other, other == day))",
        message: "a day is there twice",
        field: "",
    },
    Rule {
        at: "spec.constraints.timeWindows[].timeZone",
        // An unknown zone makes it fail; `Local` is the server's own, which is nobody's business.
        holds: "self != 'Local' && timestamp('2000-01-01T00:00:00Z').getFullYear(self) > 0",
        message: "there is no such time zone; write its IANA name, such as `Europe/Berlin`",
        field: "",
    },
    duration("spec.constraints.maxSession"),
    duration("spec.constraints.maxAuthAge"),
    values_needed("spec.constraints.requiredClaims[]"),
    no_values("spec.constraints.requiredClaims[]"),
    no_star("spec.constraints.requiredClaims[].values[]"),
];

/// A map's keys are labels' keys. RE2 and no pattern, because patterns are for values.
pub(super) const LABEL_KEYS: &str = "self.all(key, key.matches('^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\\\\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*/)?\
     [A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$') && key.indexOf('/') <= 253)";
pub(super) const LABEL_KEYS_MESSAGE: &str = "a key is none of a label: `[prefix/]name`, the prefix a DNS name, the name at most 63 letters, digits, `-`, `_` and `.`";

const LIMITS_NOTHING: &str = "limits what is allowed, and a policy with effect Deny allows nothing";

const fn values_needed(at: &'static str) -> Rule {
    Rule {
        at,
        holds: "!(self.operator in ['In', 'NotIn']) || (has(self.values) && size(self.values) > 0)",
        message: "lists no value, and `In` and `NotIn` need one",
        field: ".values",
    }
}

const fn no_values(at: &'static str) -> Rule {
    Rule {
        at,
        holds: "!(self.operator in ['Exists', 'DoesNotExist']) || !has(self.values) || size(self.values) == 0",
        message: "must be absent: `Exists` and `DoesNotExist` compare with nothing",
        field: ".values",
    }
}

const fn no_star(at: &'static str) -> Rule {
    Rule {
        at,
        holds: "self != '*'",
        message: "`*` means nothing here; use the operator `Exists`",
        field: "",
    }
}

const fn duration(at: &'static str) -> Rule {
    Rule {
        at,
        holds: "self != '' && duration(self) >= duration('1s') && duration(self) <= duration('87840h')",
        message: "must be between one second and ten years, in hours, minutes and seconds such as `8h`, `1h30m` or `90s`",
        field: "",
    }
}
