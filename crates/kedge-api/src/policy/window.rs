//! When a policy holds: its beginning, its end, and its hours of the week.
//!
//! A window is the time between two moments, found by the clocks of its zone. A time that clocks skip in spring is the
//! one as long after midnight (02:30 is 03:30); of one that comes twice in autumn the first counts. A window that
//! denies begins at the earliest and ends at the latest moment that may be meant: nobody slips through an hour that is
//! in doubt.

use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::Disambiguation;
use jiff::{Timestamp, ToSpan};

use super::{Objection, PolicyReason};
use crate::resources::{AccessPolicy, Constraints, Day, Effect, TimeOfDay, TimeWindow};
use crate::time::Time;

pub(super) fn objection(policy: &AccessPolicy, now: Time) -> Objection {
    let (constraints, effect) = (&policy.spec.constraints, policy.spec.effect);
    if constraints.not_before.is_some_and(|begin| now < begin) {
        return Err(PolicyReason::NotYet);
    }
    if constraints.not_after.is_some_and(|end| end <= now) {
        return Err(PolicyReason::Ended);
    }
    let windows = &constraints.time_windows;
    if windows.is_empty() || windows.iter().any(|window| is_open(window, effect, now)) {
        Ok(())
    } else {
        Err(PolicyReason::TimeWindow)
    }
}

pub(super) fn has_begun_and_not_ended(constraints: &Constraints, now: Time) -> bool {
    constraints.not_before.is_none_or(|begin| begin <= now)
        && constraints.not_after.is_none_or(|end| now < end)
}

/// The first moment after `now` at which [`objection`] may answer otherwise.
pub(super) fn next_change(policy: &AccessPolicy, now: Time) -> Option<Time> {
    let (constraints, effect) = (&policy.spec.constraints, policy.spec.effect);
    if constraints.not_after.is_some_and(|end| end <= now) {
        return None;
    }
    if let Some(begin) = constraints.not_before.filter(|begin| now < *begin) {
        return Some(begin);
    }
    let windows = constraints.time_windows.iter();
    windows
        .filter_map(|window| next_moment(window, effect, now))
        .chain(constraints.not_after)
        .min()
}

/// The first beginning or end of a window after `now`.
fn next_moment(window: &TimeWindow, effect: Effect, now: Time) -> Option<Time> {
    let mut next: Option<Time> = None;
    for (begin, end) in moments(window, effect, now, LOOK_AHEAD_DAYS) {
        let moments = [begin, end].into_iter().filter(|moment| now < *moment);
        next = moments.chain(next).min();
        if now < begin {
            // Whatever begins on a later day is later still.
            break;
        }
    }
    next
}

fn is_open(window: &TimeWindow, effect: Effect, now: Time) -> bool {
    moments(window, effect, now, 0).any(|(begin, end)| begin <= now && now < end)
}

/// The windows that begin on the days around now: from the day before, which may run over midnight, to `ahead` days
/// after.
fn moments(
    window: &TimeWindow,
    effect: Effect,
    now: Time,
    ahead: i64,
) -> impl Iterator<Item = (Time, Time)> {
    let today = window.time_zone.rules().to_datetime(now.timestamp()).date();
    let (first, last) = match effect {
        Effect::Allow => (Disambiguation::Compatible, Disambiguation::Compatible),
        Effect::Deny => (Disambiguation::Earlier, Disambiguation::Later),
    };
    (-1..=ahead).filter_map(move |offset| {
        let date = today.checked_add(offset.days()).ok()?;
        if !(window.days.is_empty() || window.days.contains(&day(date.weekday()))) {
            return None;
        }
        let end_date = if window.to <= window.from {
            date.checked_add(1.day()).ok()?
        } else {
            date
        };
        let begin = moment(window, date, window.from, first)?;
        let end = moment(window, end_date, window.to, last)?;
        Some((begin, end))
    })
}

fn moment(
    window: &TimeWindow,
    date: Date,
    time: TimeOfDay,
    in_doubt: Disambiguation,
) -> Option<Time> {
    let civil: DateTime = date
        .at(0, 0, 0, 0)
        .checked_add(i64::from(time.minutes()).minutes())
        .ok()?;
    let moment: Timestamp = window
        .time_zone
        .rules()
        .to_ambiguous_timestamp(civil)
        .disambiguate(in_doubt)
        .ok()?;
    Some(moment.into())
}

fn day(weekday: Weekday) -> Day {
    match weekday {
        Weekday::Monday => Day::Monday,
        Weekday::Tuesday => Day::Tuesday,
        Weekday::Wednesday => Day::Wednesday,
        Weekday::Thursday => Day::Thursday,
        Weekday::Friday => Day::Friday,
        Weekday::Saturday => Day::Saturday,
        Weekday::Sunday => Day::Sunday,
    }
}

/// A window of one day of the week begins again after seven.
const LOOK_AHEAD_DAYS: i64 = 8;
