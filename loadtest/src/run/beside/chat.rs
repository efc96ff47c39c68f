//! Those who chat.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::watch;

use super::ChatPlan;
use super::address::address;
use crate::chat::ledger::Room;
use crate::chat::{ChatClient, ChatConfig, ChatSeen};
use crate::client::ClientError;
use crate::clock::unix_micros;
use crate::measure::Histogram;
use crate::num;
use crate::report::{ChatReport, ChatSecond, Percentiles};

/// The first client's own address, on loopback.
const FIRST: Ipv4Addr = Ipv4Addr::new(127, 3, 0, 1);

/// All of them.
pub struct ChatCrowd {
    url: String,
    rooms: Vec<Arc<Mutex<Room>>>,
    clients: Vec<ChatClient>,
    over: watch::Sender<bool>,
    /// What was true at the last look.
    before: Sums,
}

/// Sums over clients.
#[derive(Default)]
struct Sums {
    connected: u64,
    joining: u64,
    received: u64,
    repeated: u64,
    out_of_order: u64,
    delay: Histogram,
}

/// Clients of a room, where so many are spread over so many rooms in a circle.
fn members(room: u32, rooms: u32, clients: u32) -> u32 {
    clients / rooms + u32::from(room < clients % rooms)
}

impl ChatCrowd {
    /// They come as they are due. Must be called inside a runtime.
    pub fn come(plan: &ChatPlan, start: Instant) -> Result<Self, ClientError> {
        let (over, run) = (watch::Sender::new(false), unix_micros(start));
        let all = u32::try_from(plan.due.len()).unwrap_or(u32::MAX);
        let rooms: Vec<Arc<Mutex<Room>>> = (0..plan.rooms).map(|_| Arc::default()).collect();
        let mut clients = Vec::new();
        for (nth, due) in (0..).zip(&plan.due) {
            let room = nth % plan.rooms;
            let Some(ledger) = rooms.get(num::index(room.into())) else { continue };
            let url = plan.url_of(room);
            let token = num::index(u64::from(nth)).checked_rem(plan.tokens.len());
            let config = ChatConfig {
                room,
                number: nth / plan.rooms,
                of: members(room, plan.rooms, all),
                rate: plan.rate,
                run,
                token: token.and_then(|place| plan.tokens.get(place)).cloned(),
                gate: plan.gate.clone(),
                trust: plan.trust.clone(),
                http_timeout: plan.http_timeout,
                retry_for: plan.retry_for,
                local: plan.bind.or_else(|| address(&url, FIRST, nth)),
                start,
                due: start + *due,
                seed: plan.seed.wrapping_add(nth.into()),
                url,
            };
            clients.push(ChatClient::start(config, Arc::clone(ledger), over.subscribe())?);
        }
        Ok(Self { url: plan.url.clone(), rooms, clients, over, before: Sums::default() })
    }

    /// Nothing is posted any more.
    pub fn close(&self) {
        self.over.send_replace(true);
    }

    /// Everybody has what they should have.
    pub fn complete(&self) -> bool {
        self.clients.iter().all(ChatClient::complete)
    }

    fn sums(&self) -> Sums {
        let mut sums = Sums::default();
        for client in &self.clients {
            let seen = client.brief();
            sums.joining += u64::from(seen.joining);
            sums.connected += u64::from(seen.open.is_some());
            sums.received += seen.counts.received;
            sums.repeated += seen.counts.repeated;
            sums.out_of_order += seen.counts.out_of_order;
            sums.delay.merge(&seen.counts.delay);
        }
        sums
    }

    /// How they are, and what came since the last look.
    pub fn second(&mut self) -> ChatSecond {
        let now = self.sums();
        let before = std::mem::replace(&mut self.before, now);
        let now = &self.before;
        ChatSecond {
            connected: now.connected,
            joining: now.joining,
            received: now.received.saturating_sub(before.received),
            repeated: now.repeated.saturating_sub(before.repeated),
            delay_ms: Percentiles::of(&now.delay.since(&before.delay)),
        }
    }

    /// How they are, in a few words.
    pub fn words(&self) -> String {
        let mut report = ChatReport::default();
        self.count(&mut report);
        let Sums { connected, joining, received, repeated, out_of_order, delay } = self.sums();
        let delay = delay.quantile(0.99);
        let delay = delay.map_or(String::new(), |most| format!(", delay p99 {:.1} ms", num::millis(most)));
        format!(
            "chat {connected} there, {joining} joining, {} sent, {received} received, {repeated} repeated, \
             {out_of_order} out of order{delay}",
            report.sent
        )
    }

    fn count(&self, report: &mut ChatReport) {
        for room in &self.rooms {
            let room = room.lock().unwrap_or_else(PoisonError::into_inner);
            report.sent += room.sent;
            report.acknowledged += room.acknowledged;
        }
        report.unacknowledged = report.sent.saturating_sub(report.acknowledged);
    }

    /// What they saw.
    pub fn report(&self) -> ChatReport {
        let mut report = ChatReport { url: self.url.clone(), ..ChatReport::default() };
        (report.rooms, report.wanted) = (num::len(self.rooms.len()), num::len(self.clients.len()));
        self.count(&mut report);
        let (mut open, mut acknowledged, mut delay) = (Histogram::new(), Histogram::new(), Histogram::new());
        for ChatSeen {
            joining,
            open: opened,
            trouble,
            counts,
            lost,
            reconnects,
            reasons,
            obeyed,
            acknowledged: own,
        } in self.clients.iter().map(ChatClient::seen)
        {
            match opened {
                Some(after) => {
                    report.connected += 1;
                    open.record(after);
                }
                None if joining => {
                    report.failed += 1;
                    let reason = trouble.unwrap_or_else(|| "no event came".to_owned());
                    *report.reasons.entry(format!("failed: {reason}")).or_default() += 1;
                }
                None => {}
            }
            for (reason, count) in reasons {
                *report.reasons.entry(reason).or_default() += count;
            }
            report.received += counts.received;
            report.lost += lost;
            report.repeated += counts.repeated;
            report.out_of_order += counts.out_of_order;
            report.history += counts.history;
            report.foreign += counts.foreign;
            report.resets += counts.resets;
            report.reconnects += reconnects;
            report.retries_obeyed += obeyed;
            delay.merge(&counts.delay);
            acknowledged.merge(&own);
        }
        report.expected = report.received + report.lost;
        report.open_ms = Percentiles::of(&open);
        report.acknowledged_ms = Percentiles::of(&acknowledged);
        report.delay_ms = Percentiles::of(&delay);
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_in_one_room() {
        for (rooms, clients) in [(1, 1), (3, 10), (4, 8), (7, 7)] {
            let all: u32 = (0..rooms).map(|room| members(room, rooms, clients)).sum();
            assert_eq!(all, clients);
        }
        assert_eq!([0, 1, 2].map(|room| members(room, 3, 10)), [4, 3, 3]);
    }
}
