//! An agent: waits for runs and does its share of each.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use freshet_cluster::bus::nats::NatsConfig;
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};

use super::gather::PREPARE;
use super::message::{Brief, Call, Clock, Count, Hello, Order, Word, cores, subject, version};
use super::post::{Hearing, Post};
use super::work::{Outcome, Task, Work, viewers};
use super::{AgentsError, BEAT, LOST, clocks};
use crate::client::check_url;
use crate::clock;
use crate::run::{RunPlan, enough_files};

/// The coordinator's clock is waited for so long.
const CLOCK: Duration = Duration::from_secs(5);
/// From the order to count, everybody has counted and said goodbye by then.
const ENDING: Duration = Duration::from_secs(60);
/// Longest name of a run.
const NAME_MAX: usize = 64;

/// Makes a plan of what a coordinator asks for, by this host's own rules; or says why not.
type Prepare<'a> = &'a dyn Fn(&Brief) -> Result<RunPlan, String>;

/// Waits for runs and does this host's share of each, until it is stopped by SIGINT or SIGTERM. Blocks; must not run
/// inside a runtime. `say` is told what happens.
pub fn serve(
    nats: NatsConfig,
    name: String,
    prepare: impl Fn(&Brief) -> Result<RunPlan, String>,
    say: impl Fn(&str),
) -> Result<(), AgentsError> {
    let runtime = Builder::new_multi_thread().worker_threads(2).thread_name("agent").enable_all().build();
    let runtime =
        runtime.map_err(|error| AgentsError::Host(format!("threads cannot be started: {error}")))?;
    let served = runtime.block_on(wait(nats, name, &prepare, &say));
    runtime.shutdown_background();
    served
}

/// What an agent is.
struct Agent<'a> {
    post: Arc<Post>,
    hello: Hello,
    /// What is said to it alone.
    mine: Hearing,
    stops: Stops,
    prepare: Prepare<'a>,
    say: &'a dyn Fn(&str),
}

/// Signals that end it.
struct Stops(Signal, Signal);

impl Stops {
    fn new() -> Result<Self, AgentsError> {
        let on = |kind| {
            signal(kind).map_err(|error| AgentsError::Host(format!("signals cannot be heard: {error}")))
        };
        Ok(Self(on(SignalKind::interrupt())?, on(SignalKind::terminate())?))
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
        }
    }
}

async fn wait(
    nats: NatsConfig,
    name: String,
    prepare: Prepare<'_>,
    say: &dyn Fn(&str),
) -> Result<(), AgentsError> {
    let post = Arc::new(Post::connect(nats).await?);
    let hello =
        Hello { agent: format!("{:016x}", rand::random::<u64>()), name, version: version(), cores: cores() };
    let mut calls = post.hear(subject::CALL);
    let mine = post.hear(&subject::agent(&hello.agent));
    let mut agent = Agent { post, hello, mine, stops: Stops::new()?, prepare, say };
    say(&format!("agent {} waits for runs", agent.hello.name));
    let mut stranger = None;
    loop {
        tokio::select! {
            () = agent.stops.next() => return Ok(()),
            came = calls.next::<Call>() => {
                let Some((_, call)) = came else { return Err(AgentsError::Nats("it is closed".into())) };
                if !is_word(&call.run) {
                    continue;
                }
                if call.version != agent.hello.version && stranger.as_ref() != Some(&call.version) {
                    say(&format!("a coordinator of version {} calls, and this is {}", call.version, agent.hello.version));
                    stranger = Some(call.version);
                }
                // It is answered all the same, so that the coordinator can name this agent.
                let word = Word::Hello(agent.hello.clone());
                agent.post.try_send(&subject::from(&call.run, &agent.hello.agent), &word).await;
            }
            came = agent.mine.next::<Order>() => {
                let Some((_, order)) = came else { return Err(AgentsError::Nats("it is closed".into())) };
                let Order::Prepare { run, brief } = order else { continue };
                if is_word(&run) && agent.attend(&run, &brief).await {
                    return Ok(());
                }
            }
        }
    }
}

/// It can stand in a subject and is nothing else.
fn is_word(name: &str) -> bool {
    (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Ends a task when nobody needs it any more.
struct Ends(tokio::task::JoinHandle<()>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Agent<'_> {
    /// Does a share; true if this agent is to end.
    async fn attend(&mut self, run: &str, brief: &Brief) -> bool {
        let mut orders = self.post.hear(&subject::to(run));
        let from = subject::from(run, &self.hello.agent);
        (self.say)(&format!("run {run}: share {} of {}", brief.share.saturating_add(1), brief.of));
        clock::correct(0);
        let (told, mut known) = watch::channel(None);
        let (post, agent) = (Arc::clone(&self.post), self.hello.agent.clone());
        let _follows = Ends(tokio::spawn(clocks::follow(post, run.to_owned(), agent, told)));
        let planned = tokio::time::timeout(PREPARE, self.plan(brief)).await;
        let planned = planned.unwrap_or_else(|_| Err(format!("it could not prepare within {PREPARE:?}")));
        let (plan, server) = match planned {
            Ok(plan) => plan,
            Err(why) => {
                (self.say)(&format!("run {run}: refused: {why}"));
                self.post.try_send(&from, &Word::Refused(why)).await;
                return false;
            }
        };
        let clock = tokio::time::timeout(CLOCK, known.wait_for(Option::is_some)).await;
        let clock = clock.ok().and_then(Result::ok).and_then(|clock| *clock);
        self.post.try_send(&from, &Word::Ready { viewers: viewers(&plan), clock }).await;
        let patience = Patience::new(brief.limit, Instant::now());
        let mut share = Share { from, plan: Some(plan), server, known, work: None, patience };
        let (end, how) = self.watch(&mut share, &mut orders).await;
        if let Some(work) = share.work {
            // Its end is waited for: the next run must not find viewers of this one.
            let gone = tokio::task::spawn_blocking(move || work.end()).await;
            if let Err(error) = gone {
                tracing::error!(%error, "viewers could not be ended");
            }
        }
        (self.say)(&format!("run {run}: {how}"));
        end
    }

    async fn plan(&self, brief: &Brief) -> Result<(RunPlan, IpAddr), String> {
        let plan = (self.prepare)(brief)?;
        enough_files(&plan)?;
        let checked = check_url(&plan.whep(0), plan.viewer.allow_public).await;
        let address = checked.map_err(|error| error.to_string())?;
        Ok((plan, address.ip()))
    }

    /// Until the run is over, one way or another: whether this agent is to end, and how it went in words.
    async fn watch(&mut self, share: &mut Share, orders: &mut Hearing) -> (bool, String) {
        let (out, mut outcomes) = mpsc::unbounded_channel();
        let mut beat = tokio::time::interval(BEAT);
        let mut heard = Instant::now();
        loop {
            tokio::select! {
                () = self.stops.next() => {
                    let word = Word::Gone("it was stopped".into());
                    self.post.try_send(&share.from, &word).await;
                    self.post.settle().await;
                    return (true, "stopped".into());
                }
                came = orders.next::<Order>() => {
                    let Some((_, order)) = came else { return (true, "NATS is closed".into()) };
                    heard = Instant::now();
                    share.patience.hear(&order, heard);
                    if share.obey(order, &out) {
                        return (false, "over".into());
                    }
                }
                came = outcomes.recv() => {
                    let Some(word) = came.and_then(|outcome| share.word(outcome)) else { continue };
                    self.post.try_send(&share.from, &word).await;
                }
                came = self.mine.next::<Order>() => {
                    let Some((_, order)) = came else { return (true, "NATS is closed".into()) };
                    if let Order::Prepare { run, .. } = order && is_word(&run) {
                        let word = Word::Refused("it is busy with another run".into());
                        self.post.try_send(&subject::from(&run, &self.hello.agent), &word).await;
                    }
                }
                _ = beat.tick() => {
                    if heard.elapsed() > LOST {
                        return (false, format!("the coordinator was not heard for {LOST:?}: viewers were stopped"));
                    }
                    if share.patience.is_over(Instant::now()) {
                        let why = "the coordinator did not end the run in time: viewers were stopped".to_owned();
                        self.post.try_send(&share.from, &Word::Gone(why.clone())).await;
                        return (false, why);
                    }
                    self.post.try_send(&share.from, &Word::Here).await;
                }
            }
        }
    }
}

/// How long this agent goes on, whatever a coordinator does that is there and ends nothing. Pure.
struct Patience {
    limit: Duration,
    /// Unlimited where a time cannot be said.
    until: Option<Instant>,
}

impl Patience {
    /// The other agents have so long to get ready, and the run begins within its limit.
    fn new(limit: Duration, now: Instant) -> Self {
        Self { limit, until: now.checked_add(limit.saturating_add(PREPARE).saturating_add(LOST)) }
    }

    fn hear(&mut self, order: &Order, now: Instant) {
        match order {
            Order::Start(_) => self.until = now.checked_add(self.limit.saturating_add(LOST)),
            Order::Finish(_) => self.until = now.checked_add(ENDING),
            _ => {}
        }
    }

    fn is_over(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now > until)
    }
}

/// An agent's share of a run.
struct Share {
    from: String,
    /// Until it begins.
    plan: Option<RunPlan>,
    server: IpAddr,
    known: watch::Receiver<Option<Clock>>,
    work: Option<Work>,
    patience: Patience,
}

impl Share {
    /// Does what the coordinator says; true if the run is over.
    fn obey(&mut self, order: Order, out: &mpsc::UnboundedSender<Outcome>) -> bool {
        let task = match order {
            Order::Over => return true,
            Order::Start(at) => {
                if let Some(plan) = self.plan.take() {
                    let start = clock::at_unix_micros(at);
                    self.work = Some(Work::begin(plan, start, self.server, out.clone()));
                }
                return false;
            }
            Order::Prepare { .. } | Order::Beat => return false,
            Order::Impair(nth, bad) => Task::Impair(nth, bad),
            Order::Heal(nth) => Task::Heal(nth),
            Order::Close => Task::Close,
            Order::Finish(sent) => Task::Finish(sent),
        };
        if let Some(work) = &self.work {
            work.give(task);
        }
        false
    }

    fn word(&self, outcome: Outcome) -> Option<Word> {
        let clock = *self.known.borrow();
        Some(match outcome {
            Outcome::Tick(count) => Word::Tick(Box::new(Count { clock, ..count })),
            Outcome::Counted(count) => Word::Counted(Box::new(Count { clock, ..count })),
            Outcome::Done => Word::Done,
            Outcome::Failed(why) => Word::Gone(why),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::Sent;
    use super::*;

    #[test]
    fn a_run_that_nobody_ends_is_over_all_the_same() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut patience = Patience::new(Duration::from_secs(20), begin);
        assert!(!patience.is_over(at(55)) && patience.is_over(at(56)), "others get ready, and the limit");
        patience.hear(&Order::Start(0), at(50));
        patience.hear(&Order::Beat, at(70));
        assert!(!patience.is_over(at(75)) && patience.is_over(at(76)));
        patience.hear(&Order::Finish(Sent::default()), at(70));
        assert!(!patience.is_over(at(130)) && patience.is_over(at(131)));
        assert!(
            !Patience::new(Duration::MAX, begin).is_over(at(1 << 30)),
            "what cannot be said does not end"
        );
    }
}
