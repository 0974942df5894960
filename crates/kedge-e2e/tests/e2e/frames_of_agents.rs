//! What an agent may send to break a hub or the people behind it.

use kedge_proto::{Attributes, Frame, RefuseCode, ResetCode, StreamId};
use kedge_testkit::peers::{Mask, Opcode, WebSocket, open_frame};

use crate::prelude::*;

/// A hub with a fake agent `web01` that alice may reach.
struct Fake {
    hub: Hub,
    admin: Person,
    agent: FakeAgent,
    link: WebSocket,
}

impl Fake {
    fn start(t: &Case) -> Result<Self> {
        let hub = t.hub()?;
        let admin = t.person(&hub, "admin", None)?;
        let agent = FakeAgent::enrolled(Endpoint::of(&hub), SERVER, &admin.join_token(&[])?)?;
        let link = agent.connected()?;
        admin.apply(&Person::policy("p", &["alice"])?)?;
        phase(&admin, SERVER, "Online", defaults::SOON)?;
        Ok(Self {
            hub,
            admin,
            agent,
            link,
        })
    }

    /// Waits until this many agents are connected.
    fn tunnels(&self, wanted: u32) -> Result<()> {
        let wanted = f64::from(wanted);
        self.hub
            .metric("kedge_hub_tunnels", defaults::SOON, |tunnels| {
                tunnels == wanted
            })
            .map(drop)
    }

    /// A stream of alice's that the fake agent has granted.
    fn granted(&mut self) -> Result<(Client, StreamId)> {
        let mut client = Client::connect(Endpoint::of(&self.hub), self.hub.token("alice")?)?;
        client.send(&open_frame(client.stream, SERVER, None)?)?;
        let open = FakeAgent::opening(&mut self.link, defaults::SOON)?;
        FakeAgent::grant(&mut self.link, &open)?;
        Ok((client, open.stream))
    }
}

#[test]
fn an_agent_that_breaks_the_protocol_loses_its_link_alone() -> Result<()> {
    case(|t| {
        let mut fake = Fake::start(t)?;
        let healthy = FakeAgent::enrolled(
            Endpoint::of(&fake.hub),
            "healthy",
            &fake.admin.join_token(&[])?,
        )?;
        let _link = healthy.connected()?;
        for violate in [
            |link: &mut WebSocket| link.send(&[0x13, 0]),
            |link: &mut WebSocket| link.send_frame(Opcode::TEXT, Mask::Masked, b"hello"),
            |link: &mut WebSocket| link.send_frame(Opcode::BINARY, Mask::Unmasked, &[1; 9]),
            |link: &mut WebSocket| link.send(&[0x15, 0x40, 0xff, 0]),
        ] {
            violate(&mut fake.link)?;
            fake.link.ends(defaults::SOON)?;
            fake.tunnels(1)?;
            fake.link = fake.agent.connected()?;
            fake.tunnels(2)?;
        }
        phase(&fake.admin, "healthy", "Online", defaults::SOON)?;
        fake.granted().map(drop)
    })
}

#[test]
fn an_agent_may_not_open_streams() -> Result<()> {
    case(|t| {
        let mut fake = Fake::start(t)?;
        fake.link
            .send(&open_frame(StreamId::new(0).context("id")?, SERVER, None)?.encode())?;
        // Refused, or the link ends; never relayed to anybody.
        loop {
            match fake.link.receive(defaults::SOON)? {
                kedge_testkit::peers::Message::Binary(bytes) => {
                    match Frame::decode(bytes.into())? {
                        Frame::Refused { .. } => return Ok(()),
                        Frame::Ping(_) => {}
                        other => bail!("{other:?}"),
                    }
                }
                kedge_testkit::peers::Message::Close(_) | kedge_testkit::peers::Message::Ended => {
                    return Ok(());
                }
                kedge_testkit::peers::Message::Nothing => bail!("no answer"),
            }
        }
    })
}

#[test]
fn a_refusal_and_its_words_reach_the_person_escaped() -> Result<()> {
    case(|t| {
        let mut fake = Fake::start(t)?;
        let mut client = Client::connect(Endpoint::of(&fake.hub), fake.hub.token("alice")?)?;
        client.send(&open_frame(client.stream, SERVER, None)?)?;
        let open = FakeAgent::opening(&mut fake.link, defaults::SOON)?;
        let text = "\u{1b}[2Jred\nforged \u{202e} line".to_owned();
        let refused = Frame::Refused {
            stream: open.stream,
            code: RefuseCode::TargetUnreachable,
            text,
        };
        fake.link.send(&refused.encode())?;
        match client.next(defaults::SOON)? {
            Frame::Refused {
                code: RefuseCode::TargetUnreachable,
                ..
            } => {}
            other => bail!("{other:?}"),
        }
        // And at a terminal: the words of an agent cannot move the cursor.
        let alice = t.person(&fake.hub, "alice", None)?;
        let live = Live::start(alice.kedge_command(&["proxy", SERVER]))?;
        let open = FakeAgent::opening(&mut fake.link, defaults::SOON)?;
        let text = "\u{1b}[2Jred\nforged \u{202e} line".to_owned();
        let refused = Frame::Refused {
            stream: open.stream,
            code: RefuseCode::TargetUnreachable,
            text,
        };
        fake.link.send(&refused.encode())?;
        let ran = live.wait(defaults::SOON)?.exits(255)?;
        ensure!(
            !ran.err().contains(['\u{1b}', '\u{202e}']),
            "escapes reached the terminal: {ran:?}"
        );
        for line in fake.hub.daemon()?.log()?.lines() {
            ensure!(
                serde_json::from_str::<Value>(line).is_ok(),
                "a line of the log is forged: {line}"
            );
        }
        Ok(())
    })
}

#[test]
fn beyond_a_persons_credit_resets_that_stream_alone() -> Result<()> {
    case(|t| {
        let mut fake = Fake::start(t)?;
        let (mut victim, stream) = fake.granted()?;
        let (mut other, other_stream) = fake.granted()?;
        let data = |stream, offset| {
            Frame::Data {
                stream,
                offset,
                bytes: b"x".to_vec().into(),
            }
            .encode()
        };
        fake.link.send(&data(stream, 1 << 40))?;
        let (code, said) = victim.reset(defaults::SOON)?;
        ensure!(
            matches!(code, ResetCode::FlowControl | ResetCode::Protocol),
            "{code:?} {said}"
        );
        fake.link.send(&data(other_stream, 0))?;
        ensure!(other.read(1)? == b"x", "another stream was hurt");
        Ok(())
    })
}

#[test]
fn an_agent_that_never_answers_open_is_a_reason() -> Result<()> {
    case(|t| {
        let fake = Fake::start(t)?;
        let mut client = Client::connect(Endpoint::of(&fake.hub), fake.hub.token("alice")?)?;
        client.send(&open_frame(client.stream, SERVER, None)?)?;
        // The agent lives (it answers PINGs) and says nothing to OPEN.
        let mut link = fake.link;
        std::thread::spawn(
            move || while FakeAgent::opening(&mut link, defaults::COMMAND).is_ok() {},
        );
        match client.next(Duration::from_secs(35))? {
            Frame::Refused { text, .. } | Frame::Reset { text, .. } => {
                ensure!(!text.is_empty(), "no reason")
            }
            other => bail!("{other:?}"),
        }
        Ok(())
    })
}

#[test]
fn an_agent_that_grants_twice_or_out_of_turn_hurts_nobody_else() -> Result<()> {
    case(|t| {
        let mut fake = Fake::start(t)?;
        let (_victim, stream) = fake.granted()?;
        let opened = Frame::Opened {
            stream,
            limit: 1,
            attributes: Attributes::new(),
        };
        fake.link.send(&opened.encode())?;
        // Whatever becomes of that link, the hub serves on.
        let healthy = FakeAgent::enrolled(
            Endpoint::of(&fake.hub),
            "healthy",
            &fake.admin.join_token(&[])?,
        )?;
        let mut link = healthy.connected()?;
        let mut client = Client::connect(Endpoint::of(&fake.hub), fake.hub.token("alice")?)?;
        client.send(&open_frame(client.stream, "healthy", None)?)?;
        let open = FakeAgent::opening(&mut link, defaults::SOON)?;
        FakeAgent::grant(&mut link, &open)?;
        match client.next(defaults::SOON)? {
            Frame::Opened { .. } => Ok(()),
            other => bail!("{other:?}"),
        }
    })
}
