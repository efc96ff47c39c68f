//! Whether a viewer still has its session, and if not, why: who has to join again asks here.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ::http::Method;
use bytes::Bytes;
use tokio::sync::watch;

use super::events::Reconnect;
use super::guard::lock;
use super::receive::Seen;
use super::resource::SessionResource;
use super::{ClientError, EndReason, SessionState};

/// Silence after which the server is asked whether it still knows the session. A publisher may pause; then it does.
const SILENCE: Duration = Duration::from_secs(3);
/// Longest time between two such questions, which come twice as late each time.
const PATIENCE: Duration = Duration::from_secs(60);
/// ICE that hears nothing gets so long to hear something again.
const UNHEARD: Duration = Duration::from_secs(5);

/// Why a viewer has to join again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lost {
    /// Its session is over.
    Ended(EndReason),
    /// The server does not know its session any more: the status of its URL.
    Unknown(u16),
    /// Nothing comes, and the server cannot be reached.
    Unreachable,
    /// ICE hears nothing.
    Unheard,
    /// The server told it to.
    Told(Reconnect),
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended(reason) => write!(f, "{reason}"),
            Self::Unknown(status) => write!(f, "the server does not know the session any more ({status})"),
            Self::Unreachable => f.write_str("no media, and the server cannot be reached"),
            Self::Unheard => f.write_str("ICE hears nothing"),
            Self::Told(_) => f.write_str("told to reconnect"),
        }
    }
}

/// Watches over one session, apart from the viewer that has it.
#[derive(Debug)]
pub struct Standing {
    pub(super) state: watch::Receiver<SessionState>,
    pub(super) told: Option<watch::Receiver<Option<Reconnect>>>,
    pub(super) resource: Arc<SessionResource>,
    pub(super) seen: Arc<Mutex<Seen>>,
}

impl Standing {
    /// Waits until there is a reason to join again.
    pub async fn lost(mut self) -> Lost {
        let (mut quiet_from, mut patience) = (Instant::now(), SILENCE);
        let mut unheard: Option<Instant> = None;
        loop {
            match &*self.state.borrow_and_update() {
                SessionState::Ended(reason) => return Lost::Ended(reason.clone()),
                SessionState::Disconnected => unheard = unheard.or_else(|| Some(Instant::now())),
                SessionState::Connecting | SessionState::Connected => unheard = None,
            }
            if unheard.is_some_and(|since| since.elapsed() >= UNHEARD) {
                return Lost::Unheard;
            }
            if let Some(last) = lock(&self.seen).last_packet().filter(|last| *last > quiet_from) {
                (quiet_from, patience) = (last, SILENCE);
            }
            let ask = quiet_from + patience;
            let wake = unheard.map_or(ask, |since| ask.min(since + UNHEARD));
            tokio::select! {
                biased;
                told = told(&mut self.told) => return Lost::Told(told),
                changed = self.state.changed() => if changed.is_err() {
                    return Lost::Ended(EndReason::Failed("its task is gone".into()));
                },
                () = tokio::time::sleep_until(wake.into()) => {
                    let quiet = lock(&self.seen).last_packet().is_none_or(|last| last <= quiet_from);
                    if ask <= Instant::now() && quiet {
                        if let Some(lost) = self.ask().await {
                            return lost;
                        }
                        // The session lives and its publisher is silent: no reason to press.
                        patience = (patience * 2).min(PATIENCE);
                        quiet_from = Instant::now();
                    }
                }
            }
        }
    }

    /// Asks the session's URL. Only what says that there is no session any more counts: GET is optional.
    async fn ask(&self) -> Option<Lost> {
        match self.resource.request(Method::GET, &[], Bytes::new()).await {
            Ok(response) if matches!(response.status, 404 | 410) => Some(Lost::Unknown(response.status)),
            Err(ClientError::Unreachable { .. } | ClientError::Timeout { .. }) => Some(Lost::Unreachable),
            Ok(_) | Err(_) => None,
        }
    }
}

/// Waits for the server to say it; for ever where it cannot.
async fn told(events: &mut Option<watch::Receiver<Option<Reconnect>>>) -> Reconnect {
    let Some(events) = events else { return std::future::pending().await };
    match events.wait_for(Option::is_some).await.ok().and_then(|told| told.clone()) {
        Some(told) => told,
        None => std::future::pending().await,
    }
}
