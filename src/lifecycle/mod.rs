//! How a process ends: SIGTERM drains it, a second one or Ctrl-C stops it at once.

mod machine;

use std::time::Duration;

use async_trait::async_trait;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

pub use machine::{Action, Lifecycle, Phase, STOP_LIMIT};

/// What runs and can be ended.
#[async_trait]
pub trait Service: Send + Sync + 'static {
    /// Takes no new sessions from now on; returns when the last one has left.
    async fn drain(&self);
    /// Tells the sessions that are left, gives up the lease, closes.
    async fn stop(&self);
}

/// The signals that end a process. Until they are listened for, the system ends it without a word to anybody.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens from now on.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for one of them.
    pub async fn any(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Runs until a signal has ended the service. Returns whether the last step was done in time.
pub async fn run(
    signals: Signals,
    service: std::sync::Arc<dyn Service>,
    drain_timeout: Duration,
) -> std::io::Result<bool> {
    let Signals { mut terminate, mut interrupt } = signals;
    let mut life = Lifecycle::new(drain_timeout);
    let mut drained: Option<JoinHandle<()>> = None;
    let mut stopped: Option<JoinHandle<()>> = None;
    loop {
        let deadline = life.poll_timeout();
        tokio::select! {
            _ = terminate.recv() => life.handle_terminate(now()),
            _ = interrupt.recv() => life.handle_interrupt(now()),
            () = ended(&mut drained) => life.handle_drained(now()),
            () = ended(&mut stopped) => life.handle_stopped(),
            () = until(deadline) => life.handle_timeout(now()),
        }
        match life.poll_action() {
            Some(Action::Drain) => {
                tracing::info!(timeout_s = drain_timeout.as_secs(), "draining: no new sessions");
                let service = service.clone();
                drained = Some(tokio::spawn(async move { service.drain().await }));
            }
            Some(Action::Stop) => {
                tracing::info!("stopping");
                let service = service.clone();
                stopped = Some(tokio::spawn(async move { service.stop().await }));
            }
            Some(Action::Exit { clean }) => {
                match clean {
                    true => tracing::info!("stopped"),
                    false => tracing::warn!("stopped without having told everyone: it took too long"),
                }
                return Ok(clean);
            }
            None => {}
        }
    }
}

fn now() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}

/// Waits for a task, once; for ever when there is none.
async fn ended(task: &mut Option<JoinHandle<()>>) {
    match task {
        Some(handle) => {
            if let Err(error) = handle.await {
                tracing::error!(%error, "a step of the shutdown failed");
            }
            *task = None;
        }
        None => std::future::pending().await,
    }
}

async fn until(deadline: Option<std::time::Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
