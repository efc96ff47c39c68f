//! What callers hold of a running session.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use str0m::Rtc;
use str0m::change::{SdpAnswer, SdpPendingOffer};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{oneshot, watch};

use super::drive::{COMMANDS, Command, Driver, Endpoint, Marks, Paths, SessionState};
use super::gate::Reach;
use super::guard::lock;
use super::mail::{self, mail};
use super::negotiate::{Negotiated, Opened};
use super::relay::{Left, usable};
use super::resource::{PatchOutcome, SessionResource};
use super::{ClientError, EndReason};
use crate::scenario::{Impairment, Turn};

/// Neither a direct way nor one by TURN has led anywhere.
pub(super) fn no_way() -> ClientError {
    ClientError::Session("there is no way to the server".into())
}

#[derive(Debug)]
pub(super) struct SessionHandle {
    host: SocketAddr,
    left: Arc<Left>,
    commands: mail::Sender<Command>,
    state: watch::Receiver<SessionState>,
    marks: Arc<Mutex<Marks>>,
    resource: Arc<SessionResource>,
    negotiated: Arc<Negotiated>,
}

impl SessionHandle {
    /// Starts to drive a session on the current runtime.
    pub fn spawn<E: Endpoint>(opened: Opened, endpoint: E, paths: Paths, reach: Reach) -> Self {
        let (sender, commands) = mail(COMMANDS);
        let (state, watched) = watch::channel(SessionState::Connecting);
        let marks = Arc::new(Mutex::new(Marks::default()));
        let Opened { rtc, socket, local, host, negotiated, resource, .. } = opened;
        let left = Arc::<Left>::default();
        let driver = Driver {
            rtc,
            socket,
            left: Arc::clone(&left),
            local,
            endpoint,
            commands,
            state,
            marks: Arc::clone(&marks),
            paths,
            known: Vec::new(),
            peer: None,
            reach,
            tapped: None,
        };
        tokio::spawn(driver.run());
        Self {
            host,
            left,
            commands: sender,
            state: watched,
            marks,
            resource: Arc::new(resource),
            negotiated: Arc::new(negotiated),
        }
    }

    pub fn local(&self) -> SocketAddr {
        self.host
    }

    /// Its states, for who waits for a change of them.
    pub fn states(&self) -> watch::Receiver<SessionState> {
        self.state.clone()
    }

    pub fn shared_resource(&self) -> Arc<SessionResource> {
        Arc::clone(&self.resource)
    }

    /// What it leaves when it is over. Nobody else holds it once that is so.
    pub fn left(&self) -> Arc<Left> {
        Arc::clone(&self.left)
    }

    pub fn state(&self) -> SessionState {
        self.state.borrow().clone()
    }

    pub fn marks(&self) -> Marks {
        *lock(&self.marks)
    }

    pub fn resource(&self) -> &SessionResource {
        &self.resource
    }

    pub fn negotiated(&self) -> &Negotiated {
        &self.negotiated
    }

    pub async fn connected(&self, within: Duration) -> Result<(), ClientError> {
        let mut state = self.state.clone();
        let waiting =
            state.wait_for(|state| matches!(state, SessionState::Connected | SessionState::Ended(_)));
        match tokio::time::timeout(within, waiting).await {
            Ok(Ok(state)) => match &*state {
                SessionState::Ended(reason) => Err(ClientError::Ended(reason.to_string())),
                _ => Ok(()),
            },
            Ok(Err(_)) => Err(ClientError::Ended("its task is gone".into())),
            Err(_) => {
                let what = if self.marks().ice.is_some() { "DTLS" } else { "ICE" };
                Err(ClientError::Timeout { what: what.into(), after: within })
            }
        }
    }

    /// Waits for the connection; false if there is no direct way in half of the time, and a TURN server may be one. The
    /// server has been told then that this session is none, and so it has been where there is an error.
    pub async fn direct(&self, turn: Turn, relayed: bool, within: Duration) -> Result<bool, ClientError> {
        let found = self.way(turn, relayed, within).await;
        if found.as_ref().is_ok_and(|direct| *direct) {
            return found;
        }
        self.resource.abandon().await;
        found
    }

    async fn way(&self, turn: Turn, relayed: bool, within: Duration) -> Result<bool, ClientError> {
        let another = !relayed && turn == Turn::Fallback && usable(&self.negotiated.ice_servers).is_some();
        if !another {
            return self.connected(within).await.map(|()| true);
        }
        match self.connected(within / 2).await {
            Err(ClientError::Timeout { .. }) if self.marks().ice.is_none() => Ok(false),
            // It is DTLS that is slow, not the way.
            Err(ClientError::Timeout { .. }) => self.connected(within / 2).await.map(|()| true),
            other => other.map(|()| true),
        }
    }

    /// Waits until the session is over.
    pub async fn ended(&self, within: Duration) -> Option<EndReason> {
        let mut state = self.state.clone();
        let waiting = state.wait_for(|state| matches!(state, SessionState::Ended(_)));
        match tokio::time::timeout(within, waiting).await {
            Ok(Ok(state)) => match &*state {
                SessionState::Ended(reason) => Some(reason.clone()),
                _ => None,
            },
            Ok(Err(_)) | Err(_) => None,
        }
    }

    /// Makes the task look at its endpoint again. Where commands are waiting it will anyway.
    pub fn wake(&self) {
        let _full_or_over = self.commands.try_send(Command::Wake);
    }

    /// Makes the network between this session and its server bad, or good again. Must be called inside a runtime.
    pub fn impair(&self, bad: Option<Impairment>) {
        if let Err(TrySendError::Full(later)) = self.commands.try_send(Command::Impair(bad)) {
            let commands = self.commands.clone();
            tokio::spawn(async move {
                let _over = commands.send(later).await;
            });
        }
    }

    pub async fn close(&self) {
        if self.commands.send(Command::Close).await.is_ok() {
            self.ended(Duration::from_secs(2)).await;
        }
    }

    async fn with<T: Send + 'static>(
        &self,
        action: impl FnOnce(&mut Rtc) -> T + Send + 'static,
    ) -> Result<T, ClientError> {
        let (sender, receiver) = oneshot::channel();
        let command = Command::With(Box::new(move |rtc| {
            let _caller_gone = sender.send(action(rtc));
        }));
        let gone = || ClientError::Ended("its task is gone".into());
        self.commands.send(command).await.map_err(|_| gone())?;
        receiver.await.map_err(|_| gone())
    }

    /// Restarts ICE by PATCH (RFC 9725 section 4.3.3), keeping socket and keys.
    pub async fn restart_ice(&self) -> Result<PatchOutcome, ClientError> {
        let offered: Option<(String, SdpPendingOffer)> = self
            .with(|rtc| {
                let mut changes = rtc.sdp_api();
                changes.ice_restart(true);
                changes.apply().map(|(offer, pending)| (offer.to_sdp_string(), pending))
            })
            .await?;
        let (offer, pending) =
            offered.ok_or_else(|| ClientError::Session("ICE could not be restarted".into()))?;
        let (outcome, answer) = self.resource.restart(&offer).await?;
        let parsed = SdpAnswer::from_sdp_string(&answer);
        let parsed = parsed.map_err(|error| ClientError::Session(format!("restarting ICE: {error}")))?;
        let accepted = self.with(move |rtc| rtc.sdp_api().accept_answer(pending, parsed)).await?;
        accepted.map_err(|error| ClientError::Session(format!("restarting ICE: {error}")))?;
        Ok(outcome)
    }

    pub fn since(joined: Instant, at: Option<Instant>) -> Option<Duration> {
        at.map(|at| at.saturating_duration_since(joined))
    }
}
