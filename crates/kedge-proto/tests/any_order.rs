//! Whatever the order in which messages are written, carried and read, whichever link is lost at whichever moment: each
//! stream ends with the same bytes both ways, in bounded memory, and nothing is left behind.

#![cfg(test)]

mod common;

use std::time::Duration;

use common::{Size, World, small};
use kedge_proto::defaults::{BACKLOGGED_DATA, MAX_DATA};
use kedge_proto::{Limits, SharedBudget};
use proptest::prelude::*;

/// One thing that happens.
#[derive(Clone, Copy, Debug)]
enum Step {
    AgentRead(usize, usize),
    AgentWrite(usize, usize),
    ClientRead(usize, usize),
    ClientWrite(usize, usize),
    Cut,
    Deliver(usize),
    Pass(u64),
    Transmit(usize, usize),
}

fn step(cuts: u32) -> impl Strategy<Value = Step> {
    let amount = prop_oneof![1..100_usize, 1..70_000_usize];
    prop_oneof![
        6 => (any::<usize>(), amount.clone()).prop_map(|(stream, max)| Step::AgentRead(stream, max)),
        6 => (any::<usize>(), amount.clone()).prop_map(|(stream, max)| Step::AgentWrite(stream, max)),
        6 => (any::<usize>(), amount.clone()).prop_map(|(stream, max)| Step::ClientRead(stream, max)),
        6 => (any::<usize>(), amount).prop_map(|(stream, max)| Step::ClientWrite(stream, max)),
        cuts => Just(Step::Cut),
        20 => any::<usize>().prop_map(Step::Deliver),
        2 => (0..20_u64).prop_map(Step::Pass),
        20 => (any::<usize>(), prop_oneof![Just(MAX_DATA), Just(BACKLOGGED_DATA), 1..5000_usize])
            .prop_map(|(link, max)| Step::Transmit(link, max)),
    ]
}

fn sizes(streams: std::ops::RangeInclusive<usize>, max: usize) -> impl Strategy<Value = Vec<Size>> {
    let size = (0..=max, 0..=max).prop_map(|(up, down)| Size { up, down });
    prop::collection::vec(size, streams)
}

fn run(world: &mut World, steps: Vec<Step>) {
    let streams = world.sizes.len();
    for step in steps {
        let links = world.links.len();
        match step {
            Step::AgentRead(stream, max) => world.agent_read(stream % streams, max),
            Step::AgentWrite(stream, max) => world.agent_write(stream % streams, max),
            Step::ClientRead(stream, max) => world.client_read(stream % streams, max),
            Step::ClientWrite(stream, max) => world.client_write(stream % streams, max),
            Step::Cut => world.cut(),
            Step::Deliver(wire) => drop(world.deliver(wire % links)),
            Step::Pass(millis) => world.pass(Duration::from_millis(millis)),
            Step::Transmit(link, max) => drop(world.transmit(link % links, max)),
        }
        world.check_bounds();
    }
    world.run_out();
    world.check_done();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn through_one_link(
        sizes in sizes(1..=6, 400_000),
        steps in prop::collection::vec(step(0), 0..600),
    ) {
        run(&mut World::new(false, small(), sizes), steps);
    }

    #[test]
    fn through_a_hub(
        sizes in sizes(1..=6, 400_000),
        steps in prop::collection::vec(step(0), 0..600),
    ) {
        run(&mut World::new(true, small(), sizes), steps);
    }

    #[test]
    fn over_lost_links(
        sizes in sizes(1..=5, 300_000),
        steps in prop::collection::vec(step(1), 0..600),
    ) {
        run(&mut World::new(false, small(), sizes), steps);
    }

    #[test]
    fn over_lost_hubs(
        sizes in sizes(1..=5, 300_000),
        steps in prop::collection::vec(step(1), 0..600),
    ) {
        run(&mut World::new(true, small(), sizes), steps);
    }
}

/// Half of what the four links could promise each by itself.
fn shared() -> Limits {
    Limits {
        shared: Some(SharedBudget::new(1024 * 1024)),
        ..small()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn within_a_budget_that_all_links_share(
        sizes in sizes(1..=12, 200_000),
        steps in prop::collection::vec(step(1), 0..600),
        hub in any::<bool>(),
    ) {
        let limits = shared();
        let all = limits.shared.clone().unwrap();
        let mut world = World::new(hub, limits, sizes);
        run(&mut world, steps);
        assert_eq!(all.used(), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_hundred_streams(
        sizes in sizes(100..=100, 20_000),
        steps in prop::collection::vec(step(1), 0..2000),
        hub in any::<bool>(),
    ) {
        run(&mut World::new(hub, Limits::default(), sizes), steps);
    }
}

/// Not left to chance: the link is lost after each single message of a whole conversation.
#[test]
fn the_link_is_lost_after_every_single_message() {
    for hub in [false, true] {
        for cut_at in 0.. {
            let mut world = World::new(
                hub,
                small(),
                vec![Size {
                    up: 90_000,
                    down: 70_000,
                }],
            );
            let mut delivered = 0;
            let mut stuck = 0;
            while delivered < cut_at && stuck < 3 {
                let before = delivered;
                world.client_write(0, 33_333);
                world.agent_write(0, 33_333);
                world.client_read(0, 50_000);
                world.agent_read(0, 50_000);
                for link in 0..world.links.len() {
                    world.transmit(link, 20_000);
                    if delivered < cut_at && world.deliver(link) {
                        delivered += 1;
                    }
                }
                stuck = if delivered == before { stuck + 1 } else { 0 };
            }
            let whole = delivered < cut_at;
            world.cut();
            world.run_out();
            world.check_done();
            if whole {
                assert!(cut_at > 10);
                break;
            }
        }
    }
}
