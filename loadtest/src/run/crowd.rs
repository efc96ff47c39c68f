//! The audience of a run: so many places, each with one viewer at a time.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::rejoin::{Backoff, Told, Visit};
use super::tally::{Session, Tally, Truth};
use super::{RunPlan, Seat};
use crate::client::{
    ClientError, EndReason, Left, Loss, Lost, SessionState, Standing, Viewer, ViewerConfig, ViewerReport,
    kind,
};
use crate::measure::FREEZE;
use crate::num;
use crate::report::{ROWS, ViewerRow};
use crate::scenario::{Impairment, Stay};

/// Sessions closed at once: a server is not to be stormed by our goodbye.
const FAREWELLS_AT_ONCE: usize = 64;

enum Place {
    /// Nobody has been there yet, or somebody is connecting; since when one is due.
    Waiting(Instant),
    /// One has left and the next one is on the way.
    Between,
    Failed(String),
    Live(Box<Viewer>, Session),
    /// One has lost its session and is to come back.
    Away(Away),
}

/// Who lost its session.
#[derive(Clone)]
struct Away {
    /// It has seen nothing since then.
    since: Instant,
    /// Why it is not back.
    why: String,
}

impl Away {
    /// It does not come back any more.
    fn over(&self, tally: &mut Tally, until: Instant, video: bool) {
        let away = until.saturating_duration_since(self.since);
        tally.not_back(away, &self.why);
        tally.missed(away, video);
    }
}

/// Why a viewer that is there has no session all the same, if it has none: since when, and why.
fn stranded(report: &ViewerReport, session: Session, now: Instant) -> Option<Away> {
    let last = report.tracks.iter().filter_map(|track| track.last_packet).max();
    let since = session.lost(last).unwrap_or(now);
    match (&report.state, session) {
        (SessionState::Ended(reason), _) => Some(Away { since, why: kind(&reason.to_string()) }),
        (_, Session::Again(_)) if last.is_none() => Some(Away { since, why: "nothing came".to_owned() }),
        _ => None,
    }
}

/// Those who were there and have left, because their stay was over.
#[derive(Default)]
struct Gone {
    tally: Tally,
    left: u64,
    /// Where they received, until what the kernel dropped there was read.
    sockets: Vec<(SocketAddr, Arc<Left>)>,
    /// What each session was.
    rows: Vec<ViewerRow>,
}
/// The network of some.
#[derive(Default)]
struct Network {
    bad: Option<Impairment>,
    /// How often it has become bad.
    nth: u64,
}

/// All places.
pub(crate) struct Crowd {
    plan: Arc<RunPlan>,
    start: Instant,
    places: Vec<Mutex<Place>>,
    /// Held while somebody leaves, so that nobody is counted twice or not at all.
    gone: Mutex<Gone>,
    /// Held while somebody takes a place, so that nobody misses how the network is.
    network: Mutex<Network>,
    /// Nobody comes or goes any more.
    over: watch::Sender<bool>,
    coming: Mutex<JoinSet<()>>,
    /// The server is on this machine, where every viewer can have an address of its own.
    loopback: bool,
}

/// How the audience is at a time; sums are since the start.
#[derive(Default)]
pub(crate) struct Look {
    pub tally: Tally,
    pub joining: u64,
    /// Of these, newcomers where one has left.
    pub between: u64,
    pub watching: u64,
    pub failed: u64,
    pub left: u64,
    /// The longest that anybody's track stood still since the last look.
    pub gap: Duration,
    /// What each session was; when all is over.
    pub rows: Vec<ViewerRow>,
    /// Where those who are there receive media, and those who have left since the last look.
    pub sockets: Vec<SocketAddr>,
    /// Keeps open those of whom nothing else is left: their counts go with them.
    _closing: Vec<(SocketAddr, Arc<Left>)>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An address for each viewer, from 127.1.0.1 on: a server that counts by address sees as many clients as there are.
fn address(seat: u32) -> IpAddr {
    let first = Ipv4Addr::new(127, 1, 0, 1);
    Ipv4Addr::from_bits(first.to_bits().saturating_add(seat)).into()
}

impl Crowd {
    /// Nobody is there yet; the first one is due at `start`.
    pub fn new(plan: Arc<RunPlan>, start: Instant, server: IpAddr) -> Arc<Self> {
        let places = plan.seats.iter().map(|seat| Mutex::new(Place::Waiting(start + seat.due)));
        let places = places.collect();
        let (gone, network, over, coming) = Default::default();
        let loopback = cfg!(target_os = "linux") && server.is_ipv4() && server.is_loopback();
        Arc::new(Self { plan, start, places, gone, network, over, coming, loopback })
    }

    /// Fills the places as they are due, and again whenever a stay is over. Must be called inside a runtime.
    pub fn come(self: &Arc<Self>) {
        let mut coming = lock(&self.coming);
        for number in 0..self.places.len() {
            let crowd = Arc::clone(self);
            coming.spawn(async move { crowd.attend(number).await });
        }
    }

    async fn attend(&self, number: usize) {
        let Some(Seat { number: seat, due, room }) = self.plan.seats.get(number).copied() else { return };
        let mut chance = self.plan.chance(seat);
        let mut due = self.start + due;
        let backoff = Backoff::new(self.plan.rejoining(seat));
        let mut visit = Visit { number, seat, room, nth: 0, seated: false, backoff };
        loop {
            if self.over_before(due).await {
                return;
            }
            let standing = match Viewer::connect(self.config(&visit, due)).await {
                Ok(viewer) => match self.take_seat(&mut visit, viewer, Session::First) {
                    Ok(standing) => Some(standing),
                    Err(late) => return goodbye(seat, *late).await,
                },
                Err(error) => {
                    tracing::info!(viewer = seat, %error, "a viewer could not connect");
                    self.set(number, Place::Failed(error.class()));
                    None
                }
            };
            let until = self.plan.stay.next(&mut chance).map(|stay| Instant::now() + stay);
            if self.stay(&mut visit, standing, until).await {
                return;
            }
            self.finish_decoding(number).await;
            if let Some(viewer) = self.leave(number) {
                goodbye(seat, viewer).await;
            }
            visit.nth += 1;
            due = Instant::now();
        }
    }

    /// Stays until a time, or to the end, and joins again whenever the session is lost; true if all is over.
    async fn stay(&self, visit: &mut Visit, standing: Option<Standing>, until: Option<Instant>) -> bool {
        let mut standing = standing.filter(|_| self.plan.reconnect);
        loop {
            let Some(here) = standing else { return self.over_by(until).await };
            let lost = tokio::select! {
                biased;
                over = self.over_by(until) => return over,
                lost = here.lost() => lost,
            };
            let since = self.lose(visit, &lost).await;
            standing = match self.rejoin(visit, lost, since, until).await {
                Ok(standing) => Some(standing),
                Err(over) => return over,
            };
        }
    }

    /// Tries until it is back, or the time has come; then says whether all is over.
    async fn rejoin(
        &self,
        visit: &mut Visit,
        lost: Lost,
        since: Instant,
        until: Option<Instant>,
    ) -> Result<Standing, bool> {
        let seat = visit.seat;
        let mut told = Told::by(match lost {
            Lost::Told(reconnect) => reconnect.url,
            _ => None,
        });
        visit.backoff.begin();
        let mut asked = Duration::ZERO;
        loop {
            let pause = visit.backoff.next().max(asked);
            let at = Instant::now() + pause;
            if until.is_some_and(|until| until <= at) {
                return Err(self.over_by(until).await);
            }
            if self.over_before(at).await {
                return Err(true);
            }
            visit.nth += 1;
            let mut config = self.config(visit, since);
            if let Some(url) = told.next() {
                config.go_to(url);
            }
            match Viewer::connect(config).await {
                Ok(viewer) => match self.take_seat(visit, viewer, Session::Again(since)) {
                    Ok(standing) => return Ok(standing),
                    Err(late) => {
                        goodbye(seat, *late).await;
                        return Err(true);
                    }
                },
                Err(error) => {
                    tracing::info!(viewer = seat, %error, "a viewer is not back yet");
                    asked = error.retry_after().unwrap_or_default();
                    if matches!(
                        error,
                        ClientError::BadUrl { .. }
                            | ClientError::ForbiddenTarget { .. }
                            | ClientError::StrangeHost { .. }
                    ) {
                        told.forget();
                    }
                    lock(&self.gone).tally.in_vain(error.class());
                    self.set(visit.number, Place::Away(Away { since, why: error.class() }));
                }
            }
        }
    }

    /// Empties the place of who lost its session; says since when it has seen nothing.
    async fn lose(&self, visit: &Visit, lost: &Lost) -> Instant {
        self.finish_decoding(visit.number).await;
        let mut since = Instant::now();
        let Some(place) = self.places.get(visit.number) else { return since };
        let viewer = {
            let mut gone = lock(&self.gone);
            let mut place = lock(place);
            let was = std::mem::replace(&mut *place, Place::Between);
            gone.tally.lost(lost.to_string());
            let Place::Live(viewer, session) = was else { return since };
            let mut report = viewer.report();
            if !matches!(lost, Lost::Told(_)) && !matches!(report.state, SessionState::Ended(_)) {
                // For the server it may go on; for who watches it is over.
                report.state = SessionState::Ended(EndReason::Failed(lost.to_string()));
            }
            let last = report.tracks.iter().filter_map(|track| track.last_packet).max();
            // Who is told to go loses nothing before it goes.
            let told = matches!(lost, Lost::Told(_)) && last.is_some();
            since = session.lost(last).filter(|_| !told).unwrap_or(since);
            *place = Place::Away(Away { since, why: kind(&lost.to_string()) });
            gone.tally.left_behind(&report, session);
            self.keep(&mut gone, visit.number, |seat| Tally::row(seat, self.start, &report, session, None));
            gone.sockets.push((viewer.local_address(), viewer.left()));
            viewer
        };
        match lost {
            // A server that cannot be reached is not waited for.
            Lost::Unreachable | Lost::Unknown(_) | Lost::Ended(_) => drop(viewer),
            Lost::Unheard => drop(tokio::spawn(goodbye(visit.seat, *viewer))),
            Lost::Told(_) => goodbye(visit.seat, *viewer).await,
        }
        since
    }

    /// Waits until a time, or to the end where there is none; true if it is over by then.
    async fn over_by(&self, until: Option<Instant>) -> bool {
        match until {
            Some(until) => self.over_before(until).await,
            None => {
                let mut over = self.over.subscribe();
                over.wait_for(|over| *over).await.is_ok_and(|over| *over)
            }
        }
    }

    /// Waits for a time; true if it is over by then.
    async fn over_before(&self, at: Instant) -> bool {
        let mut over = self.over.subscribe();
        tokio::select! {
            biased;
            _ = over.wait_for(|over| *over) => true,
            () = tokio::time::sleep_until(at.into()) => false,
        }
    }

    /// Nobody comes or goes from now on: who is there stays to be counted.
    pub fn close(&self) {
        self.over.send_replace(true);
    }

    /// How a viewer of this place connects.
    fn config(&self, visit: &Visit, due: Instant) -> ViewerConfig {
        let seat = visit.seat;
        // Each viewer loses packets of its own.
        let own = u64::from(seat).wrapping_add(visit.nth << 32);
        let loss = self.plan.viewer.loss.map(|loss| Loss { seed: loss.seed.wrapping_add(own), ..loss });
        let address = self.loopback.then(|| address(seat));
        ViewerConfig {
            url: self.plan.whep(visit.room),
            scheduled: Some(due),
            depth: self.plan.depth(seat),
            decode: self.plan.decodes(seat),
            loss,
            impairment: lock(&self.network).bad.and_then(|bad| self.plan.impaired(seat, bad)),
            seed: self.plan.seed.wrapping_add(own),
            bind: self.plan.viewer.bind.or(address),
            http_bind: self.plan.viewer.bind.or(address),
            ..self.plan.viewer.clone()
        }
    }

    fn set(&self, number: usize, now: Place) {
        if let Some(place) = self.places.get(number) {
            *lock(place) = now;
        }
    }

    /// Gives a viewer its place; it comes back if all is over.
    fn take_seat(
        &self,
        visit: &mut Visit,
        viewer: Viewer,
        session: Session,
    ) -> Result<Standing, Box<Viewer>> {
        let network = lock(&self.network);
        if *self.over.borrow() {
            return Err(Box::new(viewer));
        }
        if !std::mem::replace(&mut visit.seated, true) {
            lock(&self.gone).tally.seated();
        }
        let standing = viewer.standing();
        // It may have become bad, or good, while the viewer was connecting.
        viewer.impair(network.bad.and_then(|bad| self.plan.impaired(visit.seat, bad)));
        self.set(visit.number, Place::Live(Box::new(viewer), session));
        Ok(standing)
    }

    /// What a viewer's decoder was given is decoded to the end, if it has one.
    async fn finish_decoding(&self, number: usize) {
        let decoding = match self.places.get(number).map(lock).as_deref() {
            Some(Place::Live(viewer, _)) => viewer.decoding(),
            _ => None,
        };
        if let Some(decoding) = decoding {
            decoding.finish().await;
        }
    }

    /// The same of all viewers, within seconds.
    pub async fn finish_all_decoding(self: &Arc<Self>) {
        let mut all = JoinSet::new();
        for number in 0..self.places.len() {
            let crowd = Arc::clone(self);
            all.spawn(async move { crowd.finish_decoding(number).await });
        }
        all.join_all().await;
    }

    /// Empties a place, and counts what its viewer saw.
    fn leave(&self, number: usize) -> Option<Viewer> {
        let place = self.places.get(number)?;
        let mut gone = lock(&self.gone);
        match std::mem::replace(&mut *lock(place), Place::Between) {
            Place::Waiting(_) | Place::Between => None,
            Place::Failed(class) => {
                self.keep(&mut gone, number, |seat| Tally::empty_row(seat, &class));
                gone.tally.failed(class);
                None
            }
            Place::Away(away) => {
                away.over(&mut gone.tally, Instant::now(), self.plan.viewer.video);
                None
            }
            Place::Live(viewer, session) => {
                let (report, now) = (viewer.report(), Instant::now());
                gone.tally.viewer(&report, session, &Truth::unknown());
                let unknown = Truth::unknown();
                let row = |seat| Tally::row(seat, self.start, &report, session, Some(&unknown));
                self.keep(&mut gone, number, row);
                match stranded(&report, session, now) {
                    None => gone.left += 1,
                    // It did not leave: it had no session any more.
                    Some(away) => self.give_up(&mut gone.tally, &away, &report, now),
                }
                gone.sockets.push((viewer.local_address(), viewer.left()));
                Some(*viewer)
            }
        }
    }

    /// The network becomes bad for some, those who come later included; says which of the run's bad networks it is, and
    /// for how many who are there. Must be called inside a runtime.
    pub fn impair(&self, bad: Impairment) -> (u64, u64) {
        let mut network = lock(&self.network);
        network.bad = Some(bad);
        network.nth += 1;
        (network.nth, self.tell(|seat| self.plan.impaired(seat, bad)))
    }

    /// The network is good again, if nothing has made it bad in another way since.
    pub fn heal(&self, nth: u64) -> bool {
        let mut network = lock(&self.network);
        let ours = network.nth == nth;
        if ours {
            network.bad = None;
            self.tell(|_| None);
        }
        ours
    }

    /// Tells all who are there how their network is; says for how many it is bad.
    fn tell(&self, network: impl Fn(u32) -> Option<Impairment>) -> u64 {
        let mut count = 0;
        for (seat, place) in self.plan.seats.iter().map(|seat| seat.number).zip(&self.places) {
            if let Place::Live(viewer, _) = &*lock(place) {
                let bad = network(seat);
                count += u64::from(bad.is_some());
                viewer.impair(bad);
            }
        }
        count
    }

    /// Who is there, but without a session, is not back; of a session that was something, the silence is told.
    fn give_up(&self, tally: &mut Tally, away: &Away, report: &ViewerReport, until: Instant) {
        if report.tracks.iter().any(|track| track.received > 0) {
            tally.not_back(until.saturating_duration_since(away.since), &away.why);
        } else {
            away.over(tally, until, self.plan.viewer.video);
        }
    }

    /// Nobody got in, and nobody will: who could not connect does not try again.
    pub fn deserted(&self) -> bool {
        let failed = |place: &Mutex<Place>| matches!(*lock(place), Place::Failed(_));
        self.plan.stay == Stay::Whole && !self.places.is_empty() && self.places.iter().all(failed)
    }

    /// Keeps the row of who leaves a place, as long as there are not too many.
    fn keep(&self, gone: &mut Gone, number: usize, row: impl FnOnce(Seat) -> ViewerRow) {
        if let Some(seat) = self.plan.seats.get(number).filter(|_| gone.rows.len() < ROWS) {
            gone.rows.push(row(*seat));
        }
    }

    /// A row for each session that was, and for each place that nobody has.
    fn rows(&self, gone: &mut Gone, truth: &Truth) -> Vec<ViewerRow> {
        for (number, place) in self.places.iter().enumerate() {
            match &*lock(place) {
                Place::Waiting(_) | Place::Between => {}
                Place::Failed(why) => self.keep(gone, number, |seat| Tally::empty_row(seat, why)),
                Place::Away(away) => {
                    let why = format!("not back: {}", away.why);
                    let silent = truth.until.saturating_duration_since(away.since);
                    let froze = self.plan.viewer.video && silent > FREEZE;
                    self.keep(gone, number, |seat| ViewerRow {
                        again: true,
                        due_s: away.since.saturating_duration_since(self.start).as_secs_f64(),
                        longest_gap_ms: num::millis(silent),
                        freezes: u64::from(froze),
                        frozen_ms: if froze { num::millis(silent) } else { 0.0 },
                        ..Tally::empty_row(seat, &why)
                    });
                }
                Place::Live(viewer, session) => {
                    let report = viewer.report();
                    let row = |seat| Tally::row(seat, self.start, &report, *session, Some(truth));
                    self.keep(gone, number, row);
                }
            }
        }
        std::mem::take(&mut gone.rows)
    }

    /// How it goes. Who is still connecting, or is to come back, is no failure yet.
    pub fn look(&self) -> Look {
        self.count(&Truth::unknown(), false)
    }

    /// How it went, knowing what was sent: who lost its session and is not back has failed.
    pub fn finish(&self, truth: &Truth) -> Look {
        self.count(truth, true)
    }

    fn count(&self, truth: &Truth, finished: bool) -> Look {
        let now = Instant::now();
        let mut gone = lock(&self.gone);
        let (mut joining, mut between, mut gap, mut sockets) = (0, 0, Duration::ZERO, Vec::new());
        for place in &self.places {
            if let Place::Live(viewer, _) = &*lock(place) {
                viewer.take_latency(&mut gone.tally.latency);
                viewer.take_skew(&mut gone.tally.skew);
            }
        }
        let mut tally = gone.tally.clone();
        let before = tally.viewers.sessions - tally.viewers.ended_early;
        for place in &self.places {
            match &*lock(place) {
                Place::Waiting(due) => joining += u64::from(*due <= now),
                Place::Between => between += 1,
                Place::Failed(class) => tally.failed(class.clone()),
                Place::Away(away) if finished => away.over(&mut tally, truth.until, self.plan.viewer.video),
                Place::Away(away) => {
                    between += 1;
                    gap = gap.max(now.saturating_duration_since(away.since));
                }
                Place::Live(viewer, session) => {
                    let report = viewer.report();
                    tally.viewer(&report, *session, truth);
                    // Who does not join again is not back as soon as its session is over.
                    let over = matches!(report.state, SessionState::Ended(_)) && !self.plan.reconnect;
                    if let Some(away) = stranded(&report, *session, truth.until).filter(|_| finished || over)
                    {
                        self.give_up(&mut tally, &away, &report, truth.until);
                    }
                    gap = gap.max(viewer.take_recent_gap(truth.until));
                    sockets.push(viewer.local_address());
                }
            }
        }
        sockets.extend(gone.sockets.iter().map(|(address, _)| *address));
        // Whose session's task is over: nothing can be dropped there any more.
        let over = |(_, left): &mut (SocketAddr, Arc<Left>)| Arc::strong_count(left) == 1;
        let closing = gone.sockets.extract_if(.., over).collect();
        joining += between;
        let watching = tally.viewers.sessions - tally.viewers.ended_early - before;
        let failed = tally.viewers.failed;
        let rows = if finished { self.rows(&mut gone, truth) } else { Vec::new() };
        let left = gone.left;
        Look { tally, joining, between, watching, failed, left, gap, rows, sockets, _closing: closing }
    }

    /// Ends all sessions as good clients do, those included that are only being made.
    pub async fn farewell(&self) {
        self.close();
        let take = |place: &Mutex<Place>| match std::mem::replace(&mut *lock(place), Place::Between) {
            Place::Live(viewer, _) => Some(*viewer),
            Place::Waiting(_) | Place::Between | Place::Failed(_) | Place::Away(_) => None,
        };
        let viewers: Vec<Viewer> = self.places.iter().filter_map(take).collect();
        let mut all = JoinSet::new();
        for viewer in viewers {
            if all.len() >= FAREWELLS_AT_ONCE {
                all.join_next().await;
            }
            all.spawn(viewer.stop());
        }
        while all.join_next().await.is_some() {}
        let mut coming = std::mem::take(&mut *lock(&self.coming));
        while coming.join_next().await.is_some() {}
    }
}

async fn goodbye(seat: u32, viewer: Viewer) {
    if let Err(error) = viewer.stop().await {
        tracing::info!(viewer = seat, %error, "a viewer left without a goodbye");
    }
}
