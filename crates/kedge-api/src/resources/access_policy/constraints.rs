//! The circumstances under which a policy holds.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::LazyLock;

use ipnet::IpNet;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::defaults::{MAX_SESSIONS_MAX, POLICY_LIST_MAX, SUBJECT_MAX_BYTES, TIME_WINDOWS_MAX};
use crate::expression::ClaimRequirement;
use crate::names::NameError;
use crate::span::Span;
use crate::time::Time;
use crate::wire_enum::closed_enum;

/// The circumstances under which a policy holds: all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Constraints {
    /// Networks to come from (CIDR). None means anywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<Network>", length(max = POLICY_LIST_MAX))]
    pub source_ranges: Vec<IpNet>,
    /// When the policy begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Time>,
    /// When the policy ends, and with it the sessions it allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Time>,
    /// Hours of the week: any of these. None means always.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = TIME_WINDOWS_MAX))]
    pub time_windows: Vec<TimeWindow>,
    /// The longest a session may last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_session: Option<Span>,
    /// How long ago the person may have proved who they are to the issuer when a session begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_auth_age: Option<Span>,
    /// What the person's claims must be, beyond being who they are: `amr` and `acr` above all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = POLICY_LIST_MAX))]
    pub required_claims: Vec<ClaimRequirement>,
    /// How many sessions the person may have at once, this one included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = MAX_SESSIONS_MAX))]
    pub max_sessions: Option<u32>,
}

/// Some hours of some days of the week. With `to` at or before `from` they end on the day after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TimeWindow {
    /// The days on which it begins. None means every day.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = Day::ALL.len()))]
    pub days: Vec<Day>,
    /// When it begins, by the clocks of the time zone.
    pub from: TimeOfDay,
    /// When it has ended.
    pub to: TimeOfDay,
    /// Whose clocks.
    #[serde(default)]
    pub time_zone: Zone,
}

closed_enum! {
    /// A day of the week.
    Day, "day" {
        /// Friday.
        Friday = "Fri",
        /// Monday.
        Monday = "Mon",
        /// Saturday.
        Saturday = "Sat",
        /// Sunday.
        Sunday = "Sun",
        /// Thursday.
        Thursday = "Thu",
        /// Tuesday.
        Tuesday = "Tue",
        /// Wednesday.
        Wednesday = "Wed",
    }
}

/// A time of day: `08:00` to `24:00`, in minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct TimeOfDay(u16);

/// A time zone by its name in the IANA database: `Europe/Berlin`, `UTC`.
///
/// The rules are those that this program was built with, so that hub and command line say the same on every machine.
#[derive(Clone, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Zone {
    name: String,
    zone: TimeZone,
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

    pub(super) fn check(&self, wrong: &mut impl FnMut(&str, &str)) {
        for (list, length, most) in [
            ("sourceRanges", self.source_ranges.len(), POLICY_LIST_MAX),
            ("timeWindows", self.time_windows.len(), TIME_WINDOWS_MAX),
            (
                "requiredClaims",
                self.required_claims.len(),
                POLICY_LIST_MAX,
            ),
        ] {
            if length > most {
                let path = format!("spec.constraints.{list}");
                wrong(&path, &format!("{length} entries, at most {most}"));
            }
        }
        for (index, net) in self.source_ranges.iter().enumerate() {
            if let Some(message) = never_met(*net) {
                wrong(&format!("spec.constraints.sourceRanges[{index}]"), &message);
            } else if *net != net.trunc() {
                let message = format!(
                    "`{net}` has bits beyond its prefix; did you mean `{}`?",
                    net.trunc()
                );
                wrong(&format!("spec.constraints.sourceRanges[{index}]"), &message);
            }
        }
        if let (Some(begin), Some(end)) = (self.not_before, self.not_after)
            && end <= begin
        {
            wrong("spec.constraints.notAfter", "is not after `notBefore`");
        }
        for (index, window) in self.time_windows.iter().enumerate() {
            window.check(&format!("spec.constraints.timeWindows[{index}]"), wrong);
        }
        for (index, claim) in self.required_claims.iter().enumerate() {
            claim.check(&format!("spec.constraints.requiredClaims[{index}]"), wrong);
        }
        if let Some(count) = self.max_sessions
            && !(1..=MAX_SESSIONS_MAX).contains(&count)
        {
            let message = format!("must be between 1 and {MAX_SESSIONS_MAX}");
            wrong("spec.constraints.maxSessions", &message);
        }
    }

    /// What limits a session limits nothing in a policy that denies it.
    pub(super) fn check_denial(&self, wrong: &mut impl FnMut(&str, &str)) {
        for (field, set) in [
            ("maxSession", self.max_session.is_some()),
            ("maxAuthAge", self.max_auth_age.is_some()),
            ("maxSessions", self.max_sessions.is_some()),
        ] {
            if set {
                let path = format!("spec.constraints.{field}");
                wrong(
                    &path,
                    "limits what is allowed, and a policy with effect Deny allows nothing",
                );
            }
        }
    }
}

/// The schema of a network in text. Its longest form has 39 characters and a prefix length of three digits.
struct Network;

impl JsonSchema for Network {
    fn schema_name() -> Cow<'static, str> {
        "Network".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "maxLength": 43,
            "pattern": "^[0-9a-fA-F.:]+/[0-9]{1,3}$",
        })
    }
}

/// What is wrong with a network in which nobody ever is: addresses of IPv4 count as such, also in IPv6 (RFC 4291
/// §2.5.5.2), so that a denial of it would deny nobody.
fn never_met(net: IpNet) -> Option<String> {
    let IpNet::V6(net) = net else { return None };
    let v4 = net.network().to_ipv4_mapped()?;
    let length = net.prefix_len().checked_sub(IPV4_MAPPED_BITS)?;
    Some(format!(
        "`{net}` is IPv4 written as IPv6; write `{v4}/{length}`"
    ))
}

/// Bits before an IPv4 address in an IPv6 one.
const IPV4_MAPPED_BITS: u8 = 96;

impl TimeWindow {
    fn check(&self, path: &str, wrong: &mut impl FnMut(&str, &str)) {
        if self.from == TimeOfDay::END {
            wrong(
                &format!("{path}.from"),
                "`24:00` only ends a window; write `00:00`",
            );
        }
        for (index, day) in self.days.iter().enumerate() {
            if self.days.iter().take(index).any(|earlier| earlier == day) {
                wrong(
                    &format!("{path}.days[{index}]"),
                    &format!("`{day}` is there twice"),
                );
            }
        }
    }
}

impl TimeOfDay {
    /// The end of the day.
    pub const END: Self = Self(24 * 60);

    /// Minutes since midnight, by a clock that is not put forward or back.
    #[must_use]
    pub const fn minutes(self) -> u16 {
        self.0
    }
}

impl FromStr for TimeOfDay {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let wrong = || {
            NameError::new(
                "time of day",
                text,
                "write `HH:MM`, from `00:00` to `24:00`",
            )
        };
        let two = |part: &str| -> Option<u16> {
            let digits = part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| part.parse().ok()).flatten()
        };
        let (hours, minutes) = text.split_once(':').ok_or_else(wrong)?;
        match (two(hours), two(minutes)) {
            (Some(24), Some(0)) => Ok(Self::END),
            (Some(hours @ 0..24), Some(minutes @ 0..60)) => Ok(Self(hours * 60 + minutes)),
            _ => Err(wrong()),
        }
    }
}

impl TryFrom<String> for TimeOfDay {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<TimeOfDay> for String {
    fn from(time: TimeOfDay) -> Self {
        time.to_string()
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

impl JsonSchema for TimeOfDay {
    fn schema_name() -> Cow<'static, str> {
        "TimeOfDay".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "maxLength": 5,
            "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$",
        })
    }
}

impl Zone {
    /// Its name in the IANA database.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// Its rules.
    #[must_use]
    pub fn rules(&self) -> &TimeZone {
        &self.zone
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self {
            name: "UTC".to_owned(),
            zone: TimeZone::UTC,
        }
    }
}

impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Zone {}

impl FromStr for Zone {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);
        let wrong = || {
            let problem =
                "there is no such time zone; write its IANA name, such as `Europe/Berlin`";
            NameError::new("time zone", text, problem)
        };
        if text.len() > SUBJECT_MAX_BYTES {
            return Err(wrong());
        }
        if text == "UTC" {
            return Ok(Self::default());
        }
        let zone = ZONES.get(text).map_err(|_| wrong())?;
        // The database looks names up in any case; what is stored is the one spelling it has.
        let name = zone.iana_name().unwrap_or(text).to_owned();
        Ok(Self { name, zone })
    }
}

impl TryFrom<String> for Zone {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Zone> for String {
    fn from(zone: Zone) -> Self {
        zone.name
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name)
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.name)
    }
}

impl JsonSchema for Zone {
    fn schema_name() -> Cow<'static, str> {
        "Zone".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "maxLength": SUBJECT_MAX_BYTES,
            "pattern": "^[A-Z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$",
        })
    }
}
