//! The simulated cluster: nodes, coordinators, store, bus and the faults between them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use freshet_cluster::load::NodeLoad;
use freshet_cluster::plan::RoomPlan;
use freshet_cluster::{Epoch, Incarnation, NodeId, RoomId};
use freshet_coordinator::core::{Core, Output, Step, Write};
use freshet_coordinator::place::{Ask, rank};
use freshet_coordinator::view::Rev;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::node::Node;
use crate::queue::Queue;
use crate::report::Report;
use crate::store::{Store, Told};

mod rules;

const LEASE: Duration = Duration::from_secs(10);
/// A link outlives its peer by this much: the idle time-out of QUIC.
const LINK_IDLE: Duration = Duration::from_secs(3);
const BEAT: Duration = Duration::from_secs(1);
const LINGER: Duration = Duration::from_secs(10);
/// The wall clock at the start of a run, in milliseconds.
const UNIX_MS: u64 = 1_700_000_000_000;
const REGIONS: [&str; 3] = ["eu", "us", "ap"];
const CAPACITY: u32 = 40;

/// How a run is shaped.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How many nodes.
    pub nodes: u32,
    /// How many coordinators.
    pub coordinators: usize,
    /// How many rooms.
    pub rooms: u32,
    /// Coordinators start again now and then.
    pub restarts: bool,
    /// For how long joins and faults go on.
    pub busy: Duration,
    /// Time to settle afterwards: sessions stay, faults stop. Then all sessions leave and as much time passes again.
    pub calm: Duration,
}

enum Event {
    Beat(NodeId, Incarnation),
    Heard(usize, Box<NodeLoad>),
    Told(usize, Told),
    NodeTold(NodeId, Incarnation, Told),
    Tick(usize),
    Repair(usize),
    Join,
    Call(Box<Call>),
    Answer(Box<Call>, bool),
    Leave(NodeId, Incarnation, u64),
    Kill,
    Start(NodeId),
    CutOff,
    BusAway(Duration),
    BusBack,
    Wipe,
    Amnesia(usize),
    AllLeave,
}

/// A join on its way.
struct Call {
    coordinator: usize,
    room: RoomId,
    publish: bool,
    node: NodeId,
    incarnation: Incarnation,
    plan: RoomPlan,
    left: u32,
}

struct Coordinator {
    core: Core,
    told_until: Duration,
    /// When a heartbeat that was news arrived: incarnation, sequence, time.
    heard: BTreeMap<NodeId, (Incarnation, u64, Duration)>,
}

struct World {
    settings: Settings,
    rng: StdRng,
    start: Instant,
    now: Duration,
    queue: Queue<Event>,
    store: Store,
    nodes: BTreeMap<NodeId, Node>,
    coordinators: Vec<Coordinator>,
    bus_away: bool,
    sessions: u64,
    epochs: BTreeMap<RoomId, Epoch>,
    report: Report,
}

/// Runs one seed. `start` is where virtual time begins; nothing depends on it.
pub fn run(seed: u64, settings: Settings, start: Instant) -> Report {
    let mut world = World::new(seed, settings, start);
    let end = settings.busy + settings.calm + settings.calm;
    let mut checked = false;
    while let Some((at, event)) = world.queue.pop() {
        if at >= end {
            break;
        }
        world.now = at;
        if !checked && at >= settings.busy + settings.calm {
            checked = true;
            world.check_settled();
            world.queue.push(at, Event::AllLeave);
        }
        world.handle(event);
    }
    world.check_empty();
    world.report
}

impl World {
    fn new(seed: u64, settings: Settings, start: Instant) -> Self {
        let coordinator =
            || Coordinator { core: Core::new(LINGER), told_until: Duration::ZERO, heard: BTreeMap::new() };
        let mut world = Self {
            settings,
            rng: StdRng::seed_from_u64(seed),
            start,
            now: Duration::ZERO,
            queue: Queue::new(),
            store: Store::default(),
            nodes: BTreeMap::new(),
            coordinators: std::iter::repeat_with(coordinator).take(settings.coordinators).collect(),
            bus_away: false,
            sessions: 0,
            epochs: BTreeMap::new(),
            report: Report::default(),
        };
        for n in 0..settings.nodes {
            if let Ok(id) = format!("n{n}").parse() {
                world.start_node(id);
            }
        }
        for index in 0..settings.coordinators {
            let listing = world.store.everything(false);
            world.tell(index, listing);
            let stagger = Duration::from_millis(world.rng.random_range(0..250));
            world.queue.push(stagger, Event::Tick(index));
            world.queue.push(stagger, Event::Repair(index));
        }
        world.queue.push(Duration::from_secs(2), Event::Join);
        world.plan_faults();
        world
    }

    fn plan_faults(&mut self) {
        let busy = self.settings.busy.as_secs();
        let mut at = 10;
        while at < busy {
            let event = match self.rng.random_range(0..10) {
                0..5 => Event::Kill,
                5..8 => Event::CutOff,
                8 => Event::BusAway(Duration::from_secs(self.rng.random_range(3..15))),
                _ if self.rng.random_bool(0.5) => Event::Wipe,
                _ => Event::Amnesia(self.rng.random_range(0..self.coordinators.len())),
            };
            self.queue.push(Duration::from_secs(at), event);
            at += self.rng.random_range(3..12);
        }
        // Each kind at least once.
        for (n, event) in [Event::Kill, Event::CutOff, Event::BusAway(Duration::from_secs(8)), Event::Wipe]
            .into_iter()
            .enumerate()
        {
            let n = u64::try_from(n).unwrap_or(0);
            self.queue.push(Duration::from_secs(20 + 20 * n), event);
        }
    }

    fn wall(&self) -> u64 {
        UNIX_MS.saturating_add(u64::try_from(self.now.as_millis()).unwrap_or(u64::MAX))
    }

    fn instant(&self) -> Instant {
        self.start + self.now
    }

    fn is_busy(&self) -> bool {
        self.now < self.settings.busy
    }

    fn violation(&mut self, text: String) {
        if self.report.violations.len() < 20 {
            self.report.violations.push(format!("{} ms: {text}", self.now.as_millis()));
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Beat(id, incarnation) => self.beat(&id, incarnation),
            Event::Heard(index, load) => self.heard(index, &load),
            Event::Told(index, told) => self.told(index, told),
            Event::NodeTold(id, incarnation, told) => {
                if let Some(node) = self.running(&id, incarnation) {
                    match told {
                        Told::Plan(plan, _) => node.adopt(&plan),
                        Told::PlanGone(room, _) => node.dismiss(&room),
                        _ => {}
                    }
                }
            }
            Event::Tick(index) => self.tick(index),
            Event::Repair(index) => self.repair(index),
            Event::Join => self.join(),
            Event::Call(call) => self.call(call),
            Event::Answer(call, taken) => self.answer(*call, taken),
            Event::Leave(id, incarnation, session) => {
                if let Some(node) = self.running(&id, incarnation) {
                    node.sessions.remove(&session);
                }
            }
            Event::Kill => self.kill(),
            Event::Start(id) => self.start_node(id),
            Event::CutOff => self.cut_off(),
            Event::BusAway(time) => {
                self.bus_away = true;
                self.report.fired.count("bus away");
                self.queue.push(self.now + time, Event::BusBack);
            }
            Event::BusBack => self.bus_away = false,
            Event::Wipe => self.wipe(),
            Event::Amnesia(index) => self.amnesia(index),
            Event::AllLeave => self.nodes.values_mut().for_each(|node| node.sessions.clear()),
        }
    }

    fn running(&mut self, id: &NodeId, incarnation: Incarnation) -> Option<&mut Node> {
        self.nodes.get_mut(id).filter(|node| node.record.incarnation == incarnation)
    }

    // --- nodes ---

    fn start_node(&mut self, id: NodeId) {
        let incarnation = Incarnation::from_bits(self.rng.random());
        let region = REGIONS.get(self.rng.random_range(0..REGIONS.len())).copied().unwrap_or_default();
        if self.store.nodes.contains_key(&id) {
            self.report.fired.count("restart within the lease");
        }
        let mut node = Node::new(id.clone(), incarnation, region, CAPACITY);
        node.lease_until = self.now + LEASE;
        let told = self.store.put_node(node.record.clone());
        self.nodes.insert(id.clone(), node);
        self.tell_all(&told);
        let first = self.now + Duration::from_millis(self.rng.random_range(0..1000));
        self.queue.push(first, Event::Beat(id, incarnation));
    }

    fn beat(&mut self, id: &NodeId, incarnation: Incarnation) {
        let now = self.now;
        let alive: BTreeMap<NodeId, Incarnation> =
            self.nodes.iter().map(|(id, node)| (id.clone(), node.record.incarnation)).collect();
        let Some(node) = self.running(id, incarnation) else { return };
        node.tidy();
        for (peer, peer_incarnation) in node.neighbours() {
            if alive.get(&peer) == Some(&peer_incarnation) {
                node.links.insert((peer, peer_incarnation), now + LINK_IDLE);
            }
        }
        let load = node.heartbeat(now);
        let (reaches_store, record) = (node.cut_off_until <= now, node.record.clone());
        if reaches_store {
            node.lease_until = now + LEASE;
        }
        self.queue.push(now + BEAT, Event::Beat(id.clone(), incarnation));
        if reaches_store && !self.store.nodes.contains_key(id) {
            self.report.fired.count("registered again");
            let told = self.store.put_node(record);
            self.tell_all(&told);
        }
        for index in 0..self.coordinators.len() {
            self.send_heartbeat(index, &load);
        }
    }

    fn send_heartbeat(&mut self, index: usize, load: &NodeLoad) {
        if self.bus_away {
            return;
        }
        let faulty = self.is_busy();
        let delay = if faulty && self.rng.random_bool(0.05) {
            self.report.fired.count("heartbeat lost");
            return;
        } else if faulty && self.rng.random_bool(0.1) {
            self.report.fired.count("heartbeat delayed");
            Duration::from_millis(self.rng.random_range(200..2500))
        } else {
            Duration::from_millis(self.rng.random_range(1..20))
        };
        self.queue.push(self.now + delay, Event::Heard(index, Box::new(load.clone())));
    }

    fn kill(&mut self) {
        if !self.is_busy() || self.nodes.len() < 10 {
            return;
        }
        let index = self.rng.random_range(0..self.nodes.len());
        let Some(id) = self.nodes.keys().nth(index).cloned() else { return };
        self.nodes.remove(&id);
        self.report.fired.count("node killed");
        let pause = Duration::from_secs(self.rng.random_range(1..40));
        self.queue.push(self.now + pause, Event::Start(id));
    }

    fn cut_off(&mut self) {
        let index = self.rng.random_range(0..self.nodes.len().max(1));
        let until = self.now + Duration::from_secs(self.rng.random_range(5..40));
        if let Some(node) = self.nodes.values_mut().nth(index) {
            node.cut_off_until = until;
            self.report.fired.count("node cut off from the store");
        }
    }

    // --- the store and the bus, as coordinators see them ---

    fn tell_all(&mut self, told: &Told) {
        for index in 0..self.coordinators.len() {
            self.tell(index, told.clone());
        }
        if matches!(told, Told::Plan(..) | Told::PlanGone(..)) {
            for node in self.nodes.values_mut() {
                // Each node's watch delivers late, and in order.
                let at =
                    (self.now + Duration::from_millis(self.rng.random_range(1..80))).max(node.told_until);
                node.told_until = at;
                let (id, incarnation) = (node.record.id.clone(), node.record.incarnation);
                self.queue.push(at, Event::NodeTold(id, incarnation, told.clone()));
            }
        }
    }

    /// A watch delivers late, and in order.
    fn tell(&mut self, index: usize, told: Told) {
        let delay = Duration::from_millis(self.rng.random_range(1..50));
        let Some(coordinator) = self.coordinators.get_mut(index) else { return };
        let at = (self.now + delay).max(coordinator.told_until);
        coordinator.told_until = at;
        self.queue.push(at, Event::Told(index, told));
    }

    fn told(&mut self, index: usize, told: Told) {
        let now = self.instant();
        let Some(Coordinator { core, .. }) = self.coordinators.get_mut(index) else { return };
        match told {
            Told::Node(record) => core.handle_node(*record, now),
            Told::NodeGone(node) => core.handle_node_gone(&node),
            Told::Plan(plan, revision) => core.handle_plan(plan, revision, now),
            Told::PlanGone(room, revision) => core.handle_plan_gone(&room, revision),
            Told::Everything { nodes, plans, at, wiped } => {
                core.handle_nodes(nodes, now);
                core.handle_rooms(plans, &[], at, wiped, now);
            }
        }
        self.drain(index);
    }

    fn heard(&mut self, index: usize, load: &NodeLoad) {
        let (at, now) = (self.instant(), self.now);
        let Some(coordinator) = self.coordinators.get_mut(index) else { return };
        coordinator.core.handle_load(load, at);
        let news = coordinator
            .heard
            .get(&load.node)
            .is_none_or(|(incarnation, seq, _)| *incarnation != load.incarnation || *seq < load.seq);
        if news {
            coordinator.heard.insert(load.node.clone(), (load.incarnation, load.seq, now));
        }
        self.drain(index);
    }

    fn wipe(&mut self) {
        if !self.is_busy() {
            return;
        }
        self.report.fired.count("store wiped");
        self.store.wipe();
        if self.settings.restarts && self.rng.random_bool(0.4) {
            // Every memory of the plans but the nodes' own is lost.
            self.report.fired.count("store wiped and all coordinators started again");
            for index in 0..self.coordinators.len() {
                self.amnesia(index);
            }
            return;
        }
        let listing = self.store.everything(true);
        self.tell_all(&listing);
    }

    /// A coordinator starts again: it knows nothing and reads the store.
    fn amnesia(&mut self, index: usize) {
        if !self.settings.restarts {
            return;
        }
        self.report.fired.count("coordinator started again");
        if let Some(coordinator) = self.coordinators.get_mut(index) {
            coordinator.core = Core::new(LINGER);
            coordinator.heard.clear();
        }
        let listing = self.store.everything(false);
        self.tell(index, listing);
    }

    fn tick(&mut self, index: usize) {
        self.expire();
        let (now, up) = (self.instant(), !self.bus_away);
        if let Some(Coordinator { core, .. }) = self.coordinators.get_mut(index) {
            core.handle_bus(up, now);
            core.handle_timeout(now);
        }
        self.drain(index);
        self.queue.push(self.now + Duration::from_millis(250), Event::Tick(index));
    }

    /// Keys of nodes whose lease nobody kept alive vanish, whether the node lives or not.
    fn expire(&mut self) {
        let mut gone = Vec::new();
        for (id, record) in &self.store.nodes {
            let owner = self.nodes.get(id).filter(|node| node.record.incarnation == record.incarnation);
            match owner {
                Some(node) if node.lease_until <= self.now => gone.push((id.clone(), true)),
                Some(_) => {}
                None => gone.push((id.clone(), false)),
            }
        }
        for (id, alive) in gone {
            if alive {
                self.report.fired.count("lease lost while alive");
            } else if !self.rng.random_bool(0.02) {
                // The lease of a killed node runs out some time within it.
                continue;
            }
            if let Some(told) = self.store.delete_node(&id) {
                self.tell_all(&told);
            }
        }
    }

    fn repair(&mut self, index: usize) {
        let (now, wall) = (self.instant(), self.wall());
        let writes = self.coordinators.get_mut(index).map(|c| c.core.repairs(wall, now)).unwrap_or_default();
        for write in writes {
            if self.write(index, &write) {
                self.report.fired.count("repair");
            }
        }
        let pause = Duration::from_millis(self.rng.random_range(250..750));
        self.queue.push(self.now + pause, Event::Repair(index));
    }

    /// Compare-and-swap, and what follows from it. Says whether it went through.
    fn write(&mut self, index: usize, write: &Write) -> bool {
        let now = self.instant();
        let Some(told) = self.store.swap_plan(&write.room, write.expect, write.plan.clone()) else {
            self.report.fired.count("conflict");
            let stored = self.store.plans.get(&write.room).cloned();
            if let Some(Coordinator { core, .. }) = self.coordinators.get_mut(index) {
                match stored {
                    Some((plan, revision)) => core.handle_plan_read(plan, revision, now),
                    None => core.handle_plan_missing(&write.room),
                }
            }
            return false;
        };
        if let Some(plan) = &write.plan {
            self.check_plan(plan);
        }
        if let Some(Coordinator { core, .. }) = self.coordinators.get_mut(index) {
            match &told {
                Told::Plan(plan, revision) => core.handle_plan(plan.clone(), *revision, now),
                _ => core.handle_plan_gone(&write.room, write.expect.unwrap_or(Rev(0))),
            }
        }
        self.tell_all(&told);
        true
    }

    fn drain(&mut self, index: usize) {
        loop {
            let output = self.coordinators.get_mut(index).and_then(|c| c.core.poll_output());
            match output {
                None => return,
                Some(Output::Changed(_)) => {}
                Some(Output::Died(death)) => self.check_death(index, &death),
            }
        }
    }

    // --- joins ---

    fn join(&mut self) {
        if self.is_busy() {
            let pause = Duration::from_millis(self.rng.random_range(1..120));
            self.queue.push(self.now + pause, Event::Join);
        } else {
            return;
        }
        let room = format!("r{}", self.rng.random_range(0..self.settings.rooms));
        let Ok(room) = room.parse() else { return };
        let coordinator = self.rng.random_range(0..self.settings.coordinators.max(1));
        let publish = self.rng.random_bool(0.1);
        self.place(coordinator, room, publish, 3);
    }

    fn place(&mut self, index: usize, room: RoomId, publish: bool, left: u32) {
        let now = self.instant();
        let region = REGIONS.get(self.rng.random_range(0..REGIONS.len())).copied().unwrap_or_default();
        let Some(Coordinator { core, .. }) = self.coordinators.get_mut(index) else { return };
        let ranking = rank(core.view(), &Ask { room: &room, region }, now);
        let Some(best) = ranking.candidates.first() else {
            self.report.fired.count("nobody has room");
            return;
        };
        core.handle_join_sent(&best.node, best.incarnation);
        let (node, incarnation) = (best.node.clone(), best.incarnation);
        for _ in 0..12 {
            let (now, wall) = (self.instant(), self.wall());
            let Some(Coordinator { core, .. }) = self.coordinators.get_mut(index) else { return };
            match core.plan_for(&room, &node, incarnation, wall, now) {
                Ok(Step::Ready(plan)) => {
                    let at = self.now + Duration::from_millis(self.rng.random_range(1..30));
                    let call = Call { coordinator: index, room, publish, node, incarnation, plan, left };
                    self.queue.push(at, Event::Call(Box::new(call)));
                    return;
                }
                Ok(Step::Write(write)) => drop(self.write(index, &write)),
                Ok(Step::StoreAway) | Err(_) => break,
            }
        }
        self.violation(format!("{room} could not take {node} into its plan"));
    }

    fn call(&mut self, call: Box<Call>) {
        self.sessions = self.sessions.saturating_add(1);
        let session = self.sessions;
        let taken = match self.running(&call.node, call.incarnation) {
            Some(node) => node.join(session, &call.plan, call.publish),
            None => {
                self.report.fired.count("call to a dead node");
                let (at, node) = (self.instant(), &call.node);
                if let Some(c) = self.coordinators.get_mut(call.coordinator) {
                    c.core.handle_unreachable(node, call.incarnation, at);
                }
                false
            }
        };
        if taken {
            let life = Duration::from_millis(self.rng.random_range(2_000..60_000));
            let leave = Event::Leave(call.node.clone(), call.incarnation, session);
            // Those who are there when the joins stop stay until the end of the run.
            if self.now + life < self.settings.busy {
                self.queue.push(self.now + life, leave);
            }
        } else if self.nodes.get(&call.node).is_some_and(|node| node.record.incarnation == call.incarnation) {
            self.report.fired.count("refused over capacity");
        }
        let at = self.now + Duration::from_millis(self.rng.random_range(1..30));
        self.queue.push(at, Event::Answer(call, taken));
    }

    fn answer(&mut self, call: Call, taken: bool) {
        let now = self.instant();
        let Some(Coordinator { core, .. }) = self.coordinators.get_mut(call.coordinator) else { return };
        if taken {
            core.handle_join_accepted(&call.room, &call.node, call.incarnation, now);
            self.report.fired.count("joined");
            return;
        }
        core.handle_join_refused(&call.node, call.incarnation);
        if call.left > 1 {
            self.place(call.coordinator, call.room, call.publish, call.left - 1);
        }
    }
}
