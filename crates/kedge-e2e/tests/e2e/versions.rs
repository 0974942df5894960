//! Both ends speak the newest version both know; a peer that is too old learns which side to upgrade.

use crate::prelude::*;

#[test]
fn a_peer_without_a_common_version_learns_which_side_to_upgrade() -> Result<()> {
    case(|t| {
        let hub = t.hub()?;
        let endpoint = Endpoint::of(&hub);
        let ask = |protocols: &str| {
            let request = Request::new("GET", "/kedge/v1/connect")
                .bearer(hub.token("alice")?)
                .upgrade(protocols);
            request.send(endpoint)
        };
        for (protocols, side) in [
            ("kedge.v0", "upgrade the caller"),
            ("kedge.v99", "upgrade the hub"),
        ] {
            let reply = ask(protocols)?;
            ensure!(reply.status != 101, "{protocols} was agreed on");
            ensure!(reply.status / 100 == 4, "{protocols}: {}", reply.status);
            let said = reply
                .json()?
                .get("message")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned();
            ensure!(said.contains(side), "{protocols}: {said}");
        }
        let reply = ask("kedge.v99, kedge.v1, kedge.v0")?;
        ensure!(reply.status == 101, "{} {}", reply.status, reply.text());
        ensure!(
            reply.header("sec-websocket-protocol") == Some("kedge.v1"),
            "{:?}",
            reply.headers
        );
        ensure!(
            reply.header("sec-websocket-extensions").is_none(),
            "an extension was agreed on"
        );
        Ok(())
    })
}

#[test]
fn frames_and_attributes_of_newer_peers_are_skipped() -> Result<()> {
    case(|t| {
        let cheap = Cheap::start(t, Manner::Echo)?;
        let mut client = cheap.client()?;
        // Types nobody knows, before and in the middle of a stream.
        client.socket.send(&[0x3f, 1, 2, 3])?;
        client.socket.send(&[0x7f, 0xff])?;
        let kedge_proto::Frame::Open(mut open) =
            kedge_testkit::peers::open_frame(client.stream, SERVER, None)?
        else {
            bail!("no OPEN")
        };
        open.attributes
            .insert(kedge_proto::AttributeId(999), b"of the future".to_vec())?;
        client.send(&kedge_proto::Frame::Open(open))?;
        let read = client.read(BANNER.len())?;
        ensure!(read == BANNER, "{read:?}");
        client.socket.send(&[0x3f])?;
        client.write(b"still works")?;
        ensure!(client.read(11)? == b"still works");
        Ok(())
    })
}
