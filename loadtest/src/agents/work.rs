//! An agent's viewers, on threads of their own.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::UnboundedSender;

use super::message::{Count, Sent};
use crate::num;
use crate::run::{CpuMeter, Crowd, Drops, Look, Pulse, RunPlan, Truth, VIEWERS, check_decoder};
use crate::scenario::Impairment;

/// Sessions get so long to be closed in the end.
const FAREWELL: Duration = Duration::from_secs(10);
/// And so long where nobody waits for them.
const HURRY: Duration = Duration::from_secs(3);

/// What viewers are to do. Who drops the sender ends them.
pub(super) enum Task {
    Impair(u64, Impairment),
    Heal(u64),
    Close,
    Finish(Sent),
}

/// What came of it.
pub(super) enum Outcome {
    Tick(Count),
    Counted(Count),
    Done,
    Failed(String),
}

/// Viewers at work.
pub(super) struct Work {
    tasks: Sender<Task>,
    thread: JoinHandle<()>,
}

impl Work {
    /// Viewers come as the plan has it, the first one at `start`.
    pub fn begin(plan: RunPlan, start: Instant, server: IpAddr, out: UnboundedSender<Outcome>) -> Self {
        let (tasks, given) = channel();
        let thread = std::thread::spawn(move || {
            if let Err(why) = check_decoder(&plan) {
                // Who does not listen any more need not know.
                let _told = out.send(Outcome::Failed(why));
                return;
            }
            let threads = plan.threads.max(1);
            let built =
                Builder::new_multi_thread().worker_threads(threads).thread_name(VIEWERS).enable_all().build();
            match built {
                Ok(runtime) => watch(plan, start, server, runtime, &given, &out),
                Err(error) => {
                    // Who does not listen any more need not know.
                    let _told = out.send(Outcome::Failed(format!("threads cannot be started: {error}")));
                }
            }
        });
        Self { tasks, thread }
    }

    /// Has them do something.
    pub fn give(&self, task: Task) {
        // Fails only where they have ended, which they have said.
        let _given = self.tasks.send(task);
    }

    /// Ends them; blocks until they are gone.
    pub fn end(self) {
        drop(self.tasks);
        if self.thread.join().is_err() {
            tracing::error!("the viewers' thread panicked");
        }
    }
}

struct Meters {
    drops: Drops,
    cpu: CpuMeter,
    pulse: Pulse,
}

impl Meters {
    fn count(&mut self, look: Look, second: u64) -> Count {
        self.drops.look(&look.sockets);
        self.pulse.look();
        let (cores, drops) = (self.cpu.cores(), self.drops.count());
        let (saturated, late_ms) = (self.pulse.doubt(), self.pulse.late());
        Count { second, cores, drops, saturated, late_ms, ..Count::of(look) }
    }
}

fn watch(
    plan: RunPlan,
    start: Instant,
    server: IpAddr,
    runtime: Runtime,
    tasks: &Receiver<Task>,
    out: &UnboundedSender<Outcome>,
) {
    let inside = runtime.enter();
    let pulse = Pulse::start(VIEWERS, plan.threads);
    let crowd = Crowd::new(Arc::new(plan), start, server);
    let mut meters = Meters { drops: Drops::default(), cpu: CpuMeter::start(), pulse };
    crowd.come();
    let (mut second, mut network) = (0_u64, (0, 0));
    let patience = loop {
        let due = start + Duration::from_secs(second.saturating_add(1));
        match tasks.recv_timeout(due.saturating_duration_since(Instant::now())) {
            Ok(Task::Impair(nth, bad)) => network = (nth, crowd.impair(bad).0),
            Ok(Task::Heal(nth)) if nth == network.0 => {
                crowd.heal(network.1);
            }
            Ok(Task::Heal(_)) => {}
            Ok(Task::Close) => crowd.close(),
            Ok(Task::Finish(sent)) => {
                runtime.block_on(crowd.finish_all_decoding());
                let count = meters.count(crowd.finish(&Truth::from(&sent)), second.saturating_add(1));
                let _heard = out.send(Outcome::Counted(count));
                break FAREWELL;
            }
            Err(RecvTimeoutError::Timeout) => {
                // One that was held up does not tell of each second that it missed.
                second = second.saturating_add(1).max(start.elapsed().as_secs());
                let count = meters.count(crowd.look(), second);
                let _heard = out.send(Outcome::Tick(count));
            }
            Err(RecvTimeoutError::Disconnected) => break HURRY,
        }
    };
    let closing = async { tokio::time::timeout(patience, crowd.farewell()).await };
    if runtime.block_on(closing).is_err() {
        tracing::warn!("some viewers could not be closed in {patience:?}");
    }
    drop(inside);
    // Whatever hangs is left behind.
    runtime.shutdown_background();
    let _heard = out.send(Outcome::Done);
}

/// Viewers of a share.
pub(super) fn viewers(plan: &RunPlan) -> u64 {
    num::len(plan.seats.len())
}
