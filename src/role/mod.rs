//! Runs a role until a signal ends it.

mod common;
mod coordinator;
mod dev;
mod files;
mod keys;
mod local;
mod node;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use crate::config::Settings;
use crate::lifecycle::{self, Service};

/// What is left of the 5 s of the last step when the service has stopped.
const RUNTIME_END: Duration = Duration::from_millis(200);

/// Starts the role, runs it until a signal has ended it, and says how the process exits.
pub fn run(settings: Settings) -> anyhow::Result<ExitCode> {
    files::take_all();
    // Libraries that speak TLS ask for the process's cryptography; an error means that it is set already.
    let _set = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no async runtime")?;
    let drain_timeout = settings.common().drain_timeout;
    let result = runtime.block_on(async {
        // Before anybody can be served: who is told to end then says so, and is not cut off.
        let mut signals = lifecycle::Signals::listen().context("signals cannot be received")?;
        let service = tokio::select! {
            service = start(settings) => service?,
            () = signals.any() => {
                tracing::info!("stopped before it had started");
                return Ok(true);
            }
        };
        lifecycle::run(signals, service, drain_timeout).await.context("signals cannot be received")
    });
    runtime.shutdown_timeout(RUNTIME_END);
    result.map(|_clean| ExitCode::SUCCESS)
}

async fn start(settings: Settings) -> anyhow::Result<Arc<dyn Service>> {
    Ok(match settings {
        Settings::Dev(dev) => Arc::new(dev::start(dev).await?),
        Settings::Node(settings) => {
            let (store, bus) = common::connect(&settings.member).await?;
            Arc::new(node::start(node::config(settings)?, store, bus).await?)
        }
        Settings::Coordinator(settings) => {
            let (store, bus) = common::connect(&settings.member).await?;
            Arc::new(coordinator::start(coordinator::config(settings)?, store, bus).await?)
        }
    })
}
