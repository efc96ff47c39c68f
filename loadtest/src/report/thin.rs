//! A timeline of bounded length, for pictures.

use super::{ChatSecond, HlsSecond, Percentiles, Second, ServerSecond};
use crate::num;

/// Points of a picture: about as many as a screen can tell apart.
const MOST: usize = 400;

/// The timeline in order, with neighbours merged where it is long: what is counted is added, of what is bad the worst
/// is kept, of levels the last. Seconds whose time is no number are left out.
pub fn thin(timeline: &[Second]) -> Vec<Second> {
    let usable =
        |second: &&Second| second.at_s.is_finite() && second.at_s >= 0.0 && second.seconds.is_finite();
    let mut seconds: Vec<Second> = timeline.iter().filter(usable).cloned().collect();
    seconds.sort_by(|one, other| one.at_s.total_cmp(&other.at_s));
    let each = seconds.len().div_ceil(MOST).max(1);
    seconds.chunks(each).filter_map(merged).collect()
}

fn merged(seconds: &[Second]) -> Option<Second> {
    let (first, rest) = seconds.split_first()?;
    Some(rest.iter().fold(first.clone(), |sum, second| merge(&sum, second)))
}

/// A second and the next as one.
pub fn merge(one: &Second, next: &Second) -> Second {
    let seconds = one.seconds + next.seconds;
    let mean = |one_value: f64, next_value: f64| {
        if seconds > 0.0 {
            (one_value * one.seconds + next_value * next.seconds) / seconds
        } else {
            next_value
        }
    };
    let bits = mean(num::float(one.bits_per_second), num::float(next.bits_per_second));
    let known = |one: Option<f64>, next: Option<f64>| match (one, next) {
        (Some(one), Some(next)) => Some(mean(one, next)),
        (one, next) => next.or(one),
    };
    let server = match (one.server, next.server) {
        (Some(one), Some(next)) => Some(ServerSecond {
            cores: known(one.cores, next.cores),
            resident_bytes: one.resident_bytes.max(next.resident_bytes),
            switches_per_second: known(one.switches_per_second, next.switches_per_second),
            packets_per_second: known(one.packets_per_second, next.packets_per_second),
            bits_per_second: known(one.bits_per_second, next.bits_per_second),
            joins_per_second: known(one.joins_per_second, next.joins_per_second),
        }),
        (one, next) => next.or(one),
    };
    Second {
        at_s: next.at_s,
        seconds,
        joining: next.joining,
        watching: next.watching,
        failed: next.failed,
        left: next.left,
        joined: one.joined.saturating_add(next.joined),
        packets: one.packets.saturating_add(next.packets),
        missing: one.missing.max(next.missing),
        bits_per_second: num::count(bits.round()),
        latency_ms: both(one.latency_ms, next.latency_ms),
        first_keyframe_ms: both(one.first_keyframe_ms, next.first_keyframe_ms),
        longest_gap_ms: one.longest_gap_ms.max(next.longest_gap_ms),
        freezes: one.freezes.saturating_add(next.freezes),
        client_cores: known(one.client_cores, next.client_cores),
        server,
        hls: hls(one.hls, next.hls),
        chat: chat(one.chat, next.chat),
    }
}

fn hls(one: Option<HlsSecond>, next: Option<HlsSecond>) -> Option<HlsSecond> {
    let (Some(one), Some(next)) = (one, next) else { return next.or(one) };
    Some(HlsSecond {
        stalls: one.stalls.saturating_add(next.stalls),
        latency_ms: both(one.latency_ms, next.latency_ms),
        ..next
    })
}

fn chat(one: Option<ChatSecond>, next: Option<ChatSecond>) -> Option<ChatSecond> {
    let (Some(one), Some(next)) = (one, next) else { return next.or(one) };
    Some(ChatSecond {
        received: one.received.saturating_add(next.received),
        repeated: one.repeated.saturating_add(next.repeated),
        delay_ms: both(one.delay_ms, next.delay_ms),
        ..next
    })
}

/// Percentiles cannot be added: the median becomes the mean of both by their counts, of the others the worse is kept.
fn both(one: Option<Percentiles>, next: Option<Percentiles>) -> Option<Percentiles> {
    let (one, next) = match (one, next) {
        (Some(one), Some(next)) => (one, next),
        (one, next) => return next.or(one),
    };
    let (before, behind) = (num::float(one.count), num::float(next.count));
    let p50 = if before + behind > 0.0 {
        (one.p50 * before + next.p50 * behind) / (before + behind)
    } else {
        next.p50
    };
    Some(Percentiles {
        count: one.count.saturating_add(next.count),
        p50,
        p90: one.p90.max(next.p90),
        p99: one.p99.max(next.p99),
        p999: one.p999.max(next.p999),
        max: one.max.max(next.max),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(at: u32) -> Second {
        let value = f64::from(at);
        Second {
            at_s: value,
            seconds: 1.0,
            joined: 2,
            watching: u64::from(at),
            bits_per_second: u64::from(at) * 10,
            latency_ms: (!at.is_multiple_of(3)).then_some(Percentiles {
                count: 10,
                p50: 4.0,
                max: value,
                ..Percentiles::default()
            }),
            longest_gap_ms: if at == 1_234 { 1_400.0 } else { 20.0 },
            client_cores: Some(0.5),
            ..Second::default()
        }
    }

    #[test]
    fn a_short_run_is_left_as_it_is() {
        let timeline: Vec<Second> = (1..=120).map(second).collect();
        assert_eq!(thin(&timeline), timeline);
        assert!(thin(&[]).is_empty());
    }

    #[test]
    fn a_long_run_keeps_its_sums_and_its_worst() {
        let timeline: Vec<Second> = (1..=4_000).map(second).collect();
        let thinned = thin(&timeline);
        assert!((200..=400).contains(&thinned.len()), "{}", thinned.len());
        assert_eq!(thinned.iter().map(|second| second.joined).sum::<u64>(), 8_000);
        assert_eq!(thinned.iter().filter(|second| second.longest_gap_ms > 1_000.0).count(), 1);
        let first = &thinned[0];
        assert_eq!((first.at_s, first.seconds, first.watching), (10.0, 10.0, 10));
        // 10, 20, … 100 bit/s, each for a second; latency was known in 1, 2, 4, 5, 7, 8 and 10.
        assert_eq!((first.bits_per_second, first.client_cores), (55, Some(0.5)));
        let latency = first.latency_ms.unwrap();
        assert_eq!((latency.count, latency.p50, latency.max), (70, 4.0, 10.0));
        assert_eq!(thinned.last().unwrap().at_s, 4_000.0);
    }

    #[test]
    fn those_beside_keep_their_sums_too() {
        let beside = |at: u32| {
            let set = Percentiles { count: 2, p50: 1.0, max: f64::from(at), ..Percentiles::default() };
            let latency_ms = at.is_multiple_of(2).then_some(set);
            let (playing, stalls) = (u64::from(at), 3);
            let hls = HlsSecond { playing, stalls, latency_ms, ..HlsSecond::default() };
            let delay_ms = latency_ms;
            let chat = ChatSecond {
                connected: playing,
                received: 5,
                repeated: 1,
                delay_ms,
                ..ChatSecond::default()
            };
            Second { hls: Some(hls), chat: (at > 10).then_some(chat), ..second(at) }
        };
        let timeline: Vec<Second> = (1..=4_000).map(beside).collect();
        let thinned = thin(&timeline);
        let hls = thinned[0].hls.unwrap();
        assert_eq!((hls.playing, hls.stalls), (10, 30));
        assert_eq!(hls.latency_ms.map(|set| (set.count, set.max)), Some((10, 10.0)));
        assert!(thinned[0].chat.is_none(), "nobody chatted yet");
        let chat = thinned[1].chat.unwrap();
        assert_eq!((chat.connected, chat.received, chat.repeated), (20, 50, 10));
        assert_eq!(chat.delay_ms.map(|set| (set.count, set.p50)), Some((10, 1.0)));
    }

    #[test]
    fn disorder_and_what_is_no_time_bends_nothing() {
        let odd = |at_s: f64| Second { at_s, ..second(9) };
        let timeline = [odd(f64::NAN), second(2), odd(f64::INFINITY), second(1), odd(-4.0)];
        let times: Vec<f64> = thin(&timeline).iter().map(|second| second.at_s).collect();
        assert_eq!(times, [1.0, 2.0]);
        let huge = Second { joined: u64::MAX, freezes: u64::MAX, ..second(1) };
        let thinned = thin(&vec![huge; 900]);
        assert!(thinned.len() <= MOST && thinned[0].joined == u64::MAX);
    }
}
