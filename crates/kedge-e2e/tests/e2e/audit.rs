//! Every session has one opening and one closing event; a refusal has one too.

use crate::prelude::*;

#[test]
fn one_opening_and_one_closing_event_that_say_everything() -> Result<()> {
    case(|t| {
        let mut stack = t.stack()?;
        let bytes = noise(100_000);
        let command = stack.alice.kedge_ssh_command(&[SERVER, "cat"]);
        feed(command, bytes.clone(), defaults::COMMAND)?.success()?;
        let closed = stack.hub.audited("the closing event", |event| {
            text(event, "event") == "session.closed"
        })?;
        let session = text(&closed, "session").to_owned();
        let all = stack.hub.audit()?;
        let mine: Vec<_> = all
            .iter()
            .filter(|event| text(event, "session") == session)
            .collect();
        ensure!(mine.len() == 2, "not two events: {mine:?}");
        ensure!(text(mine[0], "event") == "session.opened", "{mine:?}");
        for event in mine {
            for (field, wanted) in [
                ("subject", "alice".to_owned()),
                ("server", SERVER.to_owned()),
                ("login", machine::me()?),
                ("policy", "everyone-tested".to_owned()),
                ("permission", "ssh".to_owned()),
                ("from", "127.0.0.1".to_owned()),
            ] {
                ensure!(text(event, field) == wanted, "{field} of {event}");
            }
            ensure!(
                !text(event, "method").is_empty() && !text(event, "issuer").is_empty(),
                "{event}"
            );
        }
        let number = |name: &str| {
            kedge_testkit::hub::field(&closed, name)
                .and_then(Value::as_u64)
                .unwrap_or_default()
        };
        ensure!(
            number("bytes_up") > 100_000 && number("bytes_down") > 100_000,
            "{closed}"
        );
        ensure!(
            number("bytes_up") < 200_000 && number("duration_ms") > 0,
            "{closed}"
        );
        ensure!(!text(&closed, "how").is_empty(), "{closed}");
        Ok(())
    })
}

#[test]
fn refusals_are_written_down_and_secrets_are_not() -> Result<()> {
    case(|t| {
        let mut cheap = Cheap::start(t, Manner::Echo)?;
        let bob = cheap.hub.token("bob")?.to_owned();
        let _ = Client::connect(cheap.endpoint(), &bob)?.open(SERVER, None)?;
        let refused = cheap.hub.audited("the refusal", |event| {
            text(event, "event") == "session.refused"
        })?;
        ensure!(
            text(&refused, "subject") == "bob" && !text(&refused, "code").is_empty(),
            "{refused}"
        );
        let _ = Client::dial(cheap.endpoint(), "kpt_garbage-that-nobody-has")?;
        cheap.hub.audited("the refused token", |event| {
            text(event, "event") == "authentication.refused"
        })?;
        let token = cheap.admin.join_token(&[])?;
        FakeAgent::enrolled(cheap.endpoint(), "db01", &token)?;
        let log = cheap.hub.daemon()?.log()?;
        let mut secrets = vec![token, "kpt_garbage-that-nobody-has".to_owned()];
        for subject in ["admin", "alice", "bob"] {
            secrets.push(cheap.hub.token(subject)?.to_owned());
        }
        for secret in secrets {
            ensure!(!log.contains(&secret), "a secret is in the log");
        }
        ensure!(
            !cheap.agent.daemon()?.log()?.contains("kjt_"),
            "a join token is in the agent's log"
        );
        Ok(())
    })
}
