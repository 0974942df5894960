//! A client and an agent, with or without a hub between them, whose messages arrive when the test says so.
#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kedge_proto::defaults::{INITIAL_CREDIT, MAX_DATA};
use kedge_proto::{
    Attributes, Detached, Event, Limits, Link, OpenRequest, Read, Registry, RelayEvent, Request,
    ResetCode, ResumeRequest, ResumeSecret, Side, StreamEnd, StreamId, StreamKey, Target, Write,
};

/// Small windows, so that small streams meet their limits.
pub(crate) fn small() -> Limits {
    Limits {
        budget: 512 * 1024,
        initial_window: 128 * 1024,
        window_cap: 256 * 1024,
        ..Limits::default()
    }
}

pub(crate) fn secret(key: StreamKey, number: u64) -> ResumeSecret {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(&key.0);
    bytes[16..24].copy_from_slice(&number.to_be_bytes());
    ResumeSecret::new(bytes)
}

pub(crate) fn key(number: u64) -> StreamKey {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    StreamKey(bytes)
}

pub(crate) fn request(number: u64) -> OpenRequest {
    let key = key(number);
    let resume = secret(key, 0).hash();
    OpenRequest {
        target: Target::ssh(),
        key,
        resume,
        attributes: Attributes::new(),
    }
}

/// The byte at an offset of a direction of a stream: wrong wherever it is out of place.
fn byte(seed: u64, offset: usize) -> u8 {
    let mixed = (seed.wrapping_add(1))
        .wrapping_mul(0x9e37_79b9)
        .wrapping_add(offset as u64);
    (mixed.wrapping_mul(0xff51_afd7_ed55_8ccd) >> 32) as u8
}

/// One end of one stream, as its application sees it.
#[derive(Debug)]
pub(crate) struct App {
    /// On the link it is on now.
    pub(crate) id: Option<StreamId>,
    send_seed: u64,
    recv_seed: u64,
    to_send: usize,
    pub(crate) sent: usize,
    finished: bool,
    pub(crate) received: usize,
    pub(crate) ended: bool,
    /// The link has forgotten it in good order.
    pub(crate) done: bool,
    pub(crate) failed: Option<StreamEnd>,
    detached: Option<Detached>,
    resumed: u64,
}

impl App {
    fn new(id: StreamId, send_seed: u64, recv_seed: u64, to_send: usize) -> Self {
        Self {
            id: Some(id),
            send_seed,
            recv_seed,
            to_send,
            sent: 0,
            finished: false,
            received: 0,
            ended: false,
            done: false,
            failed: None,
            detached: None,
            resumed: 0,
        }
    }

    fn write(&mut self, link: &mut Link, max: usize) {
        let Some(id) = self.id.filter(|_| self.failed.is_none() && !self.done) else {
            return;
        };
        let len = max.min(self.to_send - self.sent).min(link.room(id));
        let data: Vec<u8> = (self.sent..self.sent + len)
            .map(|at| byte(self.send_seed, at))
            .collect();
        if !data.is_empty()
            && let Ok(Write::Accepted(len)) = link.write(id, &data)
        {
            self.sent += len;
        }
        if self.sent == self.to_send && !self.finished {
            self.finished = link.finish(id).is_ok();
        }
    }

    fn read(&mut self, link: &mut Link, now: Instant, max: usize) {
        let Some(id) = self.id.filter(|_| self.failed.is_none() && !self.done) else {
            return;
        };
        match link.read(now, id, max.max(1)) {
            Ok(Read::Data(bytes)) => {
                for got in bytes {
                    assert_eq!(
                        got,
                        byte(self.recv_seed, self.received),
                        "at offset {}",
                        self.received
                    );
                    self.received += 1;
                }
            }
            Ok(Read::End) => self.ended = true,
            Ok(Read::Pending) | Err(_) => {}
        }
    }
}

/// How many bytes a stream carries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) up: usize,
    pub(crate) down: usize,
}

/// A client's end and an agent's end, and what is between them.
pub(crate) struct World {
    pub(crate) now: Instant,
    limits: Limits,
    hub: bool,
    /// Client, agent; or client, hub to client, hub to agent, agent.
    pub(crate) links: Vec<Link>,
    /// What each link has sent and its peer has not received.
    pub(crate) wires: Vec<VecDeque<Bytes>>,
    relays: BTreeMap<(usize, StreamId), (usize, StreamId)>,
    pub(crate) sizes: Vec<Size>,
    /// The client's ends, in the order of `sizes`, with the number of their key.
    pub(crate) clients: Vec<(u64, App)>,
    pub(crate) agents: BTreeMap<u64, App>,
    pub(crate) registry: Registry,
    keys: u64,
    pub(crate) finished_relays: usize,
}

impl World {
    pub(crate) fn new(hub: bool, limits: Limits, sizes: Vec<Size>) -> Self {
        let now = Instant::now();
        let mut world = Self {
            now,
            limits,
            hub,
            links: Vec::new(),
            wires: Vec::new(),
            relays: BTreeMap::new(),
            sizes: sizes.clone(),
            clients: Vec::new(),
            agents: BTreeMap::new(),
            registry: Registry::new(Duration::from_secs(300), 1000, 1 << 30),
            keys: 0,
            finished_relays: 0,
        };
        world.dial();
        for index in 0..sizes.len() {
            let client = world.open(index);
            world.clients.push(client);
        }
        world
    }

    fn dial(&mut self) {
        let sides = match self.hub {
            true => vec![Side::Client, Side::Server, Side::Server, Side::Client],
            false => vec![Side::Client, Side::Server],
        };
        self.wires = sides.iter().map(|_| VecDeque::new()).collect();
        self.links = sides
            .into_iter()
            .map(|side| Link::new(side, self.limits.clone(), self.now))
            .collect();
        self.relays.clear();
    }

    fn open(&mut self, index: usize) -> (u64, App) {
        let number = self.keys;
        self.keys += 1;
        let id = self.links[0].open(request(number)).unwrap();
        (
            number,
            App::new(id, number * 2, number * 2 + 1, self.sizes[index].up),
        )
    }

    fn agent(&self) -> usize {
        self.links.len() - 1
    }

    pub(crate) fn client_write(&mut self, index: usize, max: usize) {
        self.clients[index].1.write(&mut self.links[0], max);
        self.settle();
    }

    pub(crate) fn client_read(&mut self, index: usize, max: usize) {
        self.clients[index]
            .1
            .read(&mut self.links[0], self.now, max);
        self.settle();
    }

    pub(crate) fn agent_write(&mut self, index: usize, max: usize) {
        let agent = self.agent();
        let number = self.clients[index].0;
        if let Some(app) = self.agents.get_mut(&number) {
            app.write(&mut self.links[agent], max);
        }
        self.settle();
    }

    pub(crate) fn agent_read(&mut self, index: usize, max: usize) {
        let agent = self.agent();
        let number = self.clients[index].0;
        if let Some(app) = self.agents.get_mut(&number) {
            app.read(&mut self.links[agent], self.now, max);
        }
        self.settle();
    }

    /// One message goes from a link into its wire. Says whether there was one.
    pub(crate) fn transmit(&mut self, link: usize, max_data: usize) -> bool {
        let message = self.links[link].transmit(self.now, max_data);
        let sent = message.is_some();
        self.wires[link].extend(message);
        self.settle();
        sent
    }

    /// The oldest message of a wire arrives. Says whether there was one.
    pub(crate) fn deliver(&mut self, from: usize) -> bool {
        let Some(message) = self.wires[from].pop_front() else {
            return false;
        };
        self.links[from ^ 1].receive(self.now, message).unwrap();
        self.settle();
        true
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now += time;
        for link in &mut self.links {
            if link.timeout() <= self.now {
                link.on_timeout(self.now).unwrap();
            }
        }
        self.settle();
    }

    /// All links die, with whatever is on its way; client and agent dial again and go on.
    pub(crate) fn cut(&mut self) {
        self.settle();
        let agent = self.agent();
        for (id, detached) in self.links[0].detach_all() {
            let app = self
                .clients
                .iter_mut()
                .map(|(_, app)| app)
                .find(|app| app.id == Some(id));
            app.unwrap().detached = Some(detached);
        }
        for (id, detached) in self.links[agent].detach_all() {
            let app = self
                .agents
                .values_mut()
                .find(|app| app.id == Some(id))
                .unwrap();
            app.id = None;
            assert!(self.registry.keep(detached, self.now).unwrap().is_none());
        }
        assert_eq!(self.links[0].holdings().promised, 0);
        assert_eq!(self.links[agent].holdings().sending, 0);
        self.settle_ends();
        // The hub forgets everything: that is what it means to lose it.
        self.agents.values_mut().for_each(|app| app.id = None);
        self.dial();
        for index in 0..self.clients.len() {
            let (number, app) = &mut self.clients[index];
            if let Some(detached) = app.detached.take() {
                let key = key(*number);
                let proof = secret(key, app.resumed);
                let next = secret(key, app.resumed + 1).hash();
                let request = ResumeRequest {
                    proof,
                    next,
                    attributes: Attributes::new(),
                };
                app.id = Some(self.links[0].resume(self.now, detached, request).unwrap());
            } else if !app.done {
                // It was never granted: begin anew, under another name.
                assert!(app.failed.is_some());
                let client = self.open(index);
                self.clients[index] = client;
            }
        }
    }

    fn settle(&mut self) {
        loop {
            let mut quiet = true;
            for link in 0..self.links.len() {
                while let Some(event) = self.links[link].poll_event() {
                    quiet = false;
                    self.on_event(link, event);
                }
            }
            if quiet {
                return;
            }
        }
    }

    fn settle_ends(&mut self) {
        for link in [0, self.agent()] {
            while let Some(event) = self.links[link].poll_event() {
                self.on_event(link, event);
            }
        }
    }

    fn on_event(&mut self, link: usize, event: Event) {
        match event {
            Event::Ended(id, end) => {
                let app = match link {
                    0 => self
                        .clients
                        .iter_mut()
                        .map(|(_, app)| app)
                        .find(|app| app.id == Some(id)),
                    _ => self.agents.values_mut().find(|app| app.id == Some(id)),
                };
                if let Some(app) = app {
                    match end {
                        // A stream that has finished was read to its end, asked or not.
                        StreamEnd::Finished => (app.done, app.ended) = (true, true),
                        other => app.failed = Some(other),
                    }
                    app.id = None;
                }
            }
            Event::Completed(_, remains) => {
                let _ = self.registry.keep(*remains, self.now).unwrap();
            }
            Event::Incoming(id) if self.hub && link == 1 => {
                let Some(Request::Open(open)) = self.links[1].request(id).cloned() else {
                    panic!()
                };
                let request = OpenRequest {
                    target: open.target,
                    key: open.key,
                    resume: open.resume,
                    attributes: open.attributes,
                };
                let other = self.links[2].open_relay(request, open.limit).unwrap();
                self.join(id, other);
            }
            Event::Resume(id) if self.hub && link == 1 => {
                let Some(Request::Resume(resume)) = self.links[1].request(id).cloned() else {
                    panic!()
                };
                let other = self.links[2].resume_relay(resume).unwrap();
                self.join(id, other);
            }
            Event::Incoming(id) => {
                let Some(Request::Open(open)) = self.links[link].request(id) else {
                    panic!()
                };
                let number = u64::from_be_bytes(open.key.0[..8].try_into().unwrap());
                self.links[link]
                    .accept(self.now, id, Attributes::new())
                    .unwrap();
                let down = self.sizes[number as usize % self.sizes.len()].down;
                self.agents
                    .insert(number, App::new(id, number * 2 + 1, number * 2, down));
            }
            Event::Resume(id) => {
                let Some(Request::Resume(resume)) = self.links[link].request(id).cloned() else {
                    panic!()
                };
                let number = u64::from_be_bytes(resume.key.0[..8].try_into().unwrap());
                let detached = self.registry.claim(&resume, self.now).unwrap();
                self.links[link]
                    .accept_resume(self.now, id, detached)
                    .unwrap();
                self.agents.get_mut(&number).unwrap().id = Some(id);
            }
            Event::Resumed(id) if link == 0 => {
                let app = self
                    .clients
                    .iter_mut()
                    .map(|(_, app)| app)
                    .find(|app| app.id == Some(id));
                app.unwrap().resumed += 1;
            }
            Event::Relay(id, event) => {
                let half = (link, id);
                let Some((other, other_id)) = self.relays.get(&half).copied() else {
                    return;
                };
                if event == RelayEvent::Finished {
                    self.relays.remove(&half);
                    self.finished_relays += 1;
                }
                let _ = self.links[other].relay(self.now, other_id, event);
            }
            _ => {}
        }
    }

    fn join(&mut self, id: StreamId, other: StreamId) {
        self.links[1].accept_relay(id).unwrap();
        self.relays.insert((1, id), (2, other));
        self.relays.insert((2, other), (1, id));
    }

    /// Everybody does what there is to do until nothing is left.
    pub(crate) fn run_out(&mut self) {
        for round in 0..100_000 {
            let mut quiet = true;
            for index in 0..self.clients.len() {
                self.client_write(index, 100_000);
                self.agent_write(index, 100_000);
                self.client_read(index, 100_000);
                self.agent_read(index, 100_000);
            }
            for link in 0..self.links.len() {
                while self.transmit(link, MAX_DATA) {
                    quiet = false;
                }
                while self.deliver(link) {
                    quiet = false;
                }
                self.check_bounds();
            }
            if quiet {
                if self.clients.iter().all(|(_, app)| app.done) {
                    return;
                }
                assert!(round < 99_000, "stuck: {:#?}", self.clients);
                // Acknowledgements too small for a frame of their own go out with the next PING.
                self.pass(Duration::from_secs(15));
            } else {
                self.pass(Duration::from_millis(1));
            }
        }
        panic!("never done");
    }

    /// What no peer may make anybody hold more than.
    pub(crate) fn check_bounds(&self) {
        if let Some(all) = &self.limits.shared {
            let promised = self.links.iter().map(|link| link.holdings().promised);
            assert_eq!(all.used(), promised.sum::<u64>());
            assert!(all.used() <= all.cap());
        }
        for link in &self.links {
            let holdings = link.holdings();
            let bound = self.limits.budget + holdings.streams as u64 * INITIAL_CREDIT;
            assert!(holdings.promised <= self.limits.budget, "{holdings:?}");
            assert!(holdings.sending <= bound, "{holdings:?}");
            // What was held when a link was lost comes on top of what the new one has promised.
            assert!(holdings.receiving <= 2 * bound, "{holdings:?}");
            assert!(
                holdings.queued <= 8 * (holdings.streams + 1),
                "{holdings:?}"
            );
        }
    }

    /// Every stream has carried everything both ways, and nobody holds anything.
    pub(crate) fn check_done(&mut self) {
        for (index, (number, client)) in self.clients.iter().enumerate() {
            let agent = &self.agents[number];
            let size = self.sizes[index];
            assert_eq!(
                (client.sent, agent.received),
                (size.up, size.up),
                "up, stream {index}"
            );
            let down = self.sizes[*number as usize % self.sizes.len()].down;
            assert_eq!(
                (agent.sent, client.received),
                (down, down),
                "down, stream {index}"
            );
            // An agent that took the last byte and the end together may lose its link before it is asked once more; a
            // client that is done does not come back for it.
            assert!(
                client.ended && (agent.ended || agent.id.is_none()),
                "the ends were seen, stream {index}"
            );
            assert!(client.done && client.failed.is_none(), "{client:?}");
        }
        for (index, link) in self.links.iter().enumerate() {
            let holdings = link.holdings();
            let left = (
                holdings.streams,
                holdings.sending,
                holdings.receiving,
                holdings.promised,
            );
            assert_eq!(left, (0, 0, 0, 0), "link {index}");
            assert_eq!(holdings.queued, 0, "link {index}");
        }
        assert!(self.relays.is_empty());
    }

    pub(crate) fn reset_code(end: &Option<StreamEnd>) -> Option<ResetCode> {
        match end {
            Some(StreamEnd::Reset { code, .. }) => Some(*code),
            _ => None,
        }
    }
}
