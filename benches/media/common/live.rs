//! A shard as a node runs it, thread, socket and clock, and a crowd that watches.
//!
//! The shard's thread has one core. On the other, this thread plays the streams in real time and reads for all viewers,
//! never sleeping. Streams come by a link's door (`shard::Intake`): a packet's way begins when it is put there.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use freshet_cluster::SessionId;
use freshet_node::media::clock::Wall;
use freshet_node::quic::{LinkId, MediaIn, MediaSink};
use freshet_node::session::Direction;
use freshet_node::sfu::Ask;
use freshet_node::shard::{Intake, Order, ShardHandle, Tell};
use freshet_relay_proto::header::{Extensions, MediaHeader};
use tokio::sync::{mpsc, oneshot};

use super::crowd::{Crowd, Got, Viewer};
use super::measure::pin;
use super::stage::{self, incoming};
use super::trace::{Moment, Trace};
use crate::{READER_CORE, WORKER_CORE};

/// What a pacer lets go at once; what a keyframe has beyond, it holds.
const AT_ONCE: usize = freshet_node::forward::pace::BURST as usize;
/// A histogram's step and length.
const STEP: Duration = Duration::from_micros(10);
const STEPS: usize = 500_000;

/// A packet that was put into the door.
struct Sent {
    at: Instant,
    held: bool,
}

#[derive(Default)]
struct Room {
    /// How often the trace has begun.
    rounds: u32,
    /// Sound, picture.
    sent: [Vec<Sent>; 2],
}

/// Times on the way, of packets that the pacer did not hold, and of those that it did.
pub struct Latency([Vec<u32>; 2]);

impl Latency {
    /// The time that so many thousandths stay below, in milliseconds.
    pub fn quantile(&self, thousandths: u64, held_too: bool) -> f64 {
        let count =
            |step: usize| u64::from(self.0[0][step]) + u64::from(if held_too { self.0[1][step] } else { 0 });
        let wanted = (0..STEPS).map(count).sum::<u64>() * thousandths / 1_000;
        let mut below = 0;
        for step in 0..STEPS {
            below += count(step);
            if below >= wanted {
                return (STEP * (step as u32 + 1)).as_secs_f64() * 1e3;
            }
        }
        f64::INFINITY
    }
}

/// What a run came to.
pub struct Outcome {
    /// Packets a second that should have gone to viewers, and that came to them, with and without repeats.
    pub offered: f64,
    pub delivered: f64,
    pub first: f64,
    /// What the viewer who got least got of what it should have, in all.
    pub least: f64,
    /// Packets that viewers never got, when all was quiet again.
    pub missing: u64,
    /// Packets that the door dropped.
    pub dropped: u64,
    /// Sessions that have ended since the start, in this load or before.
    pub ended: usize,
    /// Datagrams of clients that the kernel dropped before the shard read them, and RTCP that the shard did not look into.
    pub unread: u64,
    pub unheard: u64,
    pub newcomers: Newcomers,
    /// What the shard says of itself, in thousandths.
    pub busy: u32,
    pub latency: Latency,
    /// Shares of their cores that shard and crowd were at work.
    pub shard: f64,
    pub crowd: f64,
}

/// Whether the shard takes sessions, asked ten times a second as a node asks before each join.
pub struct Newcomers {
    next: Instant,
    pub asked: u32,
    pub refused: u32,
}

impl Newcomers {
    fn ask(&mut self, now: Instant, shard: &ShardHandle) {
        if now >= self.next {
            self.next = now + Duration::from_millis(100);
            self.asked += 1;
            self.refused += u32::from(shard.busy().full);
        }
    }
}

pub struct Live {
    shard: ShardHandle,
    intake: Intake,
    crowd: Crowd,
    each: usize,
    rooms: Vec<Room>,
    trace: Trace,
    stat: std::path::PathBuf,
    _events: mpsc::Receiver<(u16, freshet_node::sfu::Event)>,
}

impl Live {
    /// A shard with so many rooms, each with so many viewers, who have all seen its first frame.
    pub async fn new(rooms: usize, each: usize, batch: Duration, trace: Trace) -> Self {
        pin(WORKER_CORE);
        let intake = Intake::new(1);
        let wall = Wall::new(Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap());
        let (shard, events) = stage::shard(stage::SILENCE, batch, wall, intake.arrivals()[0].clone()).await;
        let server = shard.candidates()[0];
        for room in 0..rooms {
            shard.tell(Tell::Up(incoming(room))).await;
        }
        let mut viewers = Vec::new();
        for nth in 0..rooms * each {
            let (mut viewer, offer) = Viewer::new(Instant::now(), nth % rooms, server);
            let (reply, answer) = oneshot::channel();
            let ask = Ask {
                session: SessionId::from_bits(nth as u128 + 1),
                direction: Direction::View,
                room: format!("room-{}", nth % rooms).parse().unwrap(),
                pinned: None,
                identity: "me".parse().unwrap(),
                whose: Default::default(),
                client: None,
                offer,
            };
            shard.order(Order::Create(ask, reply)).await;
            viewer.accept(&answer.await.unwrap().unwrap().0);
            viewers.push(viewer);
        }
        pin(READER_CORE);
        let rooms = (0..rooms).map(|_| Room::default()).collect();
        let (crowd, stat) = (Crowd::new(viewers), thread_of_shard());
        let mut live = Self { shard, intake, crowd, each, rooms, trace, stat, _events: events };
        live.crowd.connect();
        live.prime();
        live
    }

    /// Each room's first moments, one room after the other, so that every viewer knows where its streams begin.
    fn prime(&mut self) {
        let first = |video| {
            self.trace.moments.iter().find(|moment| moment.packets[0].video == video).unwrap().clone()
        };
        let (picture, sound) = (first(true), first(false));
        for room in 0..self.rooms.len() {
            self.rooms[room].rounds += 1;
            self.put(room, &picture);
            self.put(room, &sound);
            self.watch(Duration::from_millis(20));
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        while !self.crowd.primed() {
            assert!(Instant::now() < deadline, "not all viewers see the first frame");
            self.watch(Duration::from_millis(50));
        }
        self.crowd.lossy = true;
    }

    fn watch(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.crowd.read(&mut |_, _, _, _| {});
            self.crowd.tend(Instant::now());
        }
    }

    /// Puts a moment of a room into the door.
    fn put(&mut self, room: usize, moment: &Moment) {
        let Room { sent, rounds } = &mut self.rooms[room];
        let played = *rounds * self.trace.length.as_secs() as u32;
        for (nth, sample) in moment.packets.iter().enumerate() {
            let lane = &mut sent[usize::from(sample.video)];
            let rate = if sample.video { 90_000 } else { 48_000 };
            let (index, arrived) = (lane.len() as u64 + 1, Instant::now());
            let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            let header = MediaHeader {
                alias: room as u32,
                track: u8::from(sample.video),
                layer: 0,
                index,
                timestamp: sample.timestamp.wrapping_add(played.wrapping_mul(rate)),
                marker: sample.marker,
                keyframe: sample.keyframe,
                codec: 0,
                capture: unix.as_micros() as u64,
                exts: Extensions::default(),
            };
            lane.push(Sent { at: arrived, held: nth >= AT_ONCE });
            let packet = MediaIn { link: LinkId(0), header, payload: sample.payload.clone(), arrived };
            self.intake.take(packet);
        }
    }

    /// Plays the first so many rooms: `warm` that does not count, then `time` that does. Newcomers ask all the while.
    pub fn run(&mut self, playing: usize, warm: Duration, time: Duration) -> Outcome {
        let begin = Instant::now();
        let (from, to) = (begin + warm, begin + warm + time);
        let length = self.trace.length;
        // All play from the start, each from another place, spread evenly over the trace whatever the number of rooms:
        // frames and keyframes do not come together.
        let first = |room: usize| {
            let phase = length.mul_f64((room as f64 * 0.618_034).fract());
            let nth = self.trace.moments.iter().position(|moment| moment.at >= phase);
            nth.map_or((begin, room, 0), |nth| (begin + (self.trace.moments[nth].at - phase), room, nth))
        };
        let mut due: BinaryHeap<_> = (0..playing).map(|room| Reverse(first(room))).collect();
        self.rooms[..playing].iter_mut().for_each(|room| room.rounds += 1);
        let mut latency = Latency([vec![0; STEPS], vec![0; STEPS]]);
        let before = self.state(Duration::ZERO);
        let counted = self.shard.latest();
        let (mut start, mut end) = (None, None);
        let (mut idle, mut quiet) = (Duration::ZERO, Instant::now());
        let mut newcomers = Newcomers { next: from, asked: 0, refused: 0 };
        loop {
            let now = Instant::now();
            if start.is_none() && now >= from {
                start = Some((now, self.state(idle)));
            }
            if end.is_none() {
                newcomers.ask(now, &self.shard);
            }
            if end.is_none() && now >= to {
                end = Some((now, self.state(idle)));
                due.clear();
            }
            if end.is_some()
                && (now > quiet + Duration::from_millis(500) || now > to + Duration::from_secs(2))
            {
                break;
            }
            while let Some(Reverse((at, room, nth))) = due.peek().copied()
                && at <= now
            {
                due.pop();
                self.rooms[room].rounds += u32::from(nth == 0);
                let moment = self.trace.moments[nth].clone();
                self.put(room, &moment);
                let (next, wrap) =
                    if nth + 1 < self.trace.moments.len() { (nth + 1, Duration::ZERO) } else { (0, length) };
                let step = self.trace.moments[next].at + wrap - moment.at;
                due.push(Reverse((at + step, room, next)));
            }
            let Self { crowd, rooms, .. } = self;
            let read = crowd.read(&mut |now, room, video, place| {
                let Some(sent) = rooms[room].sent[usize::from(video)].get(place) else { return };
                if sent.at >= from && sent.at < to {
                    let step = now.duration_since(sent.at).as_nanos() / STEP.as_nanos();
                    latency.0[usize::from(sent.held)][(step as usize).min(STEPS - 1)] += 1;
                }
            });
            self.crowd.tend(Instant::now());
            if read == 0 {
                idle += now.elapsed();
            } else {
                quiet = Instant::now();
            }
        }
        let last = self.state(idle);
        let mut out = self.between(playing, &start.unwrap(), &end.unwrap(), latency);
        out.missing = self.missing(playing, &before, &last);
        let now = self.shard.latest();
        out.ended = self.crowd.viewers.len().saturating_sub(now.kept.0);
        out.unread = now.socket_overflow - counted.socket_overflow;
        out.unheard = now.reports_dropped - counted.reports_dropped;
        out.newcomers = newcomers;
        out
    }

    fn between(
        &self,
        playing: usize,
        (from, before): &(Instant, State),
        (to, after): &(Instant, State),
        latency: Latency,
    ) -> Outcome {
        let seconds = (*to - *from).as_secs_f64();
        let sent: Vec<u64> = before.sent.iter().zip(&after.sent).map(|(a, b)| b - a).collect();
        let (mut first, mut again, mut least) = (0, 0, f64::INFINITY);
        let viewers = self.crowd.viewers.iter().zip(before.got.iter().zip(&after.got));
        for (viewer, (before, after)) in viewers.filter(|(viewer, _)| viewer.room < playing) {
            let (packets, repeats) = (after.packets - before.packets, after.again - before.again);
            (first, again) = (first + packets, again + repeats);
            least = ((packets + repeats) as f64 / sent[viewer.room] as f64).min(least);
        }
        Outcome {
            offered: (sent.iter().sum::<u64>() * self.each as u64) as f64 / seconds,
            delivered: (first + again) as f64 / seconds,
            first: first as f64 / seconds,
            least,
            missing: 0,
            newcomers: Newcomers { next: *from, asked: 0, refused: 0 },
            busy: after.busy,
            dropped: after.dropped - before.dropped,
            ended: 0,
            unread: 0,
            unheard: 0,
            latency,
            shard: (after.cpu - before.cpu).as_secs_f64() / seconds,
            crowd: 1.0 - (after.idle - before.idle).as_secs_f64() / seconds,
        }
    }

    /// Packets of the whole run that a viewer did not get in the end, nor got again, over all viewers.
    fn missing(&self, playing: usize, first: &State, last: &State) -> u64 {
        let got = |state: &State, at: usize| state.got[at].packets + state.got[at].again;
        let viewers = self.crowd.viewers.iter().enumerate().filter(|(_, viewer)| viewer.room < playing);
        viewers
            .map(|(at, viewer)| {
                let sent = last.sent[viewer.room] - first.sent[viewer.room];
                sent.saturating_sub(got(last, at) - got(first, at))
            })
            .sum()
    }

    fn state(&self, idle: Duration) -> State {
        let text = std::fs::read_to_string(&self.stat).unwrap();
        State {
            got: self.crowd.viewers.iter().map(|viewer| viewer.got).collect(),
            sent: self
                .rooms
                .iter()
                .map(|room| room.sent.iter().map(|lane| lane.len() as u64).sum())
                .collect(),
            cpu: Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap()),
            dropped: self.intake.arrivals()[0].dropped(),
            busy: self.shard.busy().permille,
            idle,
        }
    }

    /// What the shard counted.
    pub async fn counters(&self) -> freshet_node::sfu::Counters {
        self.shard.count().await.unwrap().counters
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        pin(WORKER_CORE);
    }
}

struct State {
    got: Vec<Got>,
    sent: Vec<u64>,
    cpu: Duration,
    dropped: u64,
    busy: u32,
    idle: Duration,
}

/// Where the kernel says how long the newest shard's thread has run.
fn thread_of_shard() -> std::path::PathBuf {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let named = |task: &std::path::PathBuf| {
        std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "shard-0")
    };
    let number =
        |task: &std::path::PathBuf| task.file_name().unwrap().to_str().unwrap().parse::<u32>().unwrap();
    tasks.filter(named).max_by_key(number).unwrap().join("schedstat")
}
