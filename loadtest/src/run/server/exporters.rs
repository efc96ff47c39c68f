//! Pages of metrics that the server exposes, read once a second.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::client::{Page, ViewerConfig};
use crate::scenario::Selector;

/// Between two readings.
const PERIOD: Duration = Duration::from_secs(1);
/// A page that takes longer is given up.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Largest page that is read.
const PAGE_MAX: usize = 4 << 20;
/// A rate that is older says nothing of now.
const STALE: Duration = Duration::from_secs(3);
/// Over less than this there is no rate: CPU is counted in steps of 10 ms.
const SHORTEST: Duration = Duration::from_millis(500);

/// Which series tell what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Series {
    pub cpu: Selector,
    pub resident: Selector,
    pub packets: Selector,
    pub bytes: Selector,
    pub joins: Selector,
}

/// What a page said, or by how much it grew, or that a second.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Reading {
    pub cpu: Option<f64>,
    pub resident: Option<f64>,
    pub packets: Option<f64>,
    pub bytes: Option<f64>,
    pub joins: Option<f64>,
}

impl Reading {
    fn of(page: &str, series: &Series) -> Self {
        Self {
            cpu: series.cpu.sum(page),
            resident: series.resident.sum(page),
            packets: series.packets.sum(page),
            bytes: series.bytes.sum(page),
            joins: series.joins.sum(page),
        }
    }

    /// Puts counters of two together; memory is that of the second.
    fn with(self, other: Self, both: impl Fn(Option<f64>, Option<f64>) -> Option<f64>) -> Self {
        Self {
            cpu: both(self.cpu, other.cpu),
            resident: other.resident,
            packets: both(self.packets, other.packets),
            bytes: both(self.bytes, other.bytes),
            joins: both(self.joins, other.joins),
        }
    }

    /// What is known of either, added up, memory too.
    fn plus(self, other: Self) -> Self {
        let resident = known(self.resident, other.resident);
        Self { resident, ..self.with(other, known) }
    }
}

fn known(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one + other),
        (one, other) => one.or(other),
    }
}

/// By how much a counter grew. One that is lower than before began anew with its server; one that was not there before
/// began with its first count.
fn growth(before: Option<f64>, now: Option<f64>) -> Option<f64> {
    let (before, now) = (before.unwrap_or(0.0), now?);
    Some(if now >= before { now - before } else { now })
}

/// What a page came to over time.
#[derive(Debug, Default)]
struct Growth {
    last: Option<Reading>,
    grown: Reading,
    /// When a rate was taken last, and what had grown by then.
    rated: Option<(Instant, Reading)>,
    rate: Reading,
    failed: u64,
}

impl Growth {
    fn add(&mut self, at: Instant, now: Reading) {
        let Some(before) = self.last.replace(now) else {
            // What was counted before belongs to nobody here.
            self.grown = now.with(now, |_, now| now.map(|_| 0.0));
            self.rated = Some((at, self.grown));
            return;
        };
        self.grown = self.grown.with(before.with(now, growth), known);
        self.rate.resident = now.resident;
        let Some((rated, base)) = self.rated else { return };
        let passed = at.saturating_duration_since(rated);
        if passed >= SHORTEST {
            let seconds = passed.as_secs_f64();
            let each = |base: Option<f64>, grown: Option<f64>| Some((grown? - base.unwrap_or(0.0)) / seconds);
            self.rate = base.with(self.grown, each);
            self.rated = Some((at, self.grown));
        }
    }

    /// What it is a second, as far as anybody knows at this time.
    fn rate(&self, now: Instant) -> Reading {
        let fresh = self.rated.is_some_and(|(at, _)| now.saturating_duration_since(at) < STALE);
        if fresh { self.rate } else { Reading::default() }
    }
}

struct Exporter {
    url: String,
    page: Page,
    series: Series,
    growth: Mutex<Growth>,
    /// Held while the page is read, so that readings come in order; true after the last one.
    over: tokio::sync::Mutex<bool>,
}

impl Exporter {
    fn growth(&self) -> MutexGuard<'_, Growth> {
        self.growth.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the page once more, unless it was the last time before.
    async fn read(&self, last: bool) -> Result<(), String> {
        let mut over = self.over.lock().await;
        if *over {
            return Ok(());
        }
        *over = last;
        let page = self.page.fetch().await;
        let mut growth = self.growth();
        match page {
            Ok(page) => {
                growth.add(Instant::now(), Reading::of(&page, &self.series));
                Ok(())
            }
            Err(error) => {
                growth.failed += 1;
                Err(format!("the server's metrics cannot be read: {error}"))
            }
        }
    }
}

/// All pages.
#[derive(Default)]
pub(super) struct Exporters(Vec<Arc<Exporter>>);

impl Exporters {
    /// Of these URLs, fetched as carefully as `like` chooses its targets.
    pub fn new(urls: &[String], series: &Series, like: &ViewerConfig) -> Result<Self, String> {
        let exporter = |url: &String| {
            let page = Page::new(url, PAGE_MAX, TIMEOUT, like).map_err(|error| error.to_string())?;
            let (url, series) = (url.clone(), series.clone());
            let (growth, over) = Default::default();
            Ok(Arc::new(Exporter { url, page, series, growth, over }))
        };
        urls.iter().map(exporter).collect::<Result<Vec<_>, String>>().map(Self)
    }

    /// Reads each for the first time, and again and again from then on. Must be called inside a runtime.
    pub async fn begin(&self) -> Result<(), String> {
        for exporter in &self.0 {
            exporter.read(false).await?;
            let exporter = Arc::clone(exporter);
            tokio::spawn(async move {
                let mut ticks = tokio::time::interval_at((Instant::now() + PERIOD).into(), PERIOD);
                ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
                loop {
                    ticks.tick().await;
                    if let Err(error) = exporter.read(false).await {
                        tracing::info!(%error, "a reading is left out");
                    }
                }
            });
        }
        Ok(())
    }

    /// Reads each for the last time, so that what grew reaches to now.
    pub async fn finish(&self) {
        let mut all = JoinSet::new();
        for exporter in &self.0 {
            let exporter = Arc::clone(exporter);
            all.spawn(async move { exporter.read(true).await });
        }
        while let Some(read) = all.join_next().await {
            if let Ok(Err(error)) = read {
                tracing::info!(%error, "the last reading is left out");
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn urls(&self) -> Vec<String> {
        self.0.iter().map(|exporter| exporter.url.clone()).collect()
    }

    /// What all do a second, and their memory.
    pub fn rate(&self) -> Reading {
        let now = Instant::now();
        self.0.iter().map(|exporter| exporter.growth().rate(now)).fold(Reading::default(), Reading::plus)
    }

    /// By how much all grew since the first reading.
    pub fn grown(&self) -> Reading {
        self.0.iter().map(|exporter| exporter.growth().grown).fold(Reading::default(), Reading::plus)
    }

    /// How often a page could not be read.
    pub fn failed(&self) -> u64 {
        self.0.iter().map(|exporter| exporter.growth().failed).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(cpu: f64, packets: Option<f64>) -> Reading {
        Reading { cpu: Some(cpu), resident: Some(cpu * 1e6), packets, ..Reading::default() }
    }

    #[test]
    fn counters_grow_across_a_restart_and_what_was_before_is_not_ours() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut growth = Growth::default();
        growth.add(at(0), reading(50.0, None));
        assert_eq!((growth.grown.cpu, growth.grown.packets), (Some(0.0), None));
        growth.add(at(2_000), reading(53.0, Some(400.0)));
        assert_eq!((growth.rate.cpu, growth.rate.packets), (Some(1.5), Some(200.0)));
        assert_eq!(growth.rate.resident, Some(53e6), "memory is no counter");
        // It was started again: 1 s of CPU and 30 packets since.
        growth.add(at(3_000), reading(1.0, Some(30.0)));
        assert_eq!((growth.grown.cpu, growth.grown.packets), (Some(4.0), Some(430.0)));
        assert_eq!(growth.grown.bytes, None, "nobody told");
        growth.add(at(3_010), reading(2.0, Some(40.0)));
        assert_eq!((growth.rate.cpu, growth.rate.packets), (Some(1.0), Some(30.0)), "10 ms are no second");
        assert_eq!((growth.rate.resident, growth.grown.packets), (Some(2e6), Some(440.0)));
        assert_eq!(growth.rate(at(5_900)).packets, Some(30.0));
        assert_eq!(growth.rate(at(6_100)), Reading::default(), "that is long ago");
    }

    #[test]
    fn pages_are_added_up_as_far_as_they_are_known() {
        let sum = reading(1.0, None).plus(reading(2.0, Some(3.0)));
        assert_eq!((sum.cpu, sum.resident, sum.packets, sum.joins), (Some(3.0), Some(3e6), Some(3.0), None));
    }
}
