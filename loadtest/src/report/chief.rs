//! The figures that are asked for first.

use super::standing::others_alone;
use super::{ChatReport, HlsReport, Percentiles, RunReport, text};
use crate::num;

/// A figure as people read it.
#[derive(Debug, Clone, PartialEq)]
pub struct Chief {
    /// Its name.
    pub name: &'static str,
    /// Its value with its unit.
    pub value: String,
    /// What belongs to it.
    pub also: String,
}

fn millis(set: Option<Percentiles>, pick: fn(&Percentiles) -> f64) -> String {
    set.map_or(text::UNKNOWN.to_owned(), |set| text::millis(pick(&set)))
}

fn pair(set: Option<Percentiles>) -> String {
    // Where a line has to break, then between the two.
    let whole = |value: f64| text::millis(value).replace(' ', "\u{a0}");
    match set {
        Some(set) => format!("{} / {}", whole(set.p50), whole(set.p99)),
        None => text::UNKNOWN.to_owned(),
    }
}

/// The figures that are asked for first; the server's only where it was measured.
pub fn chief(report: &RunReport) -> Vec<Chief> {
    let (viewers, packets, client) = (&report.viewers, &report.packets, &report.client);
    let percent = |value: Option<f64>| value.map_or(text::UNKNOWN.to_owned(), text::percent);
    let cores = client.cpu_cores.map_or(text::UNKNOWN.to_owned(), text::cores);
    let drops = client.socket_drops.map_or("unknown how many".to_owned(), text::count);
    let of = if report.mode.headers > 0 {
        format!("; of {} viewers that decrypted all", text::count(report.mode.whole))
    } else {
        String::new()
    };
    let mut chief = vec![
        Chief {
            name: "Viewers connected",
            value: format!("{} of {}", text::count(viewers.seated), text::count(viewers.wanted)),
            also: format!(
                "{} failed, {} sessions, of which {} ended early and {} had a silent track",
                text::count(viewers.failed),
                text::count(viewers.sessions),
                text::count(viewers.ended_early),
                text::count(viewers.silent)
            ),
        },
        Chief {
            name: "Loss after recovery",
            value: percent(packets.loss_percent),
            also: format!("{} before recovery", percent(packets.loss_before_recovery_percent)),
        },
        Chief {
            name: "Latency p50 / p99",
            value: pair(report.latency_ms),
            also: format!("longest {}{of}", millis(report.latency_ms, |set| set.max)),
        },
        Chief {
            name: "First keyframe p50 / p99",
            value: pair(report.join.first_keyframe_ms),
            also: format!("connected after {}", pair(report.join.connected_ms)),
        },
        Chief {
            name: "Longest gap",
            value: millis(report.longest_gap_ms, |set| set.max),
            also: format!("99 % of tracks at most {}", millis(report.longest_gap_ms, |set| set.p99)),
        },
        Chief {
            name: "Freezes",
            value: text::count(report.freezes),
            also: format!("video of all viewers stood still for {}", text::millis(report.frozen_ms)),
        },
        Chief {
            name: "Received",
            value: text::bits(num::float(packets.bits_per_second)),
            also: format!("{} packets", text::count(packets.received)),
        },
        Chief {
            name: "Client CPU",
            value: format!("{cores} of {} cores", text::count(client.host_cores)),
            also: format!("{drops} datagrams dropped at this host"),
        },
    ];
    if others_alone(report) {
        // The client's CPU alone is left.
        chief.drain(..chief.len() - 1);
    }
    let others = report.hls.iter().flat_map(of_hls).chain(report.chat.iter().flat_map(of_chat));
    let before_cpu = chief.len() - 1;
    chief.splice(before_cpu..before_cpu, others);
    let reconnects = &viewers.reconnects;
    if reconnects.lost() > 0 {
        chief.push(Chief {
            name: "Sessions lost, viewers back",
            value: format!("{} / {}", text::count(reconnects.lost()), text::count(reconnects.back)),
            also: format!(
                "{} not back; away for {}, at most {}",
                text::count(reconnects.not_back),
                pair(reconnects.away_ms),
                millis(reconnects.away_ms, |set| set.max)
            ),
        });
    }
    if let Some(server) = &report.server {
        let cores = |cores: Option<f64>| cores.map_or(text::UNKNOWN.to_owned(), text::cores);
        let memory =
            server.resident_bytes_max.map_or(text::UNKNOWN.to_owned(), |most| text::bytes(num::float(most)));
        chief.push(Chief {
            name: "Server CPU",
            value: format!("{} cores", cores(server.cores)),
            also: format!("{} in the busiest second, {memory} of memory", cores(server.cores_max)),
        });
    }
    chief
}

fn of_hls(hls: &HlsReport) -> [Chief; 3] {
    [
        Chief {
            name: "HLS viewers that played",
            value: format!("{} of {}", text::count(hls.played), text::count(hls.wanted)),
            also: format!("after {}", pair(hls.start_ms)),
        },
        Chief {
            name: "HLS stalls",
            value: text::count(hls.stalls),
            also: format!("{} together, {} missing", text::millis(hls.stalled_ms), text::count(hls.missing)),
        },
        Chief {
            name: "HLS latency p50 / p99",
            value: pair(hls.latency_ms),
            also: format!("at its arrival {}", pair(hls.edge_ms)),
        },
    ]
}

fn of_chat(chat: &ChatReport) -> [Chief; 2] {
    [
        Chief {
            name: "Chat messages lost",
            value: format!("{} of {}", text::count(chat.lost), text::count(chat.expected)),
            also: format!(
                "{} repeated, {} out of order",
                text::count(chat.repeated),
                text::count(chat.out_of_order)
            ),
        },
        Chief {
            name: "Chat delay p50 / p99",
            value: pair(chat.delay_ms),
            also: format!(
                "{} of {} clients, {} messages sent",
                text::count(chat.connected),
                text::count(chat.wanted),
                text::count(chat.sent)
            ),
        },
    ]
}
