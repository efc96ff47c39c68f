//! What the server uses and does: its processes as this host tells it, or what it tells of itself as Prometheus reads it.

mod exporters;
mod processes;

use exporters::{Exporters, Series};
use processes::Processes;

use super::RunPlan;
use crate::num;
use crate::report::{ServerReport, ServerSecond};
use crate::scenario::Selector;

/// Measures from its making on. CPU and memory are those of the processes; where none was named, those of the pages.
pub(super) struct ServerMeter {
    processes: Processes,
    exporters: Exporters,
    cores_max: Option<f64>,
    resident_max: Option<u64>,
}

impl ServerMeter {
    /// Of the processes and pages of a plan; says which process is not there.
    pub fn start(plan: &RunPlan) -> Result<Self, String> {
        let metrics = &plan.server;
        let series = Series {
            cpu: Selector::named("process_cpu_seconds_total"),
            resident: Selector::named("process_resident_memory_bytes"),
            packets: metrics.packets.clone(),
            bytes: metrics.bytes.clone(),
            joins: metrics.joins.clone(),
        };
        Ok(Self {
            processes: Processes::start(&plan.pids)?,
            exporters: Exporters::new(&metrics.urls, &series, &plan.viewer)?,
            cores_max: None,
            resident_max: None,
        })
    }

    /// Begins to read pages; says which cannot be read. Must be called inside a runtime.
    pub async fn begin(&self) -> Result<(), String> {
        self.exporters.begin().await
    }

    /// Reads pages for the last time.
    pub async fn finish(&self) {
        self.exporters.finish().await;
    }

    /// What the server uses and does since the last look; nothing where neither process nor page was named.
    pub fn look(&mut self) -> Option<ServerSecond> {
        let used = self.processes.look();
        if used.is_none() && self.exporters.is_empty() {
            return None;
        }
        let told = self.exporters.rate();
        let (cores, resident_bytes) = match used {
            Some(used) => (Some(used.cores), Some(used.resident_bytes)),
            None => (told.cpu, told.resident.map(num::count)),
        };
        self.cores_max = highest(self.cores_max, cores, f64::max);
        self.resident_max = highest(self.resident_max, resident_bytes, u64::max);
        Some(ServerSecond {
            cores,
            resident_bytes,
            switches_per_second: used.map(|used| used.switches_per_second),
            packets_per_second: told.packets,
            bits_per_second: told.bytes.map(|bytes| bytes * 8.0),
            joins_per_second: told.joins,
        })
    }

    /// Over the whole run, in which so many viewers connected and received so many packets.
    pub fn report(&self, joined: u64, received: u64) -> Option<ServerReport> {
        if self.processes.cpu().is_none() && self.exporters.is_empty() {
            return None;
        }
        let (seconds, grown) = (self.processes.seconds(), self.exporters.grown());
        let cpu = self.processes.cpu().or(grown.cpu);
        // What the server itself counted is nearer to its work than what arrived.
        let each = |told: Option<f64>, here: u64| {
            let count = told.unwrap_or(num::float(here));
            cpu.filter(|_| count > 0.0).map(|cpu| cpu / count)
        };
        let switches = || num::float(self.processes.switches()) / seconds;
        Some(ServerReport {
            pids: self.processes.pids(),
            metrics: self.exporters.urls(),
            cores: cpu.map(|cpu| cpu / seconds),
            cores_max: self.cores_max,
            resident_bytes_max: self.resident_max,
            switches_per_second: self.processes.cpu().map(|_| switches()),
            packets: grown.packets.map(num::count),
            bits_per_second: grown.bytes.map(|bytes| bytes * 8.0 / seconds),
            joins: grown.joins.map(num::count),
            cpu_us_per_packet: each(grown.packets, received).map(|each| each * 1e6),
            cpu_ms_per_join: each(grown.joins, joined).map(|each| each * 1e3),
            unread: self.exporters.failed(),
        })
    }
}

fn highest<T>(so_far: Option<T>, now: Option<T>, larger: fn(T, T) -> T) -> Option<T> {
    match (so_far, now) {
        (Some(so_far), Some(now)) => Some(larger(so_far, now)),
        (so_far, now) => so_far.or(now),
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
