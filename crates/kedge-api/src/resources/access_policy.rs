//! `AccessPolicy`: who may reach which servers, as whom, to do what. Evaluated in [`crate::policy`].

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::kind::resource;
use crate::defaults::POLICY_LIST_MAX;
use crate::meta::FieldError;
use crate::names::{Group, Labels, Login, NameError, ServerName, Subject};
use crate::time::Time;
use crate::wire_enum::wire_enum;

resource! {
    /// Allows some people to reach some servers. What no policy allows is denied.
    AccessPolicy { spec: AccessPolicySpec, status: AccessPolicyStatus }
    plural "accesspolicies", singular "accesspolicy", short &["ap", "policy"],
    validate check, change check_change
}

/// What a policy allows: every part must match.
///
/// An unknown field is refused even when read from a store: a constraint that an older hub does not
/// know must not be ignored by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AccessPolicySpec {
    /// Who: any of these.
    pub subjects: Subjects,
    /// Where: any of these.
    pub servers: Servers,
    /// As whom: any of these.
    pub logins: Vec<LoginRule>,
    /// To do what: any of these.
    #[serde(default = "ssh_only")]
    pub permissions: Vec<Permission>,
    /// Under which circumstances: all of these.
    #[serde(default, skip_serializing_if = "Constraints::is_empty")]
    pub constraints: Constraints,
}

/// The people a policy is about: one match in any of the three lists is enough.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Subjects {
    /// Subjects by name, or `*` for everybody who is authenticated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<SubjectRule>,
    /// Members of these groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Group>,
    /// People with one of these values in such a claim (a text, or a list that contains it).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, Vec<String>>,
}

/// The servers a policy is about: named, or with all of the labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Servers {
    /// Servers by name, or `*` for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<ServerRule>,
    /// Servers that have all of these labels. None at all selects nothing.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub match_labels: Labels,
}

/// The circumstances under which a policy allows something.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Constraints {
    /// Networks to come from (CIDR). None means anywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub source_ranges: Vec<IpNet>,
    /// The longest a session may last, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_session_seconds: Option<u32>,
    /// When the policy ends, and with it the sessions it allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Time>,
}

impl Constraints {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a source address is in one of the networks; IPv4 in IPv6 counts as IPv4.
    #[must_use]
    pub fn admits(&self, source: IpAddr) -> bool {
        let source = source.to_canonical();
        self.source_ranges.is_empty() || self.source_ranges.iter().any(|net| net.contains(&source))
    }
}

/// Nothing yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccessPolicyStatus {}

wire_enum! {
    /// What somebody wants to do at a target.
    Permission {
        /// Open an SSH session.
        Ssh = "ssh",
    }
}

/// Makes a rule that is either one word with a meaning, or a legal name.
macro_rules! rule {
    ($(#[$doc:meta])* $name:ident, $(#[$wdoc:meta])* $word_variant:ident = $word:literal,
     $(#[$ndoc:meta])* $variant:ident($of:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(into = "String", try_from = "String")]
        pub enum $name {
            $(#[$wdoc])* $word_variant,
            $(#[$ndoc])* $variant($of),
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                if text == $word { Ok(Self::$word_variant) } else { text.parse().map(Self::$variant) }
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(rule: $name) -> Self {
                rule.to_string()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    Self::$word_variant => f.pad($word),
                    Self::$variant(name) => fmt::Display::fmt(name, f),
                }
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                let name = generator.subschema_for::<$of>();
                json_schema!({ "anyOf": [{ "type": "string", "const": $word }, name] })
            }
        }
    };
}

rule! {
    /// One entry of `subjects.users`.
    SubjectRule,
    /// `*`: everybody who is authenticated.
    Everybody = "*",
    /// One subject.
    Named(Subject)
}

rule! {
    /// One entry of `servers.names`.
    ServerRule,
    /// `*`: every server.
    All = "*",
    /// One server.
    Named(ServerName)
}

rule! {
    /// One entry of `logins`.
    LoginRule,
    /// `{login}`: the login that the mapping gives the person at that server; never `root`.
    Mapped = "{login}",
    /// This login, literally.
    Literal(Login)
}

fn ssh_only() -> Vec<Permission> {
    vec![Permission::Ssh]
}

fn check_change(_: &AccessPolicy, _: &AccessPolicy, _: &mut Vec<FieldError>) {}

fn check(policy: &AccessPolicy, errors: &mut Vec<FieldError>) {
    let AccessPolicySpec {
        subjects,
        servers,
        logins,
        permissions,
        constraints,
    } = &policy.spec;
    let mut wrong = |path: &str, message: &str| errors.push(FieldError::new(path, message));

    if subjects.users.is_empty() && subjects.groups.is_empty() && subjects.claims.is_empty() {
        wrong(
            "spec.subjects",
            "names nobody; list users, groups or claims (`users: [\"*\"]` is everybody)",
        );
    }
    if servers.names.is_empty() && servers.match_labels.is_empty() {
        wrong(
            "spec.servers",
            "selects nothing; list names or matchLabels (`names: [\"*\"]` is every server)",
        );
    }
    if logins.is_empty() {
        wrong(
            "spec.logins",
            "lists no login; `{login}` is the one a person's identity gives",
        );
    }
    if permissions.is_empty() {
        wrong("spec.permissions", "lists no permission");
    }
    for (path, length) in [
        ("spec.subjects.users", subjects.users.len()),
        ("spec.subjects.groups", subjects.groups.len()),
        ("spec.subjects.claims", subjects.claims.len()),
        ("spec.servers.names", servers.names.len()),
        ("spec.servers.matchLabels", servers.match_labels.len()),
        ("spec.logins", logins.len()),
        ("spec.permissions", permissions.len()),
        (
            "spec.constraints.sourceRanges",
            constraints.source_ranges.len(),
        ),
    ] {
        if length > POLICY_LIST_MAX {
            wrong(
                path,
                &format!("{length} entries, at most {POLICY_LIST_MAX}"),
            );
        }
    }
    for (index, group) in subjects.groups.iter().enumerate() {
        if *group == "*" {
            let message = "`*` means nothing here; `spec.subjects.users: [\"*\"]` is everybody";
            wrong(&format!("spec.subjects.groups[{index}]"), message);
        }
    }
    for (claim, values) in &subjects.claims {
        check_claim(claim, values, &mut wrong);
    }
    for (index, permission) in permissions.iter().enumerate() {
        if let Permission::Unknown(_) = permission {
            let message = format!("`{permission}` is no permission; there is `ssh`");
            wrong(&format!("spec.permissions[{index}]"), &message);
        }
    }
    for (index, net) in constraints.source_ranges.iter().enumerate() {
        if *net != net.trunc() {
            let message = format!(
                "`{net}` has bits beyond its prefix; did you mean `{}`?",
                net.trunc()
            );
            wrong(&format!("spec.constraints.sourceRanges[{index}]"), &message);
        }
    }
    if constraints.max_session_seconds == Some(0) {
        wrong("spec.constraints.maxSessionSeconds", "must be at least 1");
    }
}

fn check_claim(claim: &str, values: &[String], wrong: &mut impl FnMut(&str, &str)) {
    let shown = crate::text::Printable::new(claim);
    let path = format!("spec.subjects.claims[{shown}]");
    if claim.parse::<Group>().is_err() {
        wrong(&path, "is no legal claim name");
    }
    if values.is_empty() {
        wrong(&path, "lists no value");
    }
    if values.len() > POLICY_LIST_MAX {
        wrong(
            &path,
            &format!("{} values, at most {POLICY_LIST_MAX}", values.len()),
        );
    }
    for (index, value) in values.iter().enumerate() {
        let path = format!("{path}[{index}]");
        if value == "*" {
            wrong(&path, "`*` means nothing here; list the values");
        } else if let Err(error) = value.parse::<Subject>() {
            wrong(&path, error.problem());
        }
    }
}
