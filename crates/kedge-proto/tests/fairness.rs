//! Nobody waits behind somebody else's bulk, and a reader that stalls holds up nobody but its own writer.

#![cfg(test)]

mod common;

use std::time::Instant;

use common::{Size, World, request, small};
use kedge_proto::defaults::{INITIAL_CREDIT, MAX_DATA};
use kedge_proto::{Attributes, Event, Frame, Limits, Link, SharedBudget, Side, StreamId, Write};

/// A client with `bulk` streams that have more to send than fits, and one that has nothing to send yet.
fn busy(bulk: usize) -> (Link, Vec<StreamId>, StreamId, Instant) {
    let now = Instant::now();
    let mut client = Link::new(Side::Client, Limits::default(), now);
    let mut streams: Vec<_> = (0..=bulk as u64)
        .map(|number| client.open(request(number)).unwrap())
        .collect();
    while client.transmit(now, MAX_DATA).is_some() {}
    for id in &streams {
        let opened = Frame::Opened {
            stream: *id,
            limit: 1 << 30,
            attributes: Attributes::new(),
        };
        client.receive(now, opened.encode()).unwrap();
    }
    while client.poll_event().is_some() {}
    let sparse = streams.pop().unwrap();
    for id in &streams {
        while let Ok(Write::Accepted(_)) = client.write(*id, &[0; 65536]) {}
    }
    (client, streams, sparse, now)
}

fn next(client: &mut Link, now: Instant) -> (StreamId, usize) {
    match Frame::decode(client.transmit(now, MAX_DATA).unwrap()).unwrap() {
        Frame::Data { stream, bytes, .. } => (stream, bytes.len()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_keystroke_goes_before_all_bulk() {
    let (mut client, _, sparse, now) = busy(8);
    for _ in 0..20 {
        for _ in 0..10 {
            assert_ne!(next(&mut client, now).0, sparse);
        }
        client.write(sparse, b"k").unwrap();
        // The new streams of the beginning have had their turn: a sparse one is next.
        assert_eq!(next(&mut client, now), (sparse, 1));
    }
}

#[test]
fn sending_a_little_at_a_time_is_no_way_to_go_first_always() {
    let (mut client, streams, sparse, now) = busy(2);
    for _ in 0..4 {
        let _ = next(&mut client, now);
    }
    let mut bulk = 0;
    for _ in 0..1000 {
        client.write(sparse, &[0; 1000]).unwrap();
        let (stream, _) = next(&mut client, now);
        bulk += usize::from(streams.contains(&stream));
        if bulk > 30 {
            return;
        }
    }
    panic!("only {bulk} bulk frames of 1000");
}

#[test]
fn bulk_shares_evenly() {
    let (mut client, streams, _, now) = busy(8);
    let mut sent = std::collections::BTreeMap::new();
    for _ in 0..160 {
        let (stream, len) = next(&mut client, now);
        *sent.entry(stream).or_insert(0) += len;
    }
    let (least, most) = (sent.values().min().unwrap(), sent.values().max().unwrap());
    assert_eq!(sent.len(), streams.len());
    assert!(most - least <= 2 * MAX_DATA, "{sent:?}");
}

#[test]
fn control_frames_go_first_but_do_not_starve_data() {
    let (mut client, streams, _, now) = busy(1);
    let mut data = 0;
    for number in 100..400 {
        // Each of these provokes a control frame.
        let id = client.open(request(number)).unwrap();
        let message = client.transmit(now, MAX_DATA).unwrap();
        if let Frame::Data { stream, .. } = Frame::decode(message).unwrap() {
            assert_eq!(stream, streams[0]);
            data += 1;
        }
        client.reset(id, kedge_proto::ResetCode::Cancelled, "");
    }
    assert!((2..20).contains(&data), "{data}");
}

/// Streams that stall, and one that carries `size` bytes each way beside them.
fn beside_stalled(hub: bool, limits: Limits, stalled: usize, size: usize) -> World {
    let mut sizes = vec![
        Size {
            up: 2_000_000,
            down: 2_000_000
        };
        stalled
    ];
    sizes.push(Size {
        up: size,
        down: size,
    });
    let mut world = World::new(hub, limits, sizes);
    for _ in 0..20_000 {
        for index in 0..=stalled {
            world.client_write(index, 100_000);
            world.agent_write(index, 100_000);
        }
        // Only one of them reads.
        world.client_read(stalled, 100_000);
        world.agent_read(stalled, 100_000);
        for link in 0..world.links.len() {
            while world.transmit(link, MAX_DATA) {}
            while world.deliver(link) {}
        }
        world.check_bounds();
        if world.clients[stalled].1.done {
            break;
        }
    }
    assert!(world.clients[stalled].1.done, "hub: {hub}");
    for index in 0..stalled {
        assert_eq!(world.clients[index].1.received, 0);
    }
    world
}

#[test]
fn stalled_readers_hold_up_nobody_else() {
    for hub in [false, true] {
        let mut world = beside_stalled(hub, small(), 32, 3_000_000);
        // What the hub holds for 32 readers that stall: nothing, since the ends hold it.
        if hub {
            assert_eq!(
                world.links[1].holdings().sending + world.links[2].holdings().sending,
                0
            );
        }
        // And when they read again, everything is there.
        world.run_out();
        world.check_done();
    }
}

/// The link behind a hub takes nothing: the hub holds what it has promised, and no more.
#[test]
fn a_hub_before_a_stalled_link_holds_what_it_promised() {
    let sizes = vec![
        Size {
            up: 2_000_000,
            down: 0
        };
        32
    ];
    let mut world = World::new(true, small(), sizes);
    for _ in 0..400 {
        for index in 0..32 {
            world.client_write(index, 100_000);
        }
        // Everything moves but what the hub would send to the agent, once the streams are there.
        let streams_stand = world.agents.len() == 32 && world.wires[3].is_empty();
        for link in if streams_stand {
            vec![0, 1, 3]
        } else {
            vec![0, 1, 2, 3]
        } {
            world.transmit(link, MAX_DATA);
            world.deliver(link);
        }
        world.check_bounds();
    }
    let held = world.links[2].holdings().sending;
    assert!(held >= 32 * INITIAL_CREDIT / 2, "{held}");
    assert!(held <= small().budget + 32 * INITIAL_CREDIT, "{held}");
    world.run_out();
    world.check_done();
}

#[test]
fn a_write_without_room_is_told_when_there_is_some() {
    let now = Instant::now();
    let mut client = Link::new(Side::Client, small(), now);
    let ids: Vec<_> = (0..20)
        .map(|number| client.open(request(number)).unwrap())
        .collect();
    while client.transmit(now, MAX_DATA).is_some() {}
    for id in &ids {
        let opened = Frame::Opened {
            stream: *id,
            limit: 1 << 30,
            attributes: Attributes::new(),
        };
        client.receive(now, opened.encode()).unwrap();
        while let Ok(Write::Accepted(_)) = client.write(*id, &[0; 50_000]) {}
    }
    while client.poll_event().is_some() {}
    let held = client.holdings().sending;
    assert!(held <= small().budget + 20 * INITIAL_CREDIT, "{held}");
    let mut sent = 0;
    while let Some(message) = client.transmit(now, MAX_DATA) {
        if let Ok(Frame::Data { stream, bytes, .. }) = Frame::decode(message) {
            sent += if stream == ids[0] {
                bytes.len() as u64
            } else {
                0
            };
        }
    }
    assert_eq!(client.write(ids[0], &[0; 1000]), Ok(Write::Full));
    // One stream's bytes are taken; the link had been full, so others may hope again as well.
    let credit = Frame::MaxStreamData {
        stream: ids[0],
        consumed: sent,
        limit: 1 << 30,
    };
    client.receive(now, credit.encode()).unwrap();
    let mut told = Vec::new();
    while let Some(event) = client.poll_event() {
        if let Event::Writable(id) = event {
            told.push(id);
        }
    }
    assert!(
        told.contains(&ids[0]) && told.contains(&ids[19]),
        "{told:?}"
    );
    assert_eq!(client.write(ids[0], &[0; 1000]), Ok(Write::Accepted(1000)));
}

#[test]
fn a_link_whose_budget_is_used_up_by_stalled_streams_carries_others() {
    // As many as use up the budget exactly, with windows of which an eighth is more than a stream without a share of
    // the budget may keep.
    let limits = Limits {
        budget: 11 * 768 * 1024,
        initial_window: 768 * 1024,
        window_cap: 768 * 1024,
        ..Limits::default()
    };
    for hub in [false, true] {
        drop(beside_stalled(hub, limits.clone(), 11, 3_000_000));
    }
}

#[test]
fn who_has_used_up_what_all_links_share_leaves_others_moving() {
    let all = SharedBudget::new(4 << 20);
    let limits = Limits {
        shared: Some(all.clone()),
        ..Limits::default()
    };
    for hub in [false, true] {
        let greedy = beside_stalled(hub, limits.clone(), 32, 100_000);
        let promised = |world: &World| -> u64 {
            let links = world.links.iter();
            links.map(|link| link.holdings().promised).sum()
        };
        let theirs = promised(&greedy);
        assert!(all.used() == theirs && all.cap() - theirs < 1 << 20);
        // A link of its own for each of the others; what is left over helps one of them at most.
        let size = Size {
            up: 1_000_000,
            down: 1_000_000,
        };
        let mut others: Vec<_> = (0..4)
            .map(|_| World::new(hub, limits.clone(), vec![size]))
            .collect();
        for other in &mut others {
            // No PING helps: time stands still.
            for _ in 0..2000 {
                other.client_write(0, 100_000);
                other.agent_write(0, 100_000);
                other.client_read(0, 100_000);
                other.agent_read(0, 100_000);
                for link in 0..other.links.len() {
                    while other.transmit(link, MAX_DATA) {}
                    while other.deliver(link) {}
                }
            }
            assert!(other.clients[0].1.done, "hub: {hub}");
            other.check_done();
        }
        assert_eq!(
            all.used(),
            theirs,
            "nobody took or gave what was not theirs"
        );
        drop((greedy, others));
        assert_eq!(all.used(), 0);
    }
}

#[test]
fn a_sender_that_may_keep_little_is_told_soon_what_was_taken() {
    let now = Instant::now();
    let few = Limits {
        budget: 0,
        ..Limits::default()
    };
    let mut client = Link::new(Side::Client, few, now);
    let mut agent = Link::new(Side::Server, Limits::default(), now);
    let id = client.open(request(1)).unwrap();
    let (mut sent, mut got) = (0, 0);
    for _ in 0..100 {
        if let Ok(Write::Accepted(len)) = client.write(id, &[7; 65536]) {
            sent += len;
        }
        while let Some(message) = client.transmit(now, MAX_DATA) {
            agent.receive(now, message).unwrap();
        }
        while let Some(event) = agent.poll_event() {
            if matches!(event, Event::Incoming(_)) {
                agent.accept(now, id, Attributes::new()).unwrap();
            }
        }
        while let Ok(kedge_proto::Read::Data(bytes)) = agent.read(now, id, MAX_DATA) {
            got += bytes.len();
        }
        while let Some(message) = agent.transmit(now, MAX_DATA) {
            client.receive(now, message).unwrap();
        }
        while client.poll_event().is_some() {}
    }
    assert_eq!(sent, got);
    assert!(got >= 90 * 65536, "{got} bytes in a hundred rounds");
}
