//! Runs a plan: publishers on a thread of their own, so that viewers never delay a capture, viewers on as many as asked.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use super::acts::Acts;
use super::audience::Audience;
use super::beside::Beside;
use super::crowd::Crowd;
use super::files::enough_files;
use super::host::{CpuMeter, Drops};
use super::pulse::{Pulse, VIEWERS};
use super::server::ServerMeter;
use super::tally::{Truth, count, publishers};
use super::timeline::Timeline;
use super::{Progress, RunError, RunPlan, samples};
use crate::agents::Field;
use crate::client::{ClientError, Publisher, PublisherConfig, PublisherStats, SessionState, check_url, kind};
use crate::report::{
    Bound, ClientReport, ModeReport, PublishersReport, RunReport, SCHEMA, TargetReport, worst,
};
use crate::scenario::{Act, Mode};
use crate::{clock, num};

/// What is still under way when publishers pause gets so long to arrive: a retransmission asked for five times.
const GRACE: Duration = Duration::from_millis(700);
/// Between two looks at the clock.
const TICK: Duration = Duration::from_millis(100);
/// Sessions get so long to be closed in the end.
const FAREWELL: Duration = Duration::from_secs(10);
/// A publisher later than this was held up by its own host.
const MAX_LATENESS: Duration = Duration::from_millis(100);

/// Runs a plan to its end and judges it. `progress` is called once a second. Blocks; must not run inside a runtime.
pub fn run(plan: &RunPlan, bounds: &[Bound], progress: impl FnMut(&Progress)) -> Result<RunReport, RunError> {
    enough_files(plan).map_err(RunError::Host)?;
    drive(plan, bounds, None, progress)
}

/// The same with the viewers of agents, who have prepared their shares of this plan. Publishing, events but bad networks,
/// and the server's processes are this machine's.
pub fn run_with_agents(
    plan: &RunPlan,
    bounds: &[Bound],
    field: &Arc<Field>,
    progress: impl FnMut(&Progress),
) -> Result<RunReport, RunError> {
    let result = drive(plan, bounds, Some(Arc::clone(field)), progress);
    field.end();
    result
}

fn drive(
    plan: &RunPlan,
    bounds: &[Bound],
    field: Option<Arc<Field>>,
    progress: impl FnMut(&Progress),
) -> Result<RunReport, RunError> {
    if field.is_none() {
        samples::check_decoder(plan).map_err(RunError::Host)?;
    }
    let plan = RunPlan { publisher: samples::publisher(plan)?, ..plan.clone() };
    let server = ServerMeter::start(&plan).map_err(RunError::Host)?;
    let began = Instant::now();
    let runtime = |threads: usize, name: &str| {
        let built =
            Builder::new_multi_thread().worker_threads(threads.max(1)).thread_name(name).enable_all().build();
        built.map_err(|error| RunError::Host(format!("threads cannot be started: {error}")))
    };
    let sending = runtime(1, "publishers")?;
    let watching = runtime(plan.threads, VIEWERS)?;
    let plan = Arc::new(plan);
    let engine = Engine { plan, field, sending, watching, stopped: Arc::new(AtomicBool::new(false)), began };
    let result = engine.run(bounds, server, progress);
    // Whatever hangs is left behind.
    engine.sending.shutdown_background();
    engine.watching.shutdown_background();
    result
}

struct Engine {
    plan: Arc<RunPlan>,
    /// Agents that watch; without them this process does.
    field: Option<Arc<Field>>,
    sending: Runtime,
    watching: Runtime,
    stopped: Arc<AtomicBool>,
    began: Instant,
}

/// What is measured beside the viewers.
struct Meters {
    start: Instant,
    cpu: CpuMeter,
    drops: Drops,
    pulse: Pulse,
    server: ServerMeter,
    timeline: Timeline,
    beside: Beside,
}

impl Engine {
    fn run(
        &self,
        bounds: &[Bound],
        server: ServerMeter,
        progress: impl FnMut(&Progress),
    ) -> Result<RunReport, RunError> {
        let address = self.check().map_err(RunError::Endpoint)?;
        self.watching.block_on(server.begin()).map_err(RunError::Host)?;
        let publishers = self.publish()?;
        let stopped = Arc::clone(&self.stopped);
        self.watching.spawn(async move {
            told_to_stop().await;
            stopped.store(true, Ordering::Relaxed);
        });
        let start = Instant::now() + self.field.as_ref().map_or(Duration::ZERO, |field| field.lead());
        let (cpu, drops, timeline) = (CpuMeter::start(), Drops::default(), Timeline::new(start));
        let pulse = {
            let _inside = self.watching.enter();
            Pulse::start(VIEWERS, self.plan.threads)
        };
        let mut meters = Meters { start, cpu, drops, pulse, server, timeline, beside: Beside::default() };
        let here = |address| Audience::Here(Crowd::new(Arc::clone(&self.plan), start, address));
        let there = || self.field.clone().map(Audience::There);
        let audience = address.map(here).or_else(there);
        let audience = Arc::new(audience.ok_or_else(|| RunError::Host("nobody is there to watch".into()))?);
        let acts = Acts::default();
        {
            let _inside = self.watching.enter();
            audience.come(start);
            meters.beside = Beside::come(&self.plan.beside, start).map_err(RunError::Endpoint)?;
            acts.begin(&self.plan, &audience, start);
        }
        if let Err(error) = self.watch(&mut meters, &audience, &acts, progress) {
            self.farewell(&audience, publishers);
            return Err(error);
        }
        audience.close();
        meters.beside.close();
        let until = Instant::now();
        publishers.iter().for_each(Publisher::pause);
        std::thread::sleep(GRACE);
        meters.beside.settle();
        let report = self.report(meters, until, &audience, &acts, &publishers, bounds);
        self.farewell(&audience, publishers);
        if let Some(nobody) = nobody_beside(&report).filter(|_| !report.interrupted) {
            return Err(nobody);
        }
        let nobody = self.viewers() > 0 && report.viewers.sessions == 0;
        if nobody && !report.interrupted {
            let most = report.viewers.reasons.iter().max_by_key(|(_, count)| **count);
            let reason = most.map_or("none answered in time".into(), |(reason, _)| reason.clone());
            return Err(RunError::NoViewer { viewers: self.viewers(), reason });
        }
        Ok(report)
    }

    /// Sees whether all targets may be loaded; gives the address behind the WHEP endpoint where this process watches.
    fn check(&self) -> Result<Option<IpAddr>, ClientError> {
        let plan = &self.plan;
        self.watching.block_on(async {
            Beside::check(&plan.beside).await?;
            if self.field.is_some() {
                return Ok(None);
            }
            if plan.seats.is_empty() {
                return Ok(Some(Ipv4Addr::UNSPECIFIED.into()));
            }
            check_url(&plan.whep(0), plan.viewer.allow_public).await.map(|address| Some(address.ip()))
        })
    }

    fn viewers(&self) -> u32 {
        self.plan.audience
    }

    /// All publishers, or none.
    fn publish(&self) -> Result<Vec<Publisher>, RunError> {
        let mut publishers = Vec::new();
        match self.publish_into(&mut publishers) {
            Ok(()) => Ok(publishers),
            Err(error) => {
                self.part(publishers);
                Err(error)
            }
        }
    }

    fn publish_into(&self, publishers: &mut Vec<Publisher>) -> Result<(), RunError> {
        for number in 0..self.plan.publishers {
            let config = PublisherConfig { url: self.plan.whip(number), ..self.plan.publisher.clone() };
            let left = self.plan.time_limit.saturating_sub(self.began.elapsed());
            let connected = self.sending.block_on(async {
                // The session's task has to live on the publishers' own thread, not on this one.
                let connecting = tokio::spawn(Publisher::connect(config));
                tokio::time::timeout(left, connecting).await.map(|joined| match joined {
                    Ok(result) => result,
                    Err(error) => Err(ClientError::Session(error.to_string())),
                })
            });
            let connected = connected.map_err(|_| RunError::TimeLimit(self.plan.time_limit))?;
            publishers.push(connected.map_err(|error| RunError::Publisher { number, error })?);
            self.in_time()?;
        }
        Ok(())
    }

    fn in_time(&self) -> Result<(), RunError> {
        let limit = self.plan.time_limit;
        if self.began.elapsed() > limit { Err(RunError::TimeLimit(limit)) } else { Ok(()) }
    }

    fn watch(
        &self,
        meters: &mut Meters,
        audience: &Audience,
        acts: &Acts,
        mut progress: impl FnMut(&Progress),
    ) -> Result<(), RunError> {
        let (start, total) = (meters.start, self.plan.end());
        let (mut looked, mut cpu) = (start, CpuMeter::start());
        let alone = !self.plan.beside.anybody();
        let stopped = || self.stopped.load(Ordering::Relaxed) || audience.deserted(alone);
        while start.elapsed() < total && !stopped() {
            std::thread::sleep(TICK.min(total.saturating_sub(start.elapsed())));
            self.in_time()?;
            if !audience.ready(looked) {
                continue;
            }
            looked = Instant::now();
            let look = audience.look();
            meters.drops.look(&look.sockets);
            meters.pulse.look();
            let beside = meters.beside.look();
            let second = meters.timeline.add(&look, cpu.cores(), meters.server.look(), beside);
            cpu = CpuMeter::start();
            let latency = &look.tally.latency;
            progress(&Progress {
                total,
                second,
                latency: latency.quantile(0.5).zip(latency.quantile(0.99)),
                received: look.tally.packets.received,
                freezes: look.tally.freezes,
                sums: look.tally.sums(),
                happenings: acts.so_far(),
                beside: meters.beside.words(),
            });
        }
        Ok(())
    }

    fn report(
        &self,
        mut meters: Meters,
        until: Instant,
        audience: &Audience,
        acts: &Acts,
        sessions: &[Publisher],
        bounds: &[Bound],
    ) -> RunReport {
        let elapsed = meters.start.elapsed();
        let sent: HashMap<u64, PublisherStats> =
            sessions.iter().map(Publisher::stats).map(|stats| (stats.publisher, stats)).collect();
        let mut reasons = BTreeMap::new();
        let mut ended = HashSet::new();
        for session in sessions {
            if let SessionState::Ended(reason) = session.state() {
                ended.insert(session.stats().publisher);
                count(&mut reasons, kind(&reason.to_string()));
            }
        }
        let truth = Truth { sent, ended, until };
        audience.finish_decoding(&self.watching);
        let look = audience.finish(&truth);
        meters.drops.look(&look.sockets);
        self.watching.block_on(meters.server.finish());
        let server = meters.server.look();
        let cpu_cores = meters.cpu.cores();
        meters.timeline.add(&look, None, server, meters.beside.look());
        let (mut tally, mut rows) = (look.tally, look.rows);
        rows.sort_by(|one, other| one.viewer.cmp(&other.viewer).then(one.due_s.total_cmp(&other.due_s)));
        // Whose place was somebody's a moment ago may still be asking.
        (0..look.joining.saturating_sub(look.between))
            .for_each(|_| tally.failed("still connecting when the run ended".into()));
        tally.viewers.wanted = self.viewers().into();
        tally.viewers.left = look.left;
        let (whole, connected) = (tally.whole, tally.viewers.sessions);
        let sampled = self.plan.mode == Mode::Sampled;
        let decode = self.plan.decode.map(|_| tally.decode.clone());
        let finished = tally.finish(elapsed);
        let (hls, chat) = meters.beside.report(elapsed);
        let mut report = RunReport {
            schema: SCHEMA,
            name: self.plan.name.clone(),
            started_ms: clock::unix_micros(meters.start) / 1_000,
            target: TargetReport {
                whip: (self.plan.publishers > 0).then(|| self.plan.publisher.url.clone()),
                whep: self.plan.viewer.url.clone(),
            },
            seconds: elapsed.as_secs_f64(),
            interrupted: self.stopped.load(Ordering::Relaxed),
            publishers: PublishersReport { reasons, ..publishers(self.plan.publishers, &truth) },
            mode: ModeReport {
                name: if sampled { "sampled" } else { "full" }.to_owned(),
                every: if sampled { self.plan.sample.into() } else { 1 },
                whole,
                headers: connected.saturating_sub(whole),
            },
            viewers: finished.viewers,
            server: meters.server.report(connected, finished.packets.received),
            packets: finished.packets,
            latency_ms: finished.latency,
            av_skew_ms: finished.skew,
            video_behind_ms: finished.video_behind_ms,
            join: finished.join,
            longest_gap_ms: finished.longest_gap,
            freezes: finished.freezes,
            frozen_ms: num::millis(finished.frozen),
            figures: finished.figures,
            worst: worst(&rows),
            rows,
            decode,
            hls,
            chat,
            timeline: meters.timeline.take(),
            happenings: acts.take(&self.plan),
            client: ClientReport {
                cpu_cores,
                host_cores: std::thread::available_parallelism().map_or(0, |cores| num::len(cores.get())),
                threads: num::len(self.plan.threads),
                socket_drops: meters.drops.count(),
                late_ms: meters.pulse.late(),
                full_seconds: meters.pulse.full(),
                saturated: meters.pulse.doubt().is_some(),
            },
            agents: audience.agents(),
            invalid: Vec::new(),
            bounds: Vec::new(),
        };
        report.bounds = bounds.iter().map(|bound| bound.judge(&report)).collect();
        // What is done to a server may well end its publishers' sessions; a bad network is the viewers' alone.
        let disturbed = self.plan.events.iter().any(|event| !matches!(event.act, Act::Impair(_)));
        let gone = ended_early(&report.publishers).filter(|_| !disturbed);
        report.invalid = meters.pulse.doubt().into_iter().chain(gone).chain(doubts(&report)).collect();
        report
    }

    fn farewell(&self, audience: &Audience, publishers: Vec<Publisher>) {
        match audience {
            Audience::There(field) => field.farewell(),
            Audience::Here(crowd) => {
                let closing = async { tokio::time::timeout(FAREWELL, crowd.farewell()).await };
                if self.watching.block_on(closing).is_err() {
                    tracing::warn!("some viewers could not be closed in {FAREWELL:?}");
                }
            }
        }
        self.part(publishers);
    }

    /// Ends publishers' sessions, all at once: one that is slow keeps nobody from being told.
    fn part(&self, publishers: Vec<Publisher>) {
        let all = async {
            let mut stopping: JoinSet<_> = publishers.into_iter().map(Publisher::stop).collect();
            while let Some(stopped) = stopping.join_next().await {
                if let Ok(Err(error)) = stopped {
                    tracing::warn!(%error, "a publisher could not be closed");
                }
            }
        };
        if self.sending.block_on(async { tokio::time::timeout(FAREWELL, all).await }).is_err() {
            tracing::warn!("some publishers could not be closed in {FAREWELL:?}");
        }
    }
}

/// Waits for Ctrl-C, or for SIGTERM, by which containers and time limits end programs.
async fn told_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminated) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        told = tokio::signal::ctrl_c() => if told.is_err() { std::future::pending().await },
        _ = terminated.recv() => {}
    }
}

/// Those beside viewers by WHEP of whom not one got in: their figures are of nothing.
fn nobody_beside(report: &RunReport) -> Option<RunError> {
    let most = |reasons: &BTreeMap<String, u64>| {
        let most = reasons.iter().max_by_key(|(_, count)| **count);
        most.map_or("nothing came in time".to_owned(), |(reason, _)| reason.clone())
    };
    let hls = report.hls.as_ref().filter(|hls| hls.played == 0).map(|hls| RunError::Nobody {
        who: "viewers of HLS played",
        wanted: hls.wanted,
        reason: most(&hls.reasons),
    });
    hls.or_else(|| {
        let chat = report.chat.as_ref().filter(|chat| chat.connected == 0)?;
        let reason = most(&chat.reasons);
        Some(RunError::Nobody { who: "chat clients connected", wanted: chat.wanted, reason })
    })
}

/// Publishers whose session ended in the middle, in words: viewers could not see what was not sent.
fn ended_early(publishers: &PublishersReport) -> Option<String> {
    let most = publishers.reasons.iter().max_by_key(|(_, count)| **count);
    most.map(|(reason, _)| {
        let (ended, of) = (publishers.ended_early, publishers.wanted);
        format!("{ended} of {of} publishers' sessions ended before the run did, most often: {reason}")
    })
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
    for agent in &report.agents {
        if let Some(why) = &agent.lost {
            let at = agent.heard_s.map_or("before it began".to_owned(), |at| format!("after {at:.1} s"));
            doubts.push(format!(
                "agent {} was lost {at}: {why}; what it had told by then is included, and no more",
                agent.name
            ));
        }
        if let Some(drops) = agent.socket_drops.filter(|drops| *drops > 0) {
            doubts.push(format!(
                "the host of agent {} dropped {drops} datagrams at full receive buffers: give it fewer viewers",
                agent.name
            ));
        }
        if let Some(why) = &agent.saturated {
            doubts.push(format!("agent {}: {why}", agent.name));
        }
    }
    let late = report.late_p99_ms();
    for unknown in report.bounds.iter().filter(|bound| bound.not_measured && !report.saturated()) {
        doubts.push(format!(
            "the client was the limit of {:?}: one in a hundred of its own timers was {late:.1} ms late and more",
            unknown.bound
        ));
    }
    for failed in report.happenings.iter().filter(|happening| !happening.ok) {
        doubts.push(format!("{:?} could not be done: {}", failed.what, failed.said));
    }
    doubts
}
