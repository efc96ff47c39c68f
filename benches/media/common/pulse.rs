//! Whether a core is all ours: on shared machines a neighbour takes a third of it for seconds at a time, and nothing
//! that the system counts shows it.
//!
//! A thread on the core computes the same little thing again and again, for one part in a hundred of the time, and notes
//! how long it takes. It is arithmetic without memory, so what else we do on the machine does not change it.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::measure::pin;
use crate::{READER_CORE, WORKER_CORE};

const EVERY: Duration = Duration::from_millis(25);
/// What is computed takes about 60 µs; the shortest of so many counts, as interrupts only make it longer.
const STEPS: u64 = 12_000;
const TRIES: usize = 4;
/// Taking so much longer than ever, it was slowed down.
const SLOW: f64 = 1.3;

/// The part of its time that neighbours may have in a measurement that counts as undisturbed.
pub const NEIGHBOURS: f64 = 0.2;

/// Feels both cores that a bench uses.
pub struct Neighbours([Pulse; 2]);

impl Neighbours {
    pub fn new() -> Self {
        Self([WORKER_CORE, READER_CORE].map(Pulse::new))
    }

    /// From now on it counts.
    pub fn begin(&self) {
        self.0.iter().for_each(Pulse::begin);
    }

    /// The part of the time since then in which they had one core, or the other, whichever is more.
    pub fn had(&self) -> f64 {
        self.0.iter().map(Pulse::slowed).fold(0.0, f64::max)
    }
}

/// Feels a core until it is dropped.
struct Pulse {
    beats: Arc<Mutex<Beats>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Beats {
    /// Seconds that the work takes at best.
    best: Option<f64>,
    since: Vec<f64>,
}

impl Pulse {
    fn new(core: usize) -> Self {
        let (beats, stop) = (Arc::<Mutex<Beats>>::default(), Arc::<AtomicBool>::default());
        let (noted, stopped) = (beats.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            pin(core);
            while !stopped.load(Ordering::Relaxed) {
                let took = (0..TRIES).map(|_| work()).fold(f64::INFINITY, f64::min);
                let mut beats = noted.lock().unwrap();
                beats.best = Some(beats.best.map_or(took, |best| best.min(took)));
                beats.since.push(took);
                drop(beats);
                std::thread::sleep(EVERY);
            }
        });
        Self { beats, stop, thread: Some(thread) }
    }

    fn begin(&self) {
        self.beats.lock().unwrap().since.clear();
    }

    fn slowed(&self) -> f64 {
        let beats = self.beats.lock().unwrap();
        let slow = beats.best.unwrap_or_default() * SLOW;
        beats.since.iter().filter(|took| **took > slow).count() as f64 / beats.since.len().max(1) as f64
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// Five sums that wait for each other as little as the core allows: whoever shares its adders is felt.
fn work() -> f64 {
    let begin = Instant::now();
    let mut sums = black_box([1_u64, 2, 3, 4, 5]);
    for step in 0..STEPS {
        let [a, b, c, d, e] = sums;
        sums = [
            a.wrapping_mul(3).wrapping_add(b ^ step),
            b.wrapping_mul(5).wrapping_add(c ^ step),
            c.wrapping_mul(7).wrapping_add(d ^ step),
            d.wrapping_add(e ^ step) ^ (d >> 3),
            e.wrapping_add(a ^ step) ^ (e >> 5),
        ];
    }
    black_box(sums);
    begin.elapsed().as_secs_f64()
}
