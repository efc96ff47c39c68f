//! The audience of a run that watches elsewhere, as its coordinator sees it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use super::message::{Count, Hello, Order, Sent, Word, subject};
use super::offset::millis;
use super::post::{Hearing, Post};
use super::{BEAT, LOST};
use crate::measure::Histogram;
use crate::report::{AgentReport, ViewerRow};
use crate::run::{Look, RunPlan, Truth};
use crate::scenario::Impairment;
use crate::{clock, num};

/// Between the order to start and the first viewer: it has to reach everybody.
const LEAD: Duration = Duration::from_secs(1);
/// Between two looks at who is lost.
const CHECK: Duration = Duration::from_millis(250);
/// Between two looks at what everybody has said.
const POLL: Duration = Duration::from_millis(20);
/// Counting takes an agent so long at most.
const COUNTING: Duration = Duration::from_secs(30);
/// Saying goodbye to the server, too.
const FAREWELL: Duration = Duration::from_secs(15);

/// Telling all that it is over takes so long at most.
const OVER: Duration = Duration::from_secs(2);

/// An agent of the run.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub hello: Hello,
    /// It has prepared its share.
    pub ready: bool,
    /// Viewers of its share.
    pub viewers: u64,
    /// What it said last.
    pub count: Count,
    heard: Instant,
    /// Its count is the last one.
    counted: bool,
    /// Its viewers are gone.
    done: bool,
    lost: Option<Lost>,
    /// Why none of its latencies count, from when that was seen first.
    doubt: Option<String>,
}

#[derive(Debug, Clone)]
struct Lost {
    /// When it was heard last.
    heard: Instant,
    why: String,
}

impl Member {
    pub fn new(hello: Hello) -> Self {
        Self {
            hello,
            ready: false,
            viewers: 0,
            count: Count::default(),
            heard: Instant::now(),
            counted: false,
            done: false,
            lost: None,
            doubt: None,
        }
    }

    fn lose(&mut self, why: String) {
        if self.lost.is_none() && !self.done {
            self.lost = Some(Lost { heard: self.heard, why });
        }
    }

    fn live(&self) -> bool {
        self.lost.is_none()
    }

    fn hear(&mut self, word: Word, now: Instant) {
        // Who was given up is not taken back: its viewers have stopped.
        if !self.live() {
            return;
        }
        self.heard = now;
        match word {
            Word::Tick(count) if !self.counted => self.count = *count,
            Word::Counted(count) => (self.count, self.counted) = (*count, true),
            Word::Done => self.done = true,
            Word::Gone(why) | Word::Refused(why) => self.lose(why),
            Word::Hello(_) | Word::Ready { .. } | Word::Here | Word::Tick(_) => {}
        }
    }

    /// Sees whether its clock is known well enough for latency to mean anything. What was doubtful once stays so: nobody
    /// knows since when its latencies were wrong.
    fn judge(&mut self, limit: Duration) {
        if self.viewers == 0 || self.doubt.is_some() {
            return;
        }
        self.doubt = match self.count.clock {
            None => Some("its clock is not known".to_owned()),
            Some(clock) if clock.jumped => Some("its clock or the coordinator's jumped".to_owned()),
            Some(clock) if Duration::from_micros(clock.uncertainty) > limit => {
                Some(format!("its clock is known worse than to {limit:?}"))
            }
            Some(_) => None,
        };
    }

    /// What it counted, without latencies that may be wrong.
    fn add_to(&self, look: &mut Look) {
        let count = &self.count;
        if self.doubt.is_some() {
            let mut tally = count.tally.clone();
            tally.latency = Histogram::new();
            look.tally.merge(&tally);
        } else {
            look.tally.merge(&count.tally);
        }
        let known = self.doubt.is_none();
        look.rows.extend(count.rows.iter().cloned().map(|row| ViewerRow {
            latency_mean_ms: row.latency_mean_ms.filter(|_| known),
            latency_max_ms: row.latency_max_ms.filter(|_| known),
            ..row
        }));
        look.left += count.left;
        look.failed += count.failed;
        if self.live() {
            look.joining += count.joining;
            look.between += count.between;
            look.watching += count.watching;
            look.gap = look.gap.max(count.gap);
        }
    }
}

struct State {
    members: Vec<Member>,
    start: Option<Instant>,
    /// The last second that was looked at.
    looked: u64,
    /// Bad networks so far.
    impaired: u64,
    /// All have been told that it is over.
    over: bool,
}

/// Agents that watch.
pub struct Field {
    state: Arc<Mutex<State>>,
    orders: mpsc::UnboundedSender<Order>,
    plan: RunPlan,
    /// Latency of an agent counts while its clock is known at least so well.
    clock: Duration,
    runtime: Option<Runtime>,
}

impl Drop for Field {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Field {
    pub(super) fn open(
        runtime: Runtime,
        post: Arc<Post>,
        run: String,
        heard: Hearing,
        mut members: Vec<Member>,
        plan: &RunPlan,
        clock: Duration,
    ) -> Arc<Self> {
        members.iter_mut().for_each(|member| member.heard = Instant::now());
        let state = State { members, start: None, looked: 0, impaired: 0, over: false };
        let state = Arc::new(Mutex::new(state));
        let (orders, given) = mpsc::unbounded_channel();
        runtime.spawn(tend(post, run, heard, given, Arc::clone(&state)));
        Arc::new(Self { state, orders, plan: plan.clone(), clock, runtime: Some(runtime) })
    }

    fn order(&self, order: Order) {
        // Fails only where the runtime is gone, and then all agents are lost soon.
        let _told = self.orders.send(order);
    }

    /// The time between the order to start and the first viewer.
    pub(crate) fn lead(&self) -> Duration {
        LEAD
    }

    /// The first viewer is due then.
    pub(crate) fn come(&self, start: Instant) {
        lock(&self.state).start = Some(start);
        self.order(Order::Start(clock::unix_micros(start)));
    }

    /// Nobody is left.
    pub(crate) fn deserted(&self) -> bool {
        !lock(&self.state).members.iter().any(Member::live)
    }

    /// All have told of a second that nobody has looked at.
    pub(crate) fn ready(&self) -> bool {
        let state = lock(&self.state);
        let seconds = state.members.iter().filter(|member| member.live()).map(|member| member.count.second);
        seconds.min().is_some_and(|second| second > state.looked)
    }

    /// What all have counted so far.
    pub(crate) fn look(&self) -> Look {
        let mut state = lock(&self.state);
        let live = state.members.iter().filter(|member| member.live());
        if let Some(second) = live.map(|member| member.count.second).min() {
            state.looked = second;
        }
        let mut look = Look::default();
        for member in &mut state.members {
            member.judge(self.clock);
            member.add_to(&mut look);
        }
        look
    }

    /// Nobody comes or goes any more.
    pub(crate) fn close(&self) {
        self.order(Order::Close);
    }

    /// What all have counted in the end, knowing what was sent.
    pub(crate) fn finish(&self, truth: &Truth) -> Look {
        self.order(Order::Finish(Sent::from(truth)));
        self.wait(COUNTING, |member| member.counted);
        for member in lock(&self.state).members.iter_mut().filter(|member| !member.counted) {
            member.lose(format!("it did not count within {COUNTING:?}"));
        }
        self.look()
    }

    /// Waits until all have said goodbye to the server.
    pub(crate) fn farewell(&self) {
        self.wait(FAREWELL, |member| member.done);
    }

    /// Tells all that the run is over, however it went.
    pub(crate) fn end(&self) {
        self.order(Order::Over);
        let end = Instant::now() + OVER;
        while !lock(&self.state).over && Instant::now() < end {
            std::thread::sleep(POLL);
        }
    }

    /// Waits for all who are not lost.
    fn wait(&self, within: Duration, finished: fn(&Member) -> bool) {
        let end = Instant::now() + within;
        let waiting = || lock(&self.state).members.iter().any(|member| member.live() && !finished(member));
        while waiting() && Instant::now() < end {
            std::thread::sleep(POLL);
        }
    }

    /// The network becomes bad for some; says which of the run's bad networks it is, and for how many who are due.
    pub(crate) fn impair(&self, bad: Impairment) -> (u64, u64) {
        let mut state = lock(&self.state);
        state.impaired += 1;
        let nth = state.impaired;
        self.order(Order::Impair(nth, bad));
        let now = Instant::now();
        let due = |due: Duration| state.start.is_some_and(|start| start + due <= now);
        let hit = |seat: &&crate::run::Seat| due(seat.due) && self.plan.impaired(seat.number, bad).is_some();
        (nth, num::len(self.plan.seats.iter().filter(hit).count()))
    }

    /// The network is good again, if nothing has made it bad in another way since.
    pub(crate) fn heal(&self, nth: u64) -> bool {
        let ours = lock(&self.state).impaired == nth;
        if ours {
            self.order(Order::Heal(nth));
        }
        ours
    }

    /// What became of each agent.
    pub(crate) fn reports(&self) -> Vec<AgentReport> {
        let state = lock(&self.state);
        let report = |member: &Member| {
            let (count, clock) = (&member.count, member.count.clock);
            let since =
                |at: Instant| state.start.map(|start| at.saturating_duration_since(start).as_secs_f64());
            AgentReport {
                name: member.hello.name.clone(),
                viewers: member.viewers,
                connected: count.tally.viewers.seated,
                failed: count.failed,
                packets: count.tally.packets.received,
                latencies: if member.doubt.is_some() { 0 } else { count.tally.latency.len() },
                clock_offset_ms: clock.map(|clock| millis(clock.offset)),
                clock_uncertainty_ms: clock.map(|clock| num::float(clock.uncertainty) / 1_000.0),
                latency_refused: member.doubt.is_some(),
                clock_doubt: member.doubt.clone(),
                cpu_cores: count.cores,
                host_cores: member.hello.cores,
                socket_drops: count.drops,
                saturated: count.saturated.clone(),
                late_ms: count.late_ms,
                lost: member.lost.as_ref().map(|lost| lost.why.clone()),
                heard_s: member.lost.as_ref().and_then(|lost| since(lost.heard)),
            }
        };
        state.members.iter().map(report).collect()
    }
}

/// Carries orders out and words in, and notices who is lost; ends with the field.
async fn tend(
    post: Arc<Post>,
    run: String,
    mut heard: Hearing,
    mut orders: mpsc::UnboundedReceiver<Order>,
    state: Arc<Mutex<State>>,
) {
    let to = subject::to(&run);
    let (mut beat, mut check) = (tokio::time::interval(BEAT), tokio::time::interval(CHECK));
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(order) => {
                    post.try_send(&to, &order).await;
                    if matches!(order, Order::Over) {
                        post.settle().await;
                        lock(&state).over = true;
                    }
                }
                None => return,
            },
            came = heard.next::<Word>() => {
                let Some((from, word)) = came else { return };
                let mut state = lock(&state);
                let mut members = state.members.iter_mut();
                if let Some(member) = members.find(|member| from.ends_with(&member.hello.agent)) {
                    member.hear(word, Instant::now());
                }
            }
            _ = beat.tick() => post.try_send(&to, &Order::Beat).await,
            _ = check.tick() => {
                let now = Instant::now();
                for member in &mut lock(&state).members {
                    if now.saturating_duration_since(member.heard) > LOST {
                        member.lose(format!("it was not heard for {LOST:?}"));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::Clock;
    use super::*;

    const LIMIT: Duration = Duration::from_millis(5);

    fn member(name: &str) -> Member {
        let (agent, name, version) = (name.to_owned(), name.to_owned(), String::new());
        Member { viewers: 1, ..Member::new(Hello { agent, name, version, cores: 1 }) }
    }

    /// What it tells: so many latencies of so many milliseconds, and its clock.
    fn tick(member: &mut Member, latencies: u64, ms: u64, clock: Option<Clock>) {
        let mut count = Count { clock, failed: 1, ..Count::default() };
        (0..latencies).for_each(|_| count.tally.latency.record_micros(ms * 1_000));
        member.hear(Word::Tick(Box::new(count)), Instant::now());
    }

    fn look(members: &mut [Member]) -> Look {
        let mut look = Look::default();
        for member in members {
            member.judge(LIMIT);
            member.add_to(&mut look);
        }
        look
    }

    #[test]
    fn latencies_by_a_clock_that_is_not_known_count_for_nothing_from_then_on() {
        let well = Some(Clock { offset: 40, uncertainty: 300, jumped: false });
        let jumped = Some(Clock { offset: -9_000_000, uncertainty: 300, jumped: true });
        let vague = Some(Clock { offset: 40, uncertainty: 5_001, jumped: false });
        for (bad, says) in [(jumped, "jumped"), (vague, "worse than to 5ms"), (None, "not known")] {
            let mut members = [member("good"), member("bad")];
            tick(&mut members[0], 10, 4, well);
            tick(&mut members[1], 20, 5, well);
            assert_eq!(look(&mut members).tally.latency.len(), 30);
            tick(&mut members[1], 25, 9_000, bad);
            let found = look(&mut members);
            assert_eq!((found.tally.latency.len(), found.failed), (10, 2), "{says}: all else counts");
            assert!(found.tally.latency.max().unwrap() < Duration::from_millis(5), "{says}");
            tick(&mut members[1], 30, 5, well);
            assert_eq!(look(&mut members).tally.latency.len(), 10, "{says}: it stays doubtful");
            assert!(members[1].doubt.as_ref().unwrap().contains(says) && members[0].doubt.is_none());
        }
        let mut idle = Member { viewers: 0, ..member("idle") };
        idle.judge(LIMIT);
        assert!(idle.doubt.is_none(), "it has nothing to tell");
    }
}
