//! What the tasks of a relay share: its settings, the links that are up, the nodes that are wanted.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use freshet_cluster::{Incarnation, NodeId};
use freshet_relay_proto::code::CloseCode;
use tokio::sync::{mpsc, watch};

use super::config::RelayConfig;
use super::counted::Counted;
use super::event::RelayEvent;
use super::handle::{Link, LinkHandle};
use super::types::{Directory, Ended, LinkId, LinkTotals, MediaSink};
use crate::link::pairs::{Admission, Pairs};

/// Links of one node; more are refused. A tree has far fewer neighbours.
const LINKS_MAX: usize = 1_024;
/// How long a new link waits until the end of the one that it replaces has been told.
const REPLACE: Duration = Duration::from_secs(1);

pub(super) struct Core {
    pub config: RelayConfig,
    pub directory: Arc<dyn Directory>,
    pub events: mpsc::Sender<RelayEvent>,
    pub media_in: Box<dyn MediaSink>,
    /// Connections refused, by either end, and the last of them.
    pub refused: AtomicU64,
    pub last_refusal: Mutex<Option<Ended>>,
    /// Connections turned away before TLS, because too many were not checked yet.
    pub turned_away: AtomicU64,
    pub counted: Counted,
    /// Counts changes of links and wants, for those who wait for one.
    changed: watch::Sender<u64>,
    next_link: AtomicU32,
    state: Mutex<State>,
}

struct State {
    pairs: Pairs,
    links: HashMap<u32, Arc<Link>>,
    /// Links that another has replaced and that are not over yet.
    leaving: Vec<Arc<Link>>,
    /// What links that are over have carried.
    over: LinkTotals,
    wanted: HashMap<NodeId, Wanted>,
    next_ticket: u64,
    closed: bool,
}

struct Wanted {
    incarnation: Incarnation,
    ticket: u64,
}

impl Core {
    pub fn new(
        config: RelayConfig,
        directory: Arc<dyn Directory>,
        events: mpsc::Sender<RelayEvent>,
        media_in: Box<dyn MediaSink>,
    ) -> Self {
        let state = State {
            pairs: Pairs::new(config.node.clone()),
            links: HashMap::new(),
            leaving: Vec::new(),
            over: LinkTotals::default(),
            wanted: HashMap::new(),
            next_ticket: 0,
            closed: false,
        };
        Self {
            config,
            directory,
            events,
            media_in,
            refused: AtomicU64::new(0),
            last_refusal: Mutex::new(None),
            turned_away: AtomicU64::new(0),
            counted: Counted::default(),
            changed: watch::channel(0).0,
            next_link: AtomicU32::new(1),
            state: Mutex::new(state),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bump(&self) {
        self.changed.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// A connection did not become a link.
    pub fn refused(&self, ended: &Ended) {
        *self.last_refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(ended.clone());
        self.refused.fetch_add(1, Ordering::Release);
    }

    /// There was no place for a connection.
    pub fn turned_away(&self) {
        self.turned_away.fetch_add(1, Ordering::Release);
    }

    /// Counts a handshake that TLS refused; one that broke for another reason is no refusal.
    pub fn refused_by_tls(&self, ended: &Ended) {
        if matches!(ended.code, Some(CloseCode::Fingerprint | CloseCode::Version)) {
            self.refused(ended);
        }
    }

    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub fn next_link(&self) -> LinkId {
        LinkId(self.next_link.fetch_add(1, Ordering::Relaxed))
    }

    /// Takes a link in whose other end has been checked, and says that it is up. What it replaces is closed first.
    pub async fn admit(&self, link: &Arc<Link>) -> Result<(), Ended> {
        let replaced = {
            let mut state = self.state();
            if state.closed {
                return Err(Ended::new(CloseCode::GoingAway, "the node stops"));
            }
            if state.links.len() >= LINKS_MAX {
                return Err(Ended::new(CloseCode::TooMany, format!("the node has {LINKS_MAX} links")));
            }
            match state.pairs.admit(link.id.0, &link.peer, link.incarnation, link.dialled) {
                Admission::Refused { .. } => {
                    let detail = "the connection that the lower node id dialled stays";
                    return Err(Ended::new(CloseCode::Superseded, detail));
                }
                Admission::Stays { replaces } => {
                    let replaced: Vec<_> = replaces.iter().filter_map(|n| state.links.remove(n)).collect();
                    state.leaving.extend(replaced.iter().cloned());
                    state.links.insert(link.id.0, link.clone());
                    replaced
                }
            }
        };
        for old in replaced {
            old.kill(Ended::new(CloseCode::Superseded, "another connection of the pair stays"));
            let _ = tokio::time::timeout(REPLACE, old.gone()).await;
        }
        self.bump();
        // Nobody listens any more: the node stops.
        let up = self.events.send(RelayEvent::Up(LinkHandle(link.clone()))).await;
        up.map_err(|_| Ended::new(CloseCode::GoingAway, "the node stops"))
    }

    /// A link that was admitted is over.
    pub async fn remove(&self, link: &Arc<Link>, reason: Ended) {
        {
            let mut state = self.state();
            state.pairs.remove(link.id.0);
            state.links.remove(&link.id.0);
            state.leaving.retain(|other| other.id != link.id);
            state.over = state.over.and(&link.info());
        }
        let (peer, incarnation) = (link.peer.clone(), link.incarnation);
        let _ = self.events.send(RelayEvent::Down { link: link.id, peer, incarnation, reason }).await;
        link.gone.send_replace(true);
        self.bump();
    }

    pub fn links(&self) -> Vec<Arc<Link>> {
        self.state().links.values().cloned().collect()
    }

    /// What all links have carried, those that are over too.
    pub fn totals(&self) -> LinkTotals {
        let state = self.state();
        state.links.values().chain(&state.leaving).fold(state.over, |totals, link| totals.and(&link.info()))
    }

    pub fn is_linked(&self, node: &NodeId, incarnation: Incarnation) -> bool {
        self.state().pairs.find(node, incarnation).is_some()
    }

    /// Wants a node. The ticket of the task that is to dial it; `None` when one does already.
    pub fn want(&self, node: &NodeId, incarnation: Incarnation) -> Option<u64> {
        let mut state = self.state();
        for link in state.links.values().filter(|l| l.peer == *node && l.incarnation == incarnation) {
            link.forgotten.store(false, Ordering::Release);
        }
        if state.closed || state.wanted.get(node).is_some_and(|w| w.incarnation == incarnation) {
            return None;
        }
        let ticket = state.next_ticket;
        state.next_ticket = ticket.wrapping_add(1);
        state.wanted.insert(node.clone(), Wanted { incarnation, ticket });
        Some(ticket)
    }

    pub fn is_wanted(&self, node: &NodeId, ticket: u64) -> bool {
        self.state().wanted.get(node).is_some_and(|w| w.ticket == ticket)
    }

    /// Wants a node no more.
    pub fn forget(&self, node: &NodeId, incarnation: Incarnation) {
        let mut state = self.state();
        if state.wanted.get(node).is_some_and(|w| w.incarnation == incarnation) {
            state.wanted.remove(node);
            for link in state.links.values().filter(|l| l.peer == *node && l.incarnation == incarnation) {
                link.forgotten.store(true, Ordering::Release);
            }
        }
        drop(state);
        self.bump();
    }

    /// Admits and dials nothing any more. What is left to close.
    pub fn close(&self) -> Vec<Arc<Link>> {
        let links = {
            let mut state = self.state();
            state.closed = true;
            state.wanted.clear();
            state.links.values().cloned().collect()
        };
        self.bump();
        links
    }
}
