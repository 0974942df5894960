//! Lengths of time in JSON.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::defaults::{SPAN_MAX, SPAN_MAX_BYTES, SPAN_MIN};
use crate::names::NameError;

/// A length of time as Kubernetes writes it: `90s`, `8h`, `1h30m`. Whole seconds, from one to ten years.
///
/// ```
/// use kedge_api::Span;
/// assert_eq!("90m".parse::<Span>().unwrap().to_string(), "1h30m");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Span(u64);

impl Span {
    /// As the standard library has it.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.0)
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        span.duration()
    }
}

impl TryFrom<Duration> for Span {
    type Error = NameError;

    fn try_from(duration: Duration) -> Result<Self, NameError> {
        if duration < SPAN_MIN || duration > SPAN_MAX {
            let text = format!("{}s", duration.as_secs());
            return Err(NameError::new("duration", &text, OUT_OF_RANGE));
        }
        Ok(Self(duration.as_secs()))
    }
}

impl FromStr for Span {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let wrong = |problem: &str| NameError::new("duration", text, problem);
        if text.len() > SPAN_MAX_BYTES {
            return Err(wrong("too long"));
        }
        let seconds = seconds(text).ok_or_else(|| {
            wrong("write whole hours, minutes and seconds, such as `8h`, `1h30m` or `90s`")
        })?;
        Self::try_from(Duration::from_secs(seconds)).map_err(|_| wrong(OUT_OF_RANGE))
    }
}

impl TryFrom<String> for Span {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Span> for String {
    fn from(span: Span) -> Self {
        span.to_string()
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (count, unit) in [
            (self.0 / 3600, 'h'),
            (self.0 / 60 % 60, 'm'),
            (self.0 % 60, 's'),
        ] {
            if count > 0 {
                write!(f, "{count}{unit}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl schemars::JsonSchema for Span {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Span".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "maxLength": SPAN_MAX_BYTES,
            "pattern": "^([0-9]+h)?([0-9]+m)?([0-9]+s)?$",
        })
    }
}

/// Each unit at most once, from the largest to the smallest.
fn seconds(text: &str) -> Option<u64> {
    let (mut rest, mut total) = (text, 0_u64);
    for (unit, length) in [('h', 3600), ('m', 60), ('s', 1)] {
        if let Some((count, tail)) = rest.split_once(unit) {
            if count.is_empty() || !count.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            let count: u64 = count.parse().ok()?;
            total = total.checked_add(count.checked_mul(length)?)?;
            rest = tail;
        }
    }
    (rest.is_empty() && !text.is_empty()).then_some(total)
}

const OUT_OF_RANGE: &str = "must be between one second and ten years";
