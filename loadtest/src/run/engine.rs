//! Runs a plan: publishers on a thread of their own, so that viewers never delay a capture, viewers on as many as asked.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};

use super::host::{CpuMeter, open_file_limit, socket_drops};
use super::report::{ClientReport, RunReport, TargetReport};
use super::tally::{Tally, Truth, publishers};
use super::{Bound, RunError, RunPlan};
use crate::client::{
    Loss, Publisher, PublisherConfig, PublisherStats, SessionState, Viewer, ViewerConfig, check_url,
};
use crate::num;

/// What is still under way when publishers pause gets so long to arrive: a retransmission asked for five times.
const GRACE: Duration = Duration::from_millis(700);
/// Between two looks at the clock.
const TICK: Duration = Duration::from_millis(100);
/// Between two progress reports.
const REPORT: Duration = Duration::from_secs(1);
/// Sessions get so long to be closed in the end.
const FAREWELL: Duration = Duration::from_secs(10);
/// Sessions closed at once: a server is not to be stormed by our goodbye.
const FAREWELLS_AT_ONCE: usize = 64;
/// Files beside the viewers' sockets.
const OTHER_FILES: u64 = 128;
/// A publisher later than this was held up by its own host.
const MAX_LATENESS: Duration = Duration::from_millis(100);

/// How a run is going.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// Since the first join was due.
    pub elapsed: Duration,
    /// The whole of it.
    pub total: Duration,
    /// Viewers connected, not yet due or connecting, and failed.
    pub connected: u64,
    /// Viewers not yet connected.
    pub waiting: u64,
    /// Viewers that could not connect, or whose session ended.
    pub failed: u64,
    /// Packets received since the last report, a second.
    pub packets_per_second: u64,
    /// Packets missing so far.
    pub missing: u64,
    /// Latency so far: median and 99th percentile.
    pub latency: Option<(Duration, Duration)>,
    /// Cores' worth of CPU that this process uses.
    pub cpu_cores: Option<f64>,
}

enum Slot {
    Waiting,
    Failed(String),
    Live(Box<Viewer>),
}

type Slots = Arc<Vec<Mutex<Slot>>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a plan to its end and judges it. `progress` is called once a second. Blocks; must not run inside a runtime.
pub fn run(plan: &RunPlan, bounds: &[Bound], progress: impl FnMut(&Progress)) -> Result<RunReport, RunError> {
    plan.check()?;
    let files = u64::from(plan.viewers) * 2 + u64::from(plan.publishers) * 2 + OTHER_FILES;
    if let Some(limit) = open_file_limit().filter(|limit| *limit < files) {
        let text = format!(
            "{} viewers may need {files} open files and {limit} are allowed; raise it: ulimit -n {files}",
            plan.viewers
        );
        return Err(RunError::Host(text));
    }
    let began = Instant::now();
    let runtime = |threads: usize, name: &str| {
        let built =
            Builder::new_multi_thread().worker_threads(threads.max(1)).thread_name(name).enable_all().build();
        built.map_err(|error| RunError::Host(format!("threads cannot be started: {error}")))
    };
    let sending = runtime(1, "publishers")?;
    let watching = runtime(plan.threads, "viewers")?;
    let engine = Engine { plan, sending, watching, stopped: Arc::new(AtomicBool::new(false)), began };
    let result = engine.run(bounds, progress);
    // Whatever hangs is left behind.
    engine.sending.shutdown_background();
    engine.watching.shutdown_background();
    result
}

struct Engine<'a> {
    plan: &'a RunPlan,
    sending: Runtime,
    watching: Runtime,
    stopped: Arc<AtomicBool>,
    began: Instant,
}

impl Engine<'_> {
    fn run(&self, bounds: &[Bound], progress: impl FnMut(&Progress)) -> Result<RunReport, RunError> {
        let whep = self.plan.whep(0);
        let checked = self.watching.block_on(check_url(&whep, self.plan.viewer.allow_public));
        checked.map_err(RunError::Endpoint)?;
        let publishers = self.publish()?;
        let stopped = Arc::clone(&self.stopped);
        self.watching.spawn(async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                stopped.store(true, Ordering::Relaxed);
            }
        });
        let cpu = CpuMeter::start();
        let start = Instant::now();
        let slots = self.join(start);
        self.watch(start, &slots, progress)?;
        let until = Instant::now();
        publishers.iter().for_each(Publisher::pause);
        std::thread::sleep(GRACE);
        let report = self.report((start, until), &slots, &publishers, cpu, bounds);
        self.farewell(&slots, publishers);
        let nobody = report.viewers.connected == 0;
        if nobody && !report.interrupted {
            let most = report.viewers.reasons.iter().max_by_key(|(_, count)| **count);
            let reason = most.map_or("none answered in time".into(), |(reason, _)| reason.clone());
            return Err(RunError::NoViewer { viewers: self.plan.viewers, reason });
        }
        Ok(report)
    }

    fn publish(&self) -> Result<Vec<Publisher>, RunError> {
        let mut publishers = Vec::new();
        for number in 0..self.plan.publishers {
            let config = PublisherConfig { url: self.plan.whip(number), ..self.plan.publisher.clone() };
            let connected = self.sending.block_on(async {
                // The session's task has to live on the publishers' own thread, not on this one.
                match tokio::spawn(Publisher::connect(config)).await {
                    Ok(result) => result,
                    Err(error) => Err(crate::client::ClientError::Session(error.to_string())),
                }
            });
            publishers.push(connected.map_err(|error| RunError::Publisher { number, error })?);
            self.in_time()?;
        }
        Ok(publishers)
    }

    fn join(&self, start: Instant) -> Slots {
        let slots: Slots = Arc::new((0..self.plan.viewers).map(|_| Mutex::new(Slot::Waiting)).collect());
        for number in 0..self.plan.viewers {
            let due = start + self.plan.due(number);
            // Each viewer loses packets of its own.
            let loss = self
                .plan
                .viewer
                .loss
                .map(|loss| Loss { seed: loss.seed.wrapping_add(number.into()), ..loss });
            let (url, scheduled) = (self.plan.whep(number), Some(due));
            let config = ViewerConfig { url, scheduled, loss, ..self.plan.viewer.clone() };
            let slots = Arc::clone(&slots);
            self.watching.spawn(async move {
                tokio::time::sleep_until(due.into()).await;
                let slot = match Viewer::connect(config).await {
                    Ok(viewer) => Slot::Live(Box::new(viewer)),
                    Err(error) => {
                        tracing::info!(viewer = number, %error, "a viewer could not connect");
                        Slot::Failed(error.class())
                    }
                };
                if let Some(place) = usize::try_from(number).ok().and_then(|number| slots.get(number)) {
                    *lock(place) = slot;
                }
            });
        }
        slots
    }

    fn in_time(&self) -> Result<(), RunError> {
        let limit = self.plan.time_limit;
        if self.began.elapsed() > limit { Err(RunError::TimeLimit(limit)) } else { Ok(()) }
    }

    fn watch(
        &self,
        start: Instant,
        slots: &Slots,
        mut progress: impl FnMut(&Progress),
    ) -> Result<(), RunError> {
        let total = self.plan.arrival() + self.plan.duration;
        let (mut reported, mut received) = (start, 0);
        let mut cpu = CpuMeter::start();
        while start.elapsed() < total && !self.stopped.load(Ordering::Relaxed) {
            std::thread::sleep(TICK.min(total.saturating_sub(start.elapsed())));
            self.in_time()?;
            if reported.elapsed() < REPORT {
                continue;
            }
            let (mut tally, unknown) = (Tally::default(), Truth::unknown());
            let mut now = Progress {
                elapsed: start.elapsed(),
                total,
                connected: 0,
                waiting: 0,
                failed: 0,
                packets_per_second: 0,
                missing: 0,
                latency: None,
                cpu_cores: cpu.cores(),
            };
            for slot in slots.iter() {
                match &*lock(slot) {
                    Slot::Waiting => now.waiting += 1,
                    Slot::Failed(_) => now.failed += 1,
                    Slot::Live(viewer) => tally.viewer(&viewer.report(), &unknown),
                }
            }
            now.connected = tally.viewers.connected - tally.viewers.ended_early;
            now.failed += tally.viewers.ended_early;
            now.missing = tally.packets.lost;
            let since = reported.elapsed().as_secs_f64();
            now.packets_per_second =
                num::count(num::float(tally.packets.received.saturating_sub(received)) / since);
            now.latency = tally.latency.quantile(0.5).zip(tally.latency.quantile(0.99));
            progress(&now);
            (reported, received, cpu) = (Instant::now(), tally.packets.received, CpuMeter::start());
        }
        Ok(())
    }

    fn report(
        &self,
        (start, until): (Instant, Instant),
        slots: &Slots,
        sessions: &[Publisher],
        cpu: CpuMeter,
        bounds: &[Bound],
    ) -> RunReport {
        let elapsed = start.elapsed();
        let sent: HashMap<u64, PublisherStats> =
            sessions.iter().map(Publisher::stats).map(|stats| (stats.publisher, stats)).collect();
        let ended: HashSet<u64> = sessions
            .iter()
            .filter(|session| matches!(session.state(), SessionState::Ended(_)))
            .map(|session| session.stats().publisher)
            .collect();
        let truth = Truth { sent, ended, until };
        let mut tally = Tally::default();
        let mut ports = HashSet::new();
        for slot in slots.iter() {
            match &*lock(slot) {
                Slot::Waiting => tally.failed("still connecting when the run ended".into()),
                Slot::Failed(class) => tally.failed(class.clone()),
                Slot::Live(viewer) => {
                    ports.insert(viewer.local_address().port());
                    tally.viewer(&viewer.report(), &truth);
                }
            }
        }
        tally.viewers.wanted = self.plan.viewers.into();
        let finished = tally.finish(elapsed);
        let mut report = RunReport {
            schema: 1,
            target: TargetReport {
                whip: (self.plan.publishers > 0).then(|| self.plan.publisher.url.clone()),
                whep: self.plan.viewer.url.clone(),
            },
            seconds: elapsed.as_secs_f64(),
            interrupted: self.stopped.load(Ordering::Relaxed),
            publishers: publishers(self.plan.publishers, &truth),
            viewers: finished.viewers,
            packets: finished.packets,
            latency_ms: finished.latency,
            join: finished.join,
            longest_gap_ms: finished.longest_gap,
            client: ClientReport {
                cpu_cores: cpu.cores(),
                host_cores: std::thread::available_parallelism().map_or(0, |cores| num::len(cores.get())),
                threads: num::len(self.plan.threads),
                socket_drops: socket_drops(&ports),
            },
            invalid: Vec::new(),
            bounds: Vec::new(),
        };
        report.invalid = doubts(&report);
        report.bounds = bounds.iter().map(|bound| bound.judge(&report)).collect();
        report
    }

    fn farewell(&self, slots: &Slots, publishers: Vec<Publisher>) {
        let viewers: Vec<Viewer> = slots
            .iter()
            .filter_map(|slot| match std::mem::replace(&mut *lock(slot), Slot::Waiting) {
                Slot::Live(viewer) => Some(*viewer),
                Slot::Waiting | Slot::Failed(_) => None,
            })
            .collect();
        let closing = async move {
            let mut all = tokio::task::JoinSet::new();
            for viewer in viewers {
                if all.len() >= FAREWELLS_AT_ONCE {
                    all.join_next().await;
                }
                all.spawn(viewer.stop());
            }
            while all.join_next().await.is_some() {}
        };
        let in_time = self.watching.block_on(async { tokio::time::timeout(FAREWELL, closing).await });
        if in_time.is_err() {
            tracing::warn!("some viewers could not be closed in {FAREWELL:?}");
        }
        for publisher in publishers {
            let stopped =
                self.sending.block_on(async { tokio::time::timeout(FAREWELL, publisher.stop()).await });
            if let Ok(Err(error)) = stopped {
                tracing::warn!(%error, "a publisher could not be closed");
            }
        }
    }
}

/// Reasons why figures speak of this host rather than of the server.
fn doubts(report: &RunReport) -> Vec<String> {
    let mut doubts = Vec::new();
    if let Some(drops) = report.client.socket_drops.filter(|drops| *drops > 0) {
        doubts.push(format!(
            "this host dropped {drops} datagrams at full receive buffers: fewer viewers, or more threads"
        ));
    }
    let late = report.publishers.worst_lateness_ms;
    if late > num::millis(MAX_LATENESS) {
        doubts.push(format!(
            "a publisher was up to {late:.0} ms late: this host is too busy to publish in time"
        ));
    }
    doubts
}
