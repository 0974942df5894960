//! Who has sessions sees them, whoever may ends them, and everybody is told.

use rustix::process::Signal;

use crate::prelude::*;

/// Alice's session, which stays.
fn live(stack: &Stack) -> Result<Live> {
    let command = stack
        .alice
        .kedge_ssh_command(&[SERVER, "echo here; exec cat"]);
    let mut live = Live::start(command)?;
    live.expect("here", defaults::COMMAND)?;
    Ok(live)
}

/// The sessions that somebody sees.
fn seen(person: &Person) -> Result<Vec<Value>> {
    let list = person.kedge(&["sessions", "-o", "json"])?.success()?;
    let list = list.json()?;
    Ok(list["items"].as_array().context("items")?.clone())
}

/// The one that lives, as the administrator sees it.
fn the_one(stack: &Stack) -> Result<Value> {
    wait::until("one session", defaults::SOON, || {
        let mut all = seen(&stack.admin)?;
        Ok(all.pop().filter(|_| all.is_empty()))
    })
}

fn id(session: &Value) -> Result<String> {
    Ok(session["id"].as_str().context("an id")?.to_owned())
}

#[test]
fn its_person_and_an_administrator_see_a_session_and_nobody_else_does() -> Result<()> {
    case(|t| {
        let stack = t.stack()?;
        let bob = t.person(&stack.hub, "bob", None)?;
        let mut live = live(&stack)?;
        live.send("a line\n")?;
        live.expect("a line", defaults::COMMAND)?;
        let session = the_one(&stack)?;
        for (field, wanted) in [
            ("user", "alice"),
            ("subject", "alice"),
            ("server", SERVER),
            ("state", "Attached"),
            ("source", "127.0.0.1"),
        ] {
            ensure!(session[field] == wanted, "{field}: {session}");
        }
        ensure!(session["bytesUp"].as_u64() > Some(100), "{session}");
        for link in ["client", "agent"] {
            ensure!(session[link]["sessions"] == 1, "{session}");
            ensure!(session[link]["since"].is_string(), "{session}");
        }
        wait::until_true("round trips", defaults::SOON, || {
            let one = the_one(&stack)?;
            let measured = |link: &str| one[link]["rttMilliseconds"].is_u64();
            Ok(measured("client") && measured("agent"))
        })?;
        let id = id(&session)?;
        let hers = seen(&stack.alice)?;
        ensure!(hers.len() == 1 && hers[0]["id"] == id.as_str(), "{hers:?}");
        ensure!(seen(&bob)?.is_empty(), "bob sees alice's session");
        // Nor does he end it, by any name.
        for word in [&id, &id[..8]] {
            bob.kedge(&["sessions", "kill", word])?
                .exits(6)?
                .never_says("alice")?;
        }
        let table = stack.alice.kedge(&["sessions"])?.success()?;
        for word in ["USER", "RTT", "Attached", SERVER, " ms"] {
            ensure!(table.out().contains(word), "no {word}: {table}");
        }
        live.finish(defaults::COMMAND)?.success()?;
        wait::until_true("nobody to be there", defaults::SOON, || {
            Ok(seen(&stack.admin)?.is_empty())
        })?;
        Ok(())
    })
}

#[test]
fn who_is_ended_hears_by_whom_and_exits_255() -> Result<()> {
    case(|t| {
        let mut stack = t.stack()?;
        let live = live(&stack)?;
        let id = id(&the_one(&stack)?)?;
        let killed = stack
            .admin
            .kedge(&["sessions", "kill", &id[..10]])?
            .success()?;
        ensure!(killed.out().lines().count() == 1, "{killed}");
        let names_both = killed.out().contains(&id) && killed.out().contains("alice");
        ensure!(names_both, "{killed}");
        let ended = live.wait(defaults::COMMAND)?.exits(255)?;
        let said = ended.err();
        let ours: Vec<_> = said
            .lines()
            .filter(|line| line.starts_with("error:") || line.starts_with("hint:"))
            .collect();
        let wanted = format!("error: the session to `{SERVER}` was ended by admin");
        ensure!(ours == [wanted.as_str()], "{ended}");
        let closed = stack.hub.audited("the end", |event| {
            text(event, "event") == "session.closed" && text(event, "session") == id
        })?;
        ensure!(
            text(&closed, "how") == "killed" && text(&closed, "subject") == "alice",
            "{closed}"
        );
        let killed = stack.hub.audited("who did it", |event| {
            text(event, "event") == "session.killed" && text(event, "session") == id
        })?;
        ensure!(
            text(&killed, "subject") == "admin" && text(&killed, "owner_subject") == "alice",
            "{killed}"
        );
        // It is no ban.
        stack.alice.kedge_ssh(&[SERVER, "true"])?.success()?;
        Ok(())
    })
}

#[test]
fn people_end_their_own_and_with_the_right_to_those_of_others() -> Result<()> {
    case(|t| {
        let stack = t.stack()?;
        let bob = t.person(&stack.hub, "bob", None)?;
        let own = live(&stack)?;
        let session = id(&the_one(&stack)?)?;
        stack
            .alice
            .kedge(&["sessions", "kill", &session])?
            .success()?;
        let ended = own.wait(defaults::COMMAND)?.exits(255)?;
        ended.says(&["was ended by alice"])?;

        let other = live(&stack)?;
        let session = id(&the_one(&stack)?)?;
        let rights = |verbs: Value| {
            json!({
                "apiVersion": "kedge.dev/v1alpha1", "kind": "AccessPolicy", "metadata": {"name": "on-call"},
                "spec": {
                    "subjects": {"users": ["bob"]},
                    "hub": {"rules": [{"verbs": verbs, "resources": ["sessions"]}]},
                },
            })
        };
        stack.admin.apply(&rights(json!(["list"])))?;
        ensure!(seen(&bob)?.len() == 1, "bob may list");
        bob.kedge(&["sessions", "kill", &session])?.exits(5)?;
        stack.admin.apply(&rights(json!(["list", "delete"])))?;
        bob.kedge(&["sessions", "kill", &session])?.success()?;
        let ended = other.wait(defaults::COMMAND)?.exits(255)?;
        ended.says(&["was ended by bob"])?;
        Ok(())
    })
}

#[test]
fn a_watch_shows_how_a_session_begins_and_ends() -> Result<()> {
    case(|t| {
        let stack = t.stack()?;
        let mut watch = Live::start(stack.admin.kedge_command(&["sessions", "--watch"]))?;
        let session = live(&stack)?;
        watch.expect("Attached", defaults::SOON)?;
        session.finish(defaults::COMMAND)?.success()?;
        watch.expect("Ended", defaults::SOON)?;
        watch.signal(Signal::INT)?;
        let ran = watch.wait(defaults::COMMAND)?;
        ensure!(ran.err().is_empty(), "{ran}");
        let rows: Vec<_> = ran.out().lines().map(str::to_owned).collect();
        ensure!(rows.len() == 3, "a heading and two rows: {ran}");
        ensure!(
            rows[1..]
                .iter()
                .all(|row| row.contains("alice") && row.contains(SERVER)),
            "{ran}"
        );
        Ok(())
    })
}
