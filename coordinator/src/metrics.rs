//! What a coordinator counts: `freshet_coordinator_…`. Labels are kinds and outcomes, never rooms or nodes.

use std::time::Duration;

use freshet_edge::metrics::{HttpMetrics, Metrics as Registered};
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts};

/// Refusal reasons that get a label of their own; a node of another version may send others.
const REASONS: [&str; 11] = [
    "over-capacity",
    "draining",
    "wrong-incarnation",
    "stale-plan",
    "lease-lost",
    "replaced",
    "store-away",
    "late",
    "unreachable",
    "call-refused",
    "unusable",
];

/// All metrics of one coordinator.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// What `/metrics` shows.
    pub registered: Registered,
    /// What the server counts.
    pub http: HttpMetrics,
    joins: IntCounterVec,
    join_seconds: Histogram,
    refusals: IntCounterVec,
    /// Plans written.
    pub plan_writes: IntCounter,
    /// Plan writes that lost against another.
    pub plan_conflicts: IntCounter,
    /// Plan writes that were repairs.
    pub plan_repairs: IntCounter,
    /// Incarnations declared dead.
    pub nodes_died: IntCounter,
    /// Values and messages that could not be read.
    pub unreadable: IntCounter,
    /// Known nodes by state.
    pub nodes: IntGaugeVec,
    /// Rooms known.
    pub rooms: IntGauge,
    /// Viewers, all rooms together.
    pub viewers: IntGauge,
    /// Listeners of room events.
    pub listeners: IntGauge,
    /// Listeners cut off because they did not keep up.
    pub listeners_slow: IntCounter,
    /// Listeners refused because there were too many.
    pub listeners_refused: IntCounter,
    /// Chat posts by outcome.
    pub chat: IntCounterVec,
    /// Whether the store answers.
    pub store_up: IntGauge,
    /// Whether the bus answers.
    pub bus_up: IntGauge,
}

impl Metrics {
    /// Registers all of them.
    pub fn new() -> Result<Self, prometheus::Error> {
        let name = |thing: &str| format!("freshet_coordinator_{thing}");
        let counter = |thing: &str, help: &str| IntCounter::new(name(thing), help);
        let gauge = |thing: &str, help: &str| IntGauge::new(name(thing), help);
        let registered = Registered::new();
        let http = HttpMetrics::new(&registered, "coordinator")?;
        registered.add_tasks("coordinator")?;
        let joins = Opts::new(name("joins_total"), "WHIP and WHEP requests by kind and outcome");
        let seconds =
            HistogramOpts::new(name("join_duration_seconds"), "Time from a join's request to its answer")
                .buckets(vec![0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]);
        let refusals = Opts::new(name("join_refusals_total"), "Nodes that did not take a session, by reason");
        let chat = Opts::new(name("chat_posts_total"), "Chat posts by outcome");
        let nodes = Opts::new(name("nodes"), "Known nodes by state");
        let made = Self {
            registered,
            http,
            joins: IntCounterVec::new(joins, &["kind", "outcome"])?,
            join_seconds: Histogram::with_opts(seconds)?,
            refusals: IntCounterVec::new(refusals, &["reason"])?,
            plan_writes: counter("plan_writes_total", "Room plans written to the store")?,
            plan_conflicts: counter("plan_conflicts_total", "Plan writes that lost against another writer")?,
            plan_repairs: counter(
                "plan_repairs_total",
                "Plan writes that made a plan fit what the nodes run",
            )?,
            nodes_died: counter("nodes_died_total", "Node incarnations declared dead")?,
            unreadable: counter(
                "values_unreadable_total",
                "Stored values and messages that could not be read",
            )?,
            nodes: IntGaugeVec::new(nodes, &["state"])?,
            rooms: gauge("rooms", "Rooms known")?,
            viewers: gauge("viewers", "Viewers in all rooms together, by the nodes' heartbeats")?,
            listeners: gauge("event_listeners", "Listeners of room events")?,
            listeners_slow: counter(
                "event_listeners_slow_total",
                "Listeners cut off because they did not keep up",
            )?,
            listeners_refused: counter(
                "event_listeners_refused_total",
                "Listeners refused because of the limit, or because too many came to a room at once",
            )?,
            chat: IntCounterVec::new(chat, &["outcome"])?,
            store_up: gauge("store_up", "1 while the store answers")?,
            bus_up: gauge("bus_up", "1 while the bus answers")?,
        };
        made.add_all();
        made.begin_at_zero();
        Ok(made)
    }

    /// A counter that appears with its first event has no rate before its second.
    fn begin_at_zero(&self) {
        for kind in ["publish", "view"] {
            for outcome in ["accepted", "refused", "unplaced", "failed"] {
                self.joins.with_label_values(&[kind, outcome]);
            }
        }
        for reason in REASONS.iter().chain(&["other"]) {
            self.refusals.with_label_values(&[reason]);
        }
        for outcome in ["stored", "duplicate", "limited", "paused", "refused"] {
            self.chat.with_label_values(&[outcome]);
        }
    }

    fn add_all(&self) {
        let to = &self.registered;
        for vec in [&self.joins, &self.refusals, &self.chat] {
            to.add(vec.clone());
        }
        let counters = [
            &self.plan_writes,
            &self.plan_conflicts,
            &self.plan_repairs,
            &self.nodes_died,
            &self.unreadable,
            &self.listeners_slow,
            &self.listeners_refused,
        ];
        for counter in counters {
            to.add(counter.clone());
        }
        for gauge in [&self.rooms, &self.viewers, &self.listeners, &self.store_up, &self.bus_up] {
            to.add(gauge.clone());
        }
        to.add(self.nodes.clone());
        to.add(self.join_seconds.clone());
    }

    /// A join was answered.
    pub fn joined(&self, kind: &str, outcome: &str, after: Duration) {
        self.joins.with_label_values(&[kind, outcome]).inc();
        self.join_seconds.observe(after.as_secs_f64());
    }

    /// A node did not take a session.
    pub fn refused(&self, reason: &str) {
        let known = REASONS.iter().find(|known| **known == reason).copied().unwrap_or("other");
        self.refusals.with_label_values(&[known]).inc();
    }
}
