//! One running coordinator: its tasks and its end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use freshet_cluster::bus::SharedBus;
use freshet_cluster::store::SharedStore;
use freshet_edge::bind::remedy;
use freshet_edge::serve::{Door, serve};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::api;
use crate::app::App;
use crate::config::CoordinatorConfig;
use crate::metrics::Metrics;
use crate::readiness::Missing;
use crate::shell::observe;
use crate::shell::state::State;

/// Why a coordinator did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("cannot listen on {addr}: {source}: {}", remedy(.source, "--listen", "--listen"))]
    Listen {
        /// What was asked for.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// An ICE server URL would break a header.
    #[error(transparent)]
    Ice(#[from] freshet_edge::ice::BadUrl),
    /// Two metrics of one name: a mistake of ours.
    #[error("metrics cannot be registered: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// A coordinator that runs until it is stopped, or dropped (then without goodbye).
pub struct Coordinator {
    app: Arc<App>,
    addr: SocketAddr,
    stop: watch::Sender<bool>,
    server: JoinHandle<usize>,
    tasks: Vec<JoinHandle<()>>,
}

impl Coordinator {
    /// Listens and begins to observe. It is ready (`/readyz`) when it knows the cluster: see
    /// [`crate::readiness`].
    pub async fn start(
        config: CoordinatorConfig,
        store: SharedStore,
        bus: SharedBus,
    ) -> Result<Self, StartError> {
        config.ice.check()?;
        let listen = config.listen;
        let failed = |source| StartError::Listen { addr: listen, source };
        let listener = freshet_edge::bind::listen(listen).map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        let (limits, grace, id) = (config.limits, config.grace, config.id.clone());
        let door = Door::new(listener, config.tls.clone()).behind(config.door.trusted.clone());
        let metrics = Metrics::new()?;
        let http = metrics.http.clone();
        let entrance =
            freshet_edge::Door::new(config.door.clone(), &metrics.registered, "coordinator", false)?;
        let state = Arc::new(State::new(config, store, bus, metrics));
        let app = Arc::new(App::new(Arc::clone(&state), entrance));
        let tasks = vec![
            tokio::spawn(observe::run(Arc::clone(&state))),
            tokio::spawn(observe::repair(Arc::clone(&state))),
            tokio::spawn(observe::warm_up(Arc::clone(&state))),
            tokio::spawn(state.config.guard.rules().clone().follow(Arc::clone(&state.store))),
        ];
        let (stop, mut stopped) = watch::channel(false);
        let router = api::router(Arc::clone(&app));
        let shutdown = async move {
            // An error means that the coordinator was dropped.
            let _ended = stopped.wait_for(|stop| *stop).await;
        };
        let server = tokio::spawn(serve(door, router, limits, Some(http), shutdown, grace));
        tracing::info!(coordinator = id.as_str(), %addr, open = state.config.guard.is_open(), "coordinator serves");
        Ok(Self { app, addr, stop, server, tasks })
    }

    /// Where it serves HTTP.
    pub fn http_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Nodes that are registered and heard: joins find them.
    pub fn nodes_heard(&self) -> usize {
        let core = self.app.state().core();
        core.view().registered().saturating_sub(core.view().unheard().count())
    }

    /// What it waits for before it should be sent work.
    pub fn ready(&self) -> Result<(), Missing> {
        self.app.state().ready(Instant::now())
    }

    /// Takes no new joins and says that it is not ready; sessions, events and chat go on.
    pub async fn drain(&self) {
        self.app.state().set_draining();
    }

    /// Ends event streams, lets requests end for the configured grace, and stops.
    pub async fn stop(mut self) {
        self.app.state().set_draining();
        self.app.hubs().stop();
        self.stop.send_replace(true);
        match (&mut self.server).await {
            Ok(0) => {}
            Ok(cut) => tracing::warn!(cut, "connections were cut at the stop"),
            Err(error) => tracing::error!(%error, "the server task failed"),
        }
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        self.app.hubs().stop();
        self.stop.send_replace(true);
        for task in &self.tasks {
            task.abort();
        }
    }
}
