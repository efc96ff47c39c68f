//! Many join at once while others watch: how late the packets of those who watch become.
//!
//! A real shard's thread with a real socket on one core; its clients on the other, with a socket each. Lateness is from
//! the moment at which a packet of a link is put into the shard's queue to the kernel's stamp of its arrival at the
//! viewer's socket, so a reader that is late does not count. A packet's length tells which frame it is of.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use freshet_cluster::SessionId;
use freshet_cluster::room::EndReason;
use freshet_node::media::clock::Wall;
use freshet_node::quic::{LinkId, MediaIn};
use freshet_node::session::Direction;
use freshet_node::sfu::{Ask, Event};
use freshet_node::shard::{Arrivals, Order, ShardHandle, Tell};
use freshet_relay_proto::header::{Extensions, MediaHeader};
use tokio::sync::{mpsc, oneshot};

use super::READER_CORE;
use super::common::Settings;
use super::common::joiners::{Crowd, FRAMES, Sent, realtime};
use super::common::measure::{self, Samples};
use super::common::report::{Row, Target};
use super::common::stage::{self, incoming};

/// Rooms of one stream each, whose frames come one room after the other.
pub const ROOMS: usize = 8;
/// Packets of a frame: with 30 of these a second about 0.8 Mbit/s.
const PACKETS: usize = 4;
const FRAME: Duration = Duration::from_nanos(33_333_333);
const KEYFRAME_EVERY: usize = 30;
/// Joins that come together while the audience gathers.
const TOGETHER: usize = 10;
/// The same in a storm: a steady one, and one in gusts.
const GUSTS: [usize; 2] = [10, 100];
const SETTLE: Duration = Duration::from_millis(1_000);

/// A shard's thread, and the thread that brings it the streams.
struct Node {
    shard: ShardHandle,
    media: Arrivals,
    events: mpsc::Receiver<(u16, Event)>,
    next: u128,
}

impl Node {
    async fn new() -> Self {
        let media = Arrivals::default();
        let wall = Wall::new(Instant::now(), Duration::from_secs(1_800_000_000));
        // Clients that are connected say nothing more.
        let silence = Duration::from_secs(3_600);
        let (shard, events) = stage::shard(silence, Duration::from_millis(5), wall, media.clone()).await;
        for room in 0..ROOMS {
            shard.tell(Tell::Up(incoming(room))).await;
        }
        Self { shard, media, events, next: 1 }
    }

    /// Asks for a session; the answer comes by what is returned.
    async fn ask(&mut self, room: usize, offer: String) -> (SessionId, oneshot::Receiver<Answer>) {
        let session = SessionId::from_bits(self.next);
        self.next += 1;
        let ask = Ask {
            session,
            direction: Direction::View,
            room: format!("room-{room}").parse().unwrap(),
            pinned: None,
            identity: "me".parse().unwrap(),
            whose: Default::default(),
            client: None,
            offer,
        };
        let (reply, answer) = oneshot::channel();
        self.shard.order(Order::Create(ask, reply)).await;
        while self.events.try_recv().is_ok() {}
        (session, answer)
    }
}

type Answer = Result<(String, String), freshet_node::session::CreateError>;

/// Brings all rooms their frames until it is told to stop.
fn publish(media: &Arrivals, sent: &Sent, stop: &AtomicBool) {
    let begin = Instant::now();
    for nth in 0_usize.. {
        let (frame, room) = (nth / ROOMS, nth % ROOMS);
        let due = FRAME.mul_f64(nth as f64 / ROOMS as f64);
        std::thread::sleep(due.saturating_sub(begin.elapsed()));
        if stop.load(Ordering::Relaxed) {
            return;
        }
        sent[room][frame % FRAMES].store(realtime(), Ordering::Relaxed);
        for n in 0..PACKETS {
            let keyframe = frame % KEYFRAME_EVERY == 0 && n == 0;
            let mut payload = vec![0x41; 600 + frame % FRAMES];
            payload[0] = if keyframe { 0x65 } else { 0x41 };
            let header = MediaHeader {
                alias: room as u32,
                track: 1,
                layer: 0,
                index: (1 + frame * PACKETS + n) as u64,
                timestamp: frame as u32 * 3_000,
                marker: n + 1 == PACKETS,
                keyframe,
                codec: 0,
                capture: 1_800_000_000_000_000 + due.as_micros() as u64,
                exts: Extensions::default(),
            };
            let packet =
                MediaIn { link: LinkId(0), header, payload: payload.into(), arrived: Instant::now() };
            media.put(packet.arrived, packet);
            assert_eq!(media.dropped(), 0, "the shard keeps up");
        }
    }
}

/// Part of a core that the shard's thread used since the process began, in nanoseconds.
fn shard_cpu() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let of_shard = |task: &std::path::Path| {
        let name = std::fs::read_to_string(task.join("comm")).ok()?;
        let used = std::fs::read_to_string(task.join("schedstat")).ok()?;
        (name.trim() == "shard-0").then(|| used.split(' ').next().unwrap().parse::<u64>().unwrap())
    };
    tasks.filter_map(|task| of_shard(&task.unwrap().path())).sum()
}

/// Viewers join, so many together each `every`, and everybody's packets are read until `until` has passed.
async fn play(
    node: &mut Node,
    crowd: &mut Crowd,
    joiners: usize,
    (together, every): (usize, Duration),
    until: Duration,
) {
    let begin = Instant::now();
    let (mut asked, first) = (0, crowd.len() - joiners);
    let mut answers = Vec::new();
    while begin.elapsed() < until {
        while asked < joiners && begin.elapsed() >= every.mul_f64((asked / together) as f64) {
            let at = first + asked;
            let offer = crowd.ask(at);
            let (session, answer) = node.ask(at % ROOMS, offer).await;
            crowd.of(at, session);
            answers.push((at, answer));
            asked += 1;
        }
        answers.retain_mut(|(at, answer)| match answer.try_recv() {
            Ok(answered) => {
                crowd.accept(*at, &answered.unwrap().0);
                false
            }
            Err(_) => true,
        });
        crowd.turn();
        tokio::task::yield_now().await;
    }
    assert_eq!(asked, joiners);
}

/// Latency of those who watch while 500 join within a second.
pub async fn storm(settings: &Settings) -> Vec<Row> {
    let (joiners, repetitions) = (settings.size(500, 20), settings.size(5, 1));
    let mut node = Node::new().await;
    let sent: Arc<Sent> = Arc::new(std::array::from_fn(|_| std::array::from_fn(|_| AtomicU64::new(0))));
    let stop = Arc::new(AtomicBool::new(false));
    let publisher = {
        let (media, sent, stop) = (node.media.clone(), sent.clone(), stop.clone());
        std::thread::spawn(move || {
            measure::pin(READER_CORE);
            publish(&media, &sent, &stop);
        })
    };
    // The shard's thread stays where this one was when it began.
    measure::pin(READER_CORE);
    let server = node.shard.candidates()[0];
    let mut crowd = Crowd::new(server, sent);
    let gather = Duration::from_millis(settings.size(20, 10));
    let mut watchers = settings.size(400, 10);
    crowd.invite(watchers);
    play(&mut node, &mut crowd, watchers, (TOGETHER, gather), gather * (watchers / TOGETHER) as u32 + SETTLE)
        .await;
    let mut load = load(&mut node, &mut crowd, settings).await;
    // So many that half of the core is used.
    for _ in 0..settings.size(8, 1) {
        if load >= 0.5 {
            break;
        }
        let more = (watchers as f64 * (0.5 / load - 1.0)).clamp(0.0, settings.size(2_000.0, 10.0)) as usize;
        let more = more / TOGETHER * TOGETHER;
        crowd.invite(more);
        let until = gather * (more / TOGETHER) as u32 + SETTLE;
        play(&mut node, &mut crowd, more, (TOGETHER, gather), until).await;
        watchers += more;
        load = self::load(&mut node, &mut crowd, settings).await;
    }
    let mut rows = Vec::new();
    for together in GUSTS.map(|gust| settings.size(gust, TOGETHER)) {
        let storm = Storm { watchers, joiners, together, repetitions };
        rows.push(storm.row(&mut node, &mut crowd, load, settings).await);
    }
    stop.store(true, Ordering::Relaxed);
    publisher.join().unwrap();
    measure::pin(super::WORKER_CORE);
    rows
}

struct Storm {
    watchers: usize,
    joiners: usize,
    together: usize,
    repetitions: usize,
}

impl Storm {
    async fn row(&self, node: &mut Node, crowd: &mut Crowd, load: f64, settings: &Settings) -> Row {
        let Self { watchers, joiners, together, repetitions } = *self;
        let (mut quiet, mut stormy, mut joined) =
            (Samples::default(), Samples::default(), Samples::default());
        let (mut halves, mut worst) = (Samples::default(), Samples::default());
        for _ in 0..repetitions {
            crowd.measure(watchers);
            let calm = settings.size(Duration::from_secs(2), SETTLE);
            play(node, crowd, 0, (TOGETHER, FRAME), calm).await;
            quiet.push(crowd.latency(0.99));
            crowd.invite(joiners);
            crowd.measure(watchers);
            let every = Duration::from_secs(1).mul_f64(together as f64 / joiners as f64);
            play(node, crowd, joiners, (together, every), Duration::from_millis(1_500)).await;
            stormy.push(crowd.latency(0.99));
            halves.push(crowd.latency(0.5));
            worst.push(crowd.latency(0.999));
            for _ in 0..20 {
                if crowd.unseen(watchers) > 0 {
                    play(node, crowd, 0, (TOGETHER, FRAME), SETTLE / 2).await;
                }
            }
            joined.push(crowd.joined(watchers, 0.99));
            for session in crowd.leave(watchers) {
                node.shard.tell(Tell::End(session, EndReason::Closed)).await;
            }
            play(node, crowd, 0, (TOGETHER, FRAME), SETTLE).await;
        }
        let note = format!(
            "{watchers} watch in {ROOMS} rooms, {:.0} % of the core; reference: the same without joins; p50 {:.1} ms, \
             p99.9 {:.1} ms; 99 % of the joiners see packets within {:.0} ms",
            load * 100.0,
            halves.median(),
            worst.median(),
            joined.median(),
        );
        let name = format!("{joiners} joins in 1 s, {together} together, p99 of those watching");
        let target = if settings.quick { Target::None } else { Target::Most(20.0) };
        Row { name, unit: "ms", ours: stormy, reference: Some(quiet), target, note }
    }
}

/// Part of a core that the shard uses.
async fn load(node: &mut Node, crowd: &mut Crowd, settings: &Settings) -> f64 {
    let (before, begin) = (shard_cpu(), Instant::now());
    play(node, crowd, 0, (TOGETHER, FRAME), settings.size(Duration::from_secs(2), SETTLE)).await;
    (shard_cpu() - before) as f64 / begin.elapsed().as_nanos() as f64
}
