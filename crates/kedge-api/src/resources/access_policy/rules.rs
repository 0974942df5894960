//! Entries of a policy's lists: a word with a meaning, or a legal name.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::Permission;
use super::hub::{HubResource, Verb};
use crate::defaults::SUBJECT_MAX_BYTES;
use crate::names::{ClaimName, Issuer, Login, NameError, ServerName, Subject};

/// What goes through JSON as the text it is.
macro_rules! through_text {
    ($name:ident) => {
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
    };
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

        through_text! { $name }

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
    /// `*`: everybody of the issuers that the policy is about.
    Everybody = "*",
    /// One person, by the name that policies call them.
    Named(Subject)
}

rule! {
    /// One entry of `subjects.issuers`.
    IssuerRule,
    /// `*`: every issuer that the hub trusts.
    Any = "*",
    /// One issuer, exactly as it calls itself, or `static`.
    Named(Issuer)
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
    /// One entry of `permissions`.
    PermissionRule,
    /// `*`: whatever they want to do. Only to deny it.
    Any = "*",
    /// One permission.
    Named(Permission)
}

rule! {
    /// One entry of `hub.rules[].verbs`.
    VerbRule,
    /// `*`: every verb.
    Any = "*",
    /// One verb.
    Named(Verb)
}

rule! {
    /// One entry of `hub.rules[].resources`.
    ResourceRule,
    /// `*`: every resource.
    Any = "*",
    /// One resource.
    Named(HubResource)
}

/// One entry of `logins`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum LoginRule {
    /// `*`: any login. Only to deny it.
    Any,
    /// `{claim}`: a login that this claim of the person holds; never `root`.
    Claim(ClaimName),
    /// This login, literally.
    Literal(Login),
    /// `{login}`: the login that the mapping gives the person at that server; never `root`.
    Mapped,
}

impl FromStr for LoginRule {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'))
        {
            Some("login") => Ok(Self::Mapped),
            Some(claim) => claim.parse().map(Self::Claim),
            None if text == "*" => Ok(Self::Any),
            None => text.parse().map(Self::Literal),
        }
    }
}

through_text! { LoginRule }

impl fmt::Display for LoginRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.pad("*"),
            Self::Claim(claim) => write!(f, "{{{claim}}}"),
            Self::Literal(login) => fmt::Display::fmt(login, f),
            Self::Mapped => f.pad("{login}"),
        }
    }
}

impl JsonSchema for LoginRule {
    fn schema_name() -> Cow<'static, str> {
        "LoginRule".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let login = generator.subschema_for::<Login>();
        json_schema!({ "anyOf": [
            { "type": "string", "const": "*" },
            {
                "type": "string",
                "maxLength": SUBJECT_MAX_BYTES + 2,
                "pattern": "^\\{[^\\s{}]([^{}]*[^\\s{}])?\\}$",
            },
            login,
        ] })
    }
}
