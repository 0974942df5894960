//! A session and the token it began with: it costs the issuer nothing, and ends when it is meant to.

use crate::prelude::*;
use crate::trusting::*;

fn greeted(trusting: &Trusting, token: &str) -> Result<Client> {
    let mut client = trusting
        .open(token, None)?
        .map_err(|(code, said)| anyhow::anyhow!("{code:?} {said}"))?;
    ensure!(client.read(BANNER.len())? == BANNER);
    Ok(client)
}

/// Good for so many seconds, and issued just now.
fn short(trusting: &Trusting, seconds: i64) -> Result<String> {
    let now = trusting.issuer.claims("alice")?["iat"]
        .as_i64()
        .context("a time")?;
    trusting
        .issuer
        .id_token_with("alice", &json!({"exp": now + seconds}))
}

#[test]
fn a_new_session_costs_no_request_to_the_issuer() -> Result<()> {
    case(|t| {
        let trusting = Trusting::start(t)?;
        greeted(&trusting, &trusting.issuer.id_token("alice")?)?;
        let before = trusting.issuer.requests();
        for person in ["alice", "bob", "alice"] {
            // A token each, none of them seen before.
            greeted(&trusting, &trusting.issuer.id_token(person)?)?;
        }
        ensure!(
            trusting.issuer.requests() == before,
            "{before:?} became {:?}",
            trusting.issuer.requests()
        );
        Ok(())
    })
}

#[test]
fn a_session_outlives_its_token_unless_told_otherwise() -> Result<()> {
    case(|t| {
        let trusting = Trusting::start(t)?;
        // 60 s of leeway are given to clocks, so this is one that has run out already, in all but the leeway.
        let token = short(&trusting, -56)?;
        let mut client = greeted(&trusting, &token)?;
        wait::until_true("the token to be refused", defaults::SOON, || {
            Ok(trusting.status(&token)? == 401)
        })?;
        client.write(b"still here")?;
        ensure!(client.read(10)? == b"still here");
        Ok(())
    })
}

#[test]
fn a_session_ends_when_its_tokens_grace_does() -> Result<()> {
    case(|t| {
        let mut trusting = Trusting::with(t, IssuerOptions::default(), |options| {
            options
                .extra
                .push_str("[session]\ntoken-grace-seconds = 2\n");
        })?;
        let mut ending = greeted(&trusting, &short(&trusting, 3)?)?;
        let mut lasting = greeted(&trusting, &trusting.issuer.id_token("bob")?)?;
        let (code, said) = ending.reset(defaults::SOON)?;
        ensure!(!said.is_empty(), "{code:?} without a reason");
        lasting.write(b"still here")?;
        ensure!(lasting.read(10)? == b"still here");
        let closed = trusting.cheap.hub.audited("the end", |event| {
            text(event, "event") == "session.closed" && text(event, "subject") == "alice"
        })?;
        ensure!(text(&closed, "how") != "closed", "{closed}");
        Ok(())
    })
}

#[test]
fn a_deny_policy_ends_a_live_session_and_names_itself() -> Result<()> {
    case(|t| {
        let mut trusting = Trusting::start(t)?;
        let mut alice = greeted(&trusting, &trusting.issuer.id_token("alice")?)?;
        let mut bob = greeted(&trusting, &trusting.issuer.id_token("bob")?)?;
        let mut deny = policy("left-the-company", json!({"users": ["alice"]}), &["*"]);
        deny["spec"]["effect"] = json!("Deny");
        deny["spec"]["permissions"] = json!(["*"]);
        let start = std::time::Instant::now();
        trusting.cheap.admin.apply(&deny)?;
        alice.reset(defaults::SOON)?;
        ensure!(
            start.elapsed() < Duration::from_secs(11),
            "{:?}",
            start.elapsed()
        );
        bob.write(b"still here")?;
        ensure!(bob.read(10)? == b"still here");
        let Err((code, _)) = trusting.open(&trusting.issuer.id_token("alice")?, None)? else {
            bail!("alice came back")
        };
        ensure!(
            matches!(code, RefuseCode::Denied | RefuseCode::NotFound),
            "{code:?}"
        );
        trusting
            .cheap
            .hub
            .audited("the deny rule's name", |event| {
                text(event, "event") == "session.refused"
                    && event.to_string().contains("left-the-company")
            })?;
        Ok(())
    })
}

#[test]
fn constraints_hold_for_people_of_an_issuer() -> Result<()> {
    case(|t| {
        let trusting = Trusting::start(t)?;
        let now = trusting.issuer.claims("alice")?["iat"]
            .as_i64()
            .context("a time")?;
        let with = |change: Value| trusting.issuer.id_token_with("alice", &change);
        let fresh = with(json!({"amr": ["pwd", "mfa"]}))?;
        let stale = with(json!({"amr": ["pwd", "mfa"], "auth_time": now - 7200}))?;
        let unsaid = with(json!({"amr": ["pwd", "mfa"], "auth_time": null}))?;
        let weak = with(json!({"amr": ["pwd"]}))?;
        let none = with(json!({"amr": null}))?;
        let attempts = [
            (json!({"maxAuthAge": "1h"}), &fresh, true),
            (json!({"maxAuthAge": "1h"}), &stale, false),
            (json!({"maxAuthAge": "1h"}), &unsaid, false),
            (mfa(), &fresh, true),
            (mfa(), &weak, false),
            (mfa(), &none, false),
            (window(true), &fresh, true),
            (window(false), &fresh, false),
        ];
        for (constraints, token, allowed) in attempts {
            let mut only = policy("everybody", json!({"users": ["*"]}), &["{login}"]);
            only["spec"]["constraints"] = constraints.clone();
            trusting.cheap.admin.apply(&only)?;
            let granted = trusting.open(token, None)?.is_ok();
            ensure!(granted == allowed, "{constraints}: {granted}");
        }
        Ok(())
    })
}

fn mfa() -> Value {
    json!({"requiredClaims": [{"key": "amr", "operator": "In", "values": ["mfa"]}]})
}

/// A time window that is open all the time, or on no day that this test can run on.
fn window(open: bool) -> Value {
    // Jump two days ahead of any time zone's today.
    let days = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    let seconds = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    // 1970 began on a Thursday.
    let today = usize::try_from((seconds / 86_400 + 3) % 7).unwrap_or_default();
    let chosen: Vec<&str> = if open {
        days.to_vec()
    } else {
        vec![days[(today + 3) % 7]]
    };
    json!({"timeWindows": [{"days": chosen, "from": "00:00", "to": "00:00", "timeZone": "Europe/Berlin"}]})
}

#[test]
fn a_session_ends_when_the_policy_that_allows_it_runs_out() -> Result<()> {
    case(|t| {
        let mut trusting = Trusting::start(t)?;
        let ends = jiff::Timestamp::now() + Duration::from_secs(4);
        let mut ending = policy("everybody", json!({"users": ["*"]}), &["{login}"]);
        ending["spec"]["constraints"] = json!({"notAfter": ends.to_string()});
        trusting.cheap.admin.apply(&ending)?;
        let start = std::time::Instant::now();
        let mut client = greeted(&trusting, &trusting.issuer.id_token("alice")?)?;
        client.reset(defaults::SOON)?;
        ensure!(
            start.elapsed() < Duration::from_secs(14),
            "it took {:?}",
            start.elapsed()
        );
        trusting.cheap.hub.audited("the end", |event| {
            text(event, "event") == "session.closed" && text(event, "subject") == "alice"
        })?;
        ensure!(
            trusting
                .open(&trusting.issuer.id_token("alice")?, None)?
                .is_err(),
            "alice came back"
        );
        Ok(())
    })
}

#[test]
fn no_more_sessions_at_once_than_the_policy_says() -> Result<()> {
    case(|t| {
        let trusting = Trusting::start(t)?;
        let mut two = policy("everybody", json!({"users": ["*"]}), &["{login}"]);
        two["spec"]["constraints"] = json!({"maxSessions": 2});
        trusting.cheap.admin.apply(&two)?;
        let token = trusting.issuer.id_token("alice")?;
        let first = greeted(&trusting, &token)?;
        let _second = greeted(&trusting, &token)?;
        ensure!(trusting.open(&token, None)?.is_err(), "a third got in");
        greeted(&trusting, &trusting.issuer.id_token("bob")?)?;
        drop(first);
        wait::until_true("the place of the first", defaults::SOON, || {
            Ok(trusting.open(&token, None)?.is_ok())
        })
    })
}
