//! Hours of the week: over midnight, over the change of the clocks, and when to look again.

use kedge_api::Time;
use kedge_api::policy::PolicyReason;
use serde_json::{Value, json};

use crate::world::{Ask, decide, policy};

fn look(windows: &Value, now: &'static str) -> (bool, Option<String>) {
    let spec = json!({
        "subjects": {"users": ["*"]}, "servers": {"names": ["*"]}, "logins": ["{login}"],
        "constraints": {"timeWindows": windows},
    });
    let ask = Ask {
        now,
        ..Ask::default()
    };
    let decision = decide(&[policy("a", &spec)], &ask);
    let open = decision.is_allowed();
    assert_eq!(open, decision.trace[0].reason != PolicyReason::TimeWindow);
    (open, decision.review_at.map(|at| at.to_string()))
}

fn check(windows: &Value, cases: &[(&'static str, bool, &str)]) {
    for (now, open, next) in cases {
        assert_eq!(
            look(windows, now),
            (*open, Some((*next).to_owned())),
            "{now}"
        );
    }
}

#[test]
fn office_hours() {
    let office = json!([{
        "days": ["Mon", "Tue", "Wed", "Thu", "Fri"], "from": "08:00", "to": "18:00", "timeZone": "Europe/Berlin",
    }]);
    check(
        &office,
        &[
            // 2026-01-01 is a Thursday; Berlin is an hour ahead.
            ("2026-01-01T06:59:59Z", false, "2026-01-01T07:00:00Z"),
            ("2026-01-01T07:00:00Z", true, "2026-01-01T17:00:00Z"),
            ("2026-01-01T16:59:59Z", true, "2026-01-01T17:00:00Z"),
            ("2026-01-01T17:00:00Z", false, "2026-01-02T07:00:00Z"),
            ("2026-01-02T17:00:00Z", false, "2026-01-05T07:00:00Z"),
            // In summer it is two.
            ("2026-07-01T05:59:59Z", false, "2026-07-01T06:00:00Z"),
            ("2026-07-01T06:00:00Z", true, "2026-07-01T16:00:00Z"),
        ],
    );
}

#[test]
fn over_midnight_it_is_the_day_of_the_beginning_that_counts() {
    let night = json!([{"days": ["Fri"], "from": "22:00", "to": "06:00"}]);
    check(
        &night,
        &[
            ("2026-01-02T05:00:00Z", false, "2026-01-02T22:00:00Z"),
            ("2026-01-02T22:00:00Z", true, "2026-01-03T06:00:00Z"),
            ("2026-01-03T00:00:00Z", true, "2026-01-03T06:00:00Z"),
            ("2026-01-03T05:59:59Z", true, "2026-01-03T06:00:00Z"),
            ("2026-01-03T06:00:00Z", false, "2026-01-09T22:00:00Z"),
        ],
    );
    // The same time twice is a whole day.
    let day = json!([{"days": ["Sat"], "from": "00:00", "to": "00:00"}]);
    check(
        &day,
        &[
            ("2026-01-02T23:59:59Z", false, "2026-01-03T00:00:00Z"),
            ("2026-01-03T12:00:00Z", true, "2026-01-04T00:00:00Z"),
            ("2026-01-04T00:00:00Z", false, "2026-01-10T00:00:00Z"),
        ],
    );
    let same = json!([{"days": ["Sat"], "from": "00:00", "to": "24:00"}]);
    assert_eq!(
        look(&same, "2026-01-03T12:00:00Z"),
        look(&day, "2026-01-03T12:00:00Z")
    );
}

#[test]
fn when_the_clocks_go_forward() {
    // Berlin, 2026-03-29: 02:00 becomes 03:00, at 01:00 UTC.
    let night = json!([{"from": "01:30", "to": "02:30", "timeZone": "Europe/Berlin"}]);
    check(
        &night,
        &[
            ("2026-03-29T00:29:59Z", false, "2026-03-29T00:30:00Z"),
            ("2026-03-29T00:30:00Z", true, "2026-03-29T01:30:00Z"),
            // It lasts its hour: 02:30, which clocks skip, is 03:30.
            ("2026-03-29T01:29:59Z", true, "2026-03-29T01:30:00Z"),
            ("2026-03-29T01:30:00Z", false, "2026-03-29T23:30:00Z"),
        ],
    );
    let skipped = json!([{"from": "02:15", "to": "02:45", "timeZone": "Europe/Berlin"}]);
    check(
        &skipped,
        &[
            ("2026-03-29T01:14:59Z", false, "2026-03-29T01:15:00Z"),
            ("2026-03-29T01:15:00Z", true, "2026-03-29T01:45:00Z"),
        ],
    );
    // A window whose beginning is put after its end does not open that day.
    let swallowed = json!([{"from": "02:30", "to": "03:00", "timeZone": "Europe/Berlin"}]);
    assert!(!look(&swallowed, "2026-03-29T01:00:00Z").0);
    assert!(!look(&swallowed, "2026-03-29T01:30:00Z").0);
    assert!(look(&swallowed, "2026-03-30T00:30:00Z").0);
}

#[test]
fn when_the_clocks_go_back() {
    // Berlin, 2026-10-25: 03:00 becomes 02:00, at 01:00 UTC.
    let night = json!([{"from": "01:30", "to": "02:30", "timeZone": "Europe/Berlin"}]);
    check(
        &night,
        &[
            ("2026-10-24T23:30:00Z", true, "2026-10-25T00:30:00Z"),
            // The first 02:30 counts; the second is outside.
            ("2026-10-25T00:30:00Z", false, "2026-10-26T00:30:00Z"),
            ("2026-10-25T01:15:00Z", false, "2026-10-26T00:30:00Z"),
        ],
    );
    let across = json!([{"from": "22:00", "to": "06:00", "timeZone": "Europe/Berlin"}]);
    check(
        &across,
        &[("2026-10-24T20:00:00Z", true, "2026-10-25T05:00:00Z")],
    );
}

#[test]
fn a_denial_holds_through_every_hour_that_is_in_doubt() {
    let denied = |from: &str, to: &str, now: &'static str| {
        let window = json!({"from": from, "to": to, "timeZone": "Europe/Berlin"});
        let allow = json!({
            "subjects": {"users": ["*"]}, "servers": {"names": ["*"]}, "logins": ["{login}"],
        });
        let deny = json!({
            "effect": "Deny", "subjects": {"users": ["*"]}, "servers": {"names": ["*"]}, "logins": ["*"],
            "constraints": {"timeWindows": [window]},
        });
        let ask = Ask {
            now,
            ..Ask::default()
        };
        let decision = decide(&[policy("a", &allow), policy("d", &deny)], &ask);
        assert!(decision.review_at.is_some(), "{now}");
        !decision.is_allowed()
    };
    // 02:00 becomes 03:00, at 01:00 UTC: 02:30 does not come, and 03:05 does.
    assert!(denied("02:30", "03:10", "2026-03-29T01:00:00Z"));
    assert!(denied("02:30", "03:10", "2026-03-29T01:05:00Z"));
    assert!(!denied("02:30", "03:10", "2026-03-29T01:10:00Z"));
    // 03:00 becomes 02:00, at 01:00 UTC: 02:15 comes twice.
    for twice in ["2026-10-25T00:15:00Z", "2026-10-25T01:15:00Z"] {
        assert!(denied("02:10", "02:20", twice), "{twice}");
        assert!(denied("01:30", "02:30", twice), "{twice}");
    }
    assert!(!denied("01:30", "02:30", "2026-10-25T01:30:00Z"));
    // On every other day it is what it says.
    assert!(denied("02:10", "02:20", "2026-10-26T01:15:00Z"));
    assert!(!denied("02:10", "02:20", "2026-10-26T01:20:00Z"));
}

#[test]
fn where_midnight_does_not_exist() {
    // Santiago, 2026-09-06: 00:00 becomes 01:00, at 04:00 UTC.
    let sunday =
        json!([{"days": ["Sun"], "from": "00:00", "to": "24:00", "timeZone": "America/Santiago"}]);
    check(
        &sunday,
        &[
            ("2026-09-06T03:59:59Z", false, "2026-09-06T04:00:00Z"),
            ("2026-09-06T04:00:00Z", true, "2026-09-07T03:00:00Z"),
        ],
    );
}

#[test]
fn zones_that_are_hours_and_a_day_away() {
    // Kiritimati is 14 hours ahead: its Monday begins on Sunday at 10:00 UTC.
    let monday = json!([{"days": ["Mon"], "from": "00:00", "to": "24:00", "timeZone": "Pacific/Kiritimati"}]);
    check(
        &monday,
        &[
            ("2026-01-04T09:59:59Z", false, "2026-01-04T10:00:00Z"),
            ("2026-01-04T10:00:00Z", true, "2026-01-05T10:00:00Z"),
        ],
    );
}

#[test]
fn the_end_of_time_is_no_panic() {
    let spec = json!([{"from": "22:00", "to": "06:00", "timeZone": "Pacific/Kiritimati"}]);
    for now in [
        "9999-12-30T21:59:59Z",
        "0001-01-01T00:00:00Z",
        "-009999-01-03T00:00:00Z",
    ] {
        look(&spec, now);
    }
}

#[test]
fn beginning_and_end_and_hours_make_one_next_moment() {
    let review = |constraints: Value, now| {
        let spec = json!({
            "subjects": {"users": ["*"]}, "servers": {"names": ["*"]}, "logins": ["{login}"],
            "constraints": constraints,
        });
        let ask = Ask {
            now,
            ..Ask::default()
        };
        decide(&[policy("a", &spec)], &ask).review_at
    };
    let at = |text: &str| Some(text.parse::<Time>().unwrap());
    let both = json!({
        "notBefore": "2026-01-01T09:30:00Z", "notAfter": "2026-01-01T17:30:00Z",
        "timeWindows": [{"from": "08:00", "to": "18:00"}],
    });
    for (now, expected) in [
        ("2026-01-01T07:00:00Z", at("2026-01-01T09:30:00Z")),
        ("2026-01-01T09:30:00Z", at("2026-01-01T17:30:00Z")),
        ("2026-01-01T17:30:00Z", None),
    ] {
        assert_eq!(review(both.clone(), now), expected, "{now}");
    }
    assert_eq!(review(json!({}), "2026-01-01T07:00:00Z"), None);
}

#[test]
fn only_policies_that_time_alone_keeps_away_are_waited_for() {
    let soon = json!({"notAfter": "2026-01-01T12:30:00Z"});
    let spec = |subjects: Value| json!({"subjects": subjects, "servers": {"names": ["*"]}, "logins": ["{login}"], "constraints": soon});
    let bob = policy("b", &spec(json!({"users": ["bob"]})));
    assert_eq!(decide(&[bob], &Ask::default()).review_at, None);
    let alice = policy("a", &spec(json!({"users": ["alice"]})));
    assert!(decide(&[alice], &Ask::default()).review_at.is_some());
}
