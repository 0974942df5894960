//! Conditions on labels and claims, in the words of Kubernetes' `matchExpressions`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::defaults::POLICY_LIST_MAX;
use crate::names::{ClaimName, LabelKey, LabelValue, Labels, Subject};
use crate::wire_enum::closed_enum;

closed_enum! {
    /// How a condition compares.
    Operator, "operator" {
        /// There is none.
        DoesNotExist = "DoesNotExist",
        /// There is one, whatever it says.
        Exists = "Exists",
        /// It is one of the values.
        In = "In",
        /// It is none of the values, or there is none.
        NotIn = "NotIn",
    }
}

/// What a server's label must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabelRequirement {
    /// The label.
    pub key: LabelKey,
    /// How it is compared.
    pub operator: Operator,
    /// With what; only for `In` and `NotIn`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = POLICY_LIST_MAX))]
    pub values: Vec<LabelValue>,
}

/// What a person's claim must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClaimRequirement {
    /// The claim.
    pub key: ClaimName,
    /// How it is compared.
    pub operator: Operator,
    /// With what; only for `In` and `NotIn`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<Subject>", length(max = POLICY_LIST_MAX))]
    pub values: Vec<String>,
}

/// What to make of a claim whose shape cannot be compared: a number, an object, a list with one of them in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// The condition does not hold: somebody is to be let in by it.
    Fails,
    /// It holds: somebody is to be kept out by it.
    Holds,
}

impl LabelRequirement {
    /// Whether labels meet it.
    #[must_use]
    pub fn holds(&self, labels: &Labels) -> bool {
        let held = labels.value(self.key.as_str());
        match self.operator {
            Operator::DoesNotExist => held.is_none(),
            Operator::Exists => held.is_some(),
            Operator::In => held.is_some_and(|value| self.values.contains(value)),
            Operator::NotIn => held.is_none_or(|value| !self.values.contains(value)),
        }
    }

    pub(crate) fn check(&self, path: &str, wrong: &mut impl FnMut(&str, &str)) {
        check_values(self.operator, self.values.len(), path, wrong);
    }
}

impl ClaimRequirement {
    /// Whether a claim meets it. A text, `true`, `false` and a list of them can be compared; `null` is as good as
    /// absent.
    pub(crate) fn holds(&self, claim: Option<&serde_json::Value>, unreadable: Unreadable) -> bool {
        let claim = claim.filter(|value| !value.is_null());
        match (self.operator, claim) {
            (Operator::DoesNotExist, claim) => claim.is_none(),
            (Operator::Exists, claim) => claim.is_some(),
            (Operator::In, None) => false,
            (Operator::NotIn, None) => true,
            (Operator::In, Some(held)) => match self.compare(held) {
                Comparison::Listed => true,
                Comparison::Other => false,
                Comparison::Unreadable => unreadable == Unreadable::Holds,
            },
            (Operator::NotIn, Some(held)) => match self.compare(held) {
                Comparison::Listed => false,
                Comparison::Other => true,
                Comparison::Unreadable => unreadable == Unreadable::Holds,
            },
        }
    }

    fn compare(&self, held: &serde_json::Value) -> Comparison {
        let mut verdict = Comparison::Other;
        let items = match held {
            serde_json::Value::Array(list) => list.as_slice(),
            single => std::slice::from_ref(single),
        };
        for item in items {
            match text(item) {
                Some(text) if self.values.iter().any(|value| value == text) => {
                    return Comparison::Listed;
                }
                Some(_) => {}
                None => verdict = Comparison::Unreadable,
            }
        }
        verdict
    }

    pub(crate) fn check(&self, path: &str, wrong: &mut impl FnMut(&str, &str)) {
        check_values(self.operator, self.values.len(), path, wrong);
        for (index, value) in self.values.iter().enumerate() {
            let path = format!("{path}.values[{index}]");
            if value == "*" {
                wrong(&path, "`*` means nothing here; use the operator `Exists`");
            } else if let Err(error) = value.parse::<Subject>() {
                wrong(&path, error.problem());
            }
        }
    }
}

enum Comparison {
    Listed,
    Other,
    Unreadable,
}

/// The text of a claim, or of one item of its list.
fn text(item: &serde_json::Value) -> Option<&str> {
    match item {
        serde_json::Value::String(text) => Some(text),
        serde_json::Value::Bool(true) => Some("true"),
        serde_json::Value::Bool(false) => Some("false"),
        _ => None,
    }
}

fn check_values(operator: Operator, count: usize, path: &str, wrong: &mut impl FnMut(&str, &str)) {
    let path = format!("{path}.values");
    match operator {
        Operator::In | Operator::NotIn if count == 0 => {
            wrong(
                &path,
                &format!("lists no value, and `{operator}` needs one"),
            );
        }
        Operator::Exists | Operator::DoesNotExist if count > 0 => {
            wrong(
                &path,
                &format!("must be absent: `{operator}` compares with nothing"),
            );
        }
        _ if count > POLICY_LIST_MAX => {
            wrong(&path, &format!("{count} values, at most {POLICY_LIST_MAX}"));
        }
        _ => {}
    }
}
