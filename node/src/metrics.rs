//! What a node exports: shards count for themselves, a scrape adds them up.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use freshet_edge::metrics::Metrics;
use freshet_relay_proto::link::LinkCounters;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge, GaugeVec, IntCounter, IntGauge, Opts};

use crate::control::Shared;
use crate::quic::{LinkTotals, Relay};
use crate::sfu::Counters;
use crate::shard::{Counted, ShardHandle};

/// Name, help text and where it stands.
type Of<T> = (&'static str, &'static str, fn(&T) -> u64);

const COUNTERS: [Of<Counters>; 40] = [
    ("ingress_packets_total", "Packets of publishers and links that went into a ring", |c| c.ingress_packets),
    ("ingress_payload_bytes_total", "Payload bytes that went into a ring", |c| c.ingress_bytes),
    ("crossed_packets_total", "Packets that went from one shard to another", |c| c.crossed_packets),
    ("egress_packets_total", "Packets sent to viewers, retransmissions left out", |c| c.egress_packets),
    ("egress_bytes_total", "Bytes sent to viewers, without IP and UDP", |c| c.egress_bytes),
    ("rtx_packets_total", "Packets sent again on request", |c| c.rtx_packets),
    ("rtx_missed_total", "Requested packets that the ring did not have any more", |c| c.rtx_missed),
    ("rtx_suppressed_total", "Requests repeated too soon, not answered again", |c| c.rtx_suppressed),
    ("lagging_packets_total", "Packets sent to viewers more than 50 ms after they came", |c| {
        c.lagging_packets
    }),
    ("overrun_packets_total", "Packets that fell out of a ring before a viewer could be sent them", |c| {
        c.overrun_packets
    }),
    ("viewer_lost_packets_total", "Packets lost on the way to viewers, by their reports", |c| {
        c.viewer_lost_packets
    }),
    ("viewer_round_trips_total", "Round trips to viewers that reports told", |c| c.round_trips),
    ("layer_switches_total", "Viewers' tracks that went over to another simulcast layer", |c| {
        c.layer_switches
    }),
    ("viewer_jitters_total", "Jitters that viewers' reports told", |c| c.jitters),
    ("viewer_feedback_packets_total", "Packets that came, by viewers' transport-wide feedback", |c| {
        c.feedback.packets
    }),
    ("viewer_feedback_bytes_total", "Bytes of them, without IP and UDP", |c| c.feedback.bytes),
    ("viewer_feedback_missing_packets_total", "Packets that had not come when feedback told of them", |c| {
        c.feedback.missing
    }),
    (
        "viewer_feedback_late_packets_total",
        "Packets that feedback missed first and told as come later",
        |c| c.feedback.late,
    ),
    ("viewer_feedback_unknown_total", "Numbers in feedback that were never given, or long ago", |c| {
        c.feedback.unknown
    }),
    ("keyframe_requests_total", "Keyframes asked of publishers and links", |c| c.keyframe_requests),
    ("keyframe_wishes_total", "Keyframes that viewers asked for", |c| c.keyframe_wishes),
    ("limited_nacks_total", "Packets that viewers asked for beyond their allowance", |c| c.limited_nacks),
    ("limited_wishes_total", "Keyframes that viewers asked for beyond their allowance", |c| c.limited_wishes),
    ("limited_rtcp_datagrams_total", "RTCP of clients that sent too much of it, dropped unopened", |c| {
        c.limited_rtcp
    }),
    ("rejected_rtcp_datagrams_total", "RTCP that was forged, replayed, too long or too early", |c| {
        c.rejected_rtcp
    }),
    ("strange_feedback_total", "Feedback of viewers about an SSRC that is none of theirs", |c| {
        c.strange_feedback
    }),
    ("duplicate_packets_total", "Packets that were in the ring already", |c| c.duplicate_packets),
    ("late_packets_total", "Packets older than what the ring keeps", |c| c.late_packets),
    ("unwanted_link_packets_total", "Packets of links that nothing here wants", |c| c.unwanted_link_packets),
    ("unplaced_packets_total", "Packets of publishers that fit no m-line or came before the claim", |c| {
        c.unplaced_packets
    }),
    ("unknown_datagrams_total", "Datagrams of no session", |c| c.unknown_datagrams),
    (
        "unproven_checks_total",
        "Checks of ICE whose address was first asked whether its client is there",
        |c| c.unproven_checks,
    ),
    ("refused_checks_total", "Checks of ICE from more addresses than a session may be checked from", |c| {
        c.refused_checks
    }),
    ("displaced_sessions_total", "Half-open sessions that made way for those of other clients", |c| {
        c.displaced_sessions
    }),
    ("bad_datagrams_total", "Datagrams that a session refused", |c| c.bad_datagrams),
    (
        "rejected_rtp_packets_total",
        "RTP that was unreadable, unknown, replayed, forged or from a viewer",
        |c| c.rejected_rtp,
    ),
    ("unknown_extensions_total", "Header extensions of publishers that were not negotiated", |c| {
        c.unknown_extensions
    }),
    ("str0m_viewer_rtp_total", "RTP and RTCP to viewers on the wrong road: always 0", |c| c.str0m_viewer_rtp),
    (
        "viewer_unplaced_packets_total",
        "Packets that have no place in what a viewer gets: from before it began, or left out",
        |c| c.unplaced_at_viewers,
    ),
    ("seal_failures_total", "Packets that could not be sealed", |c| c.seal_failures),
];

/// Counted in microseconds, exported in seconds.
const MICROS: [Of<Counters>; 5] = [
    ("viewer_round_trip_seconds_total", "Sum of the round trips to viewers that reports told", |c| {
        c.round_trip_micros
    }),
    ("viewer_jitter_seconds_total", "Sum of the jitters that viewers' reports told", |c| c.jitter_micros),
    ("viewer_feedback_seconds_total", "Time in which the packets came that feedback tells of", |c| {
        c.feedback.micros
    }),
    ("viewer_delay_rise_seconds_total", "By how much ways to viewers became longer, by feedback", |c| {
        c.feedback.rise_micros
    }),
    ("viewer_delay_fall_seconds_total", "By how much ways to viewers became shorter, by feedback", |c| {
        c.feedback.fall_micros
    }),
];

const DROPPED: [Of<Counted>; 7] = [
    ("relay_refused_packets_total", "Packets of relay links lost because a shard did not keep up", |c| {
        c.arrivals_dropped
    }),
    ("crossings_dropped_total", "Packets lost between shards because one did not keep up", |c| {
        c.crossings_dropped
    }),
    ("socket_refused_packets_total", "Packets that the system refused to send", |c| c.socket_refused),
    (
        "socket_overflow_packets_total",
        "Packets that the system dropped before a shard read them, mostly as its buffer was full",
        |c| c.socket_overflow,
    ),
    ("rtcp_dropped_packets_total", "RTCP packets dropped unread because too many came at once", |c| {
        c.reports_dropped
    }),
    ("handshakes_dropped_total", "Datagrams of handshakes dropped because too many waited", |c| {
        c.handshakes_dropped
    }),
    ("socket_dropped_total", "Packets given up because a socket stayed full", |c| c.socket_dropped),
];

const KEPT: [Of<Counted>; 7] = [
    ("sessions", "Sessions on shards now", |c| count(c.kept.0)),
    ("half_open_sessions", "Sessions that are not through with ICE and DTLS now", |c| count(c.half_open)),
    ("lanes", "Encodings with a ring now", |c| count(c.kept.1)),
    ("streams", "Streams known to shards now", |c| count(c.kept.2)),
    ("viewers", "Viewers now", |c| count(c.kept.3)),
    ("event_streams", "Event streams of viewers' sessions now", |c| count(c.listeners.0)),
    ("event_stream_readers", "Connections that read an event stream now", |c| count(c.listeners.1)),
];

const CARRIED: [Of<LinkTotals>; 7] = [
    ("relay_sent_packets_total", "Media packets sent by relay links", |t| t.packets),
    ("relay_sent_datagrams_total", "Datagrams of media sent by relay links", |t| t.datagrams),
    (
        "relay_sent_bytes_total",
        "Bytes of media datagrams sent by relay links, without QUIC, UDP and IP",
        |t| t.bytes,
    ),
    ("relay_dropped_packets_total", "Media packets dropped because a relay link was too slow", |t| t.dropped),
    ("relay_lost_packets_total", "QUIC packets of relay links that did not arrive", |t| t.lost),
    ("relay_received_packets_total", "Media packets received by relay links", |t| t.received),
    ("relay_received_bytes_total", "Payload bytes of media received by relay links", |t| t.received_bytes),
];

const LINKS: [Of<LinkCounters>; 7] = [
    ("relay_malformed_datagrams_total", "Datagrams of links that could not be read", |c| c.malformed),
    ("relay_early_datagrams_total", "Datagrams that came before the connection was a link", |c| c.early),
    ("relay_unknown_frames_total", "Frames of links of a type that this version does not know", |c| {
        c.unknown_frames
    }),
    ("relay_joined_packets_total", "Packets of links that came in parts and were joined", |c| c.parts.joined),
    ("relay_expired_packets_total", "Packets of links given up because a part did not come in time", |c| {
        c.parts.expired
    }),
    ("relay_evicted_packets_total", "Packets of links given up because too many waited for parts", |c| {
        c.parts.evicted
    }),
    ("relay_refused_parts_total", "Parts of packets that did not fit the others, or came twice", |c| {
        c.parts.refused
    }),
];

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

/// Reads shards, relay and shared counts at a scrape.
struct NodeCollector {
    shards: Vec<ShardHandle>,
    shared: Arc<Shared>,
    relay: Arc<Relay>,
}

fn counter(name: &str, help: &str, value: u64) -> Vec<MetricFamily> {
    let made = IntCounter::new(format!("freshet_node_{name}"), help);
    made.map(|c| {
        c.inc_by(value);
        c.collect()
    })
    .unwrap_or_default()
}

fn seconds(name: &str, help: &str, micros: u64) -> Vec<MetricFamily> {
    let made = Counter::new(format!("freshet_node_{name}"), help);
    made.map(|c| {
        c.inc_by(Duration::from_micros(micros).as_secs_f64());
        c.collect()
    })
    .unwrap_or_default()
}

fn gauge(name: &str, help: &str, value: u64) -> Vec<MetricFamily> {
    let made = IntGauge::new(format!("freshet_node_{name}"), help);
    made.map(|g| {
        g.set(i64::try_from(value).unwrap_or(i64::MAX));
        g.collect()
    })
    .unwrap_or_default()
}

fn ratio(name: &str, help: &str, value: f64) -> Vec<MetricFamily> {
    let made = Gauge::new(format!("freshet_node_{name}"), help);
    made.map(|g| {
        g.set(value);
        g.collect()
    })
    .unwrap_or_default()
}

/// How busy each shard is: a node refuses sessions when the last of them is full, so their mean would not tell.
fn busy(counted: &[Counted]) -> Vec<MetricFamily> {
    let help = "Share of the last two seconds in which a shard's thread was at work";
    let made = GaugeVec::new(Opts::new("freshet_node_shard_busy_ratio", help), &["shard"]);
    made.map(|gauges| {
        for (shard, counted) in counted.iter().enumerate() {
            let busy = f64::from(counted.load.permille) / 1_000.0;
            gauges.with_label_values(&[&shard.to_string()]).set(busy);
        }
        gauges.collect()
    })
    .unwrap_or_default()
}

impl Collector for NodeCollector {
    fn desc(&self) -> Vec<&Desc> {
        Vec::new()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let counted: Vec<Counted> = self.shards.iter().map(ShardHandle::latest).collect();
        let mut families = Vec::new();
        for (name, help, of) in COUNTERS {
            let sum = counted.iter().fold(0_u64, |sum, c| sum.saturating_add(of(&c.counters)));
            families.extend(counter(name, help, sum));
        }
        for (name, help, of) in MICROS {
            let sum = counted.iter().fold(0_u64, |sum, c| sum.saturating_add(of(&c.counters)));
            families.extend(seconds(name, help, sum));
        }
        for (name, help, of) in DROPPED {
            let sum = counted.iter().fold(0_u64, |sum, c| sum.saturating_add(of(c)));
            families.extend(counter(name, help, sum));
        }
        for (name, help, of) in KEPT {
            let sum = counted.iter().fold(0_u64, |sum, c| sum.saturating_add(of(c)));
            families.extend(gauge(name, help, sum));
        }
        families.extend(busy(&counted));
        if let Some(shard) = self.shards.first() {
            let limit = f64::from(shard.max_busy().as_percent()) / 100.0;
            families.extend(ratio(
                "busy_limit_ratio",
                "How busy a shard may be before it is given no more sessions; 1 is no limit",
                limit,
            ));
        }
        let full = counted.iter().filter(|c| c.load.full).count();
        families.extend(gauge("full_shards", "Shards that are too busy for more sessions", count(full)));
        let refused = self.shared.refused_busy.load(Ordering::Acquire);
        let help = "Sessions refused because all shards were too busy";
        families.extend(counter("busy_refusals_total", help, refused));
        let links = self.relay.links();
        families.extend(gauge("relay_links", "Live relay links", count(links.len())));
        let carried = self.relay.totals();
        for (name, help, of) in CARRIED {
            families.extend(counter(name, help, of(&carried)));
        }
        let of_links = self.relay.counted();
        for (name, help, of) in LINKS {
            families.extend(counter(name, help, of(&of_links)));
        }
        let (refused, away) = (self.relay.refused(), self.relay.turned_away());
        families.extend(counter("relay_refusals_total", "Connections refused, by either end", refused));
        let help = "Connections turned away because too many others were not checked yet";
        families.extend(counter("relay_turned_away_total", help, away));
        let shared = &self.shared;
        let (loops, stale) = &shared.refused_announcements;
        let (loops, stale) = (loops.load(Ordering::Acquire), stale.load(Ordering::Acquire));
        let help = "Announcements refused because this node was in their path";
        families.extend(counter("relay_looped_announcements_total", help, loops));
        let help = "Announcements refused because a newer publish of the stream is known";
        families.extend(counter("relay_stale_announcements_total", help, stale));
        let sessions = u64::from(shared.sessions.load(Ordering::Acquire));
        families.extend(gauge("reserved_sessions", "Sessions and reservations", sessions));
        families.extend(gauge("session_limit", "Sessions that this node accepts", u64::from(shared.limit)));
        let kept = &shared.kept;
        for (name, help, kept) in [
            ("rooms", "Rooms whose plan is known here", &kept.rooms),
            ("announced_streams", "Publishes known here, of this node and of others", &kept.streams),
            ("subscriptions", "Encodings that viewers here or links are subscribed to", &kept.subscriptions),
            ("shard_subscriptions", "The same for each shard that has viewers of one", &kept.of_shards),
        ] {
            families.extend(gauge(name, help, kept.load(Ordering::Acquire)));
        }
        let joins = shared.joins.load(Ordering::Acquire);
        families.extend(counter("joins_total", "Sessions accepted since the start", joins));
        let draining = u64::from(shared.draining.load(Ordering::Acquire));
        families.extend(gauge("draining", "1 while the node takes no new sessions", draining));
        let registered = u64::from(shared.standing(|standing| standing.is_registered()));
        families.extend(gauge(
            "registered",
            "1 while the node's record stands in the store, as far as it knows",
            registered,
        ));
        families
    }
}

/// Registers the node's collector.
pub fn register(metrics: &Metrics, shards: Vec<ShardHandle>, shared: Arc<Shared>, relay: Arc<Relay>) {
    metrics.add(NodeCollector { shards, shared, relay });
}
