//! A core that never sleeps.
//!
//! A bench in real time that has little to do lets its core go to sleep between two packets, and on a virtual machine
//! that is when neighbours get it: what wakes then finds other people's data in the caches, more or less of it from one
//! second to the next. A thread that gives way to every other keeps the core, and is in nobody's CPU time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::measure::pin;

/// Keeps a core awake until it is dropped.
pub struct Awake {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Awake {
    pub fn new(core: usize) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            pin(core);
            give_way();
            // Without a hint that it waits, by which a hypervisor would know that the core can be had.
            while !stopped.load(Ordering::Relaxed) {}
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// Lets this thread run only where nothing else wants to.
fn give_way() {
    // SAFETY: `parameter` is a valid parameter of that class, whose priority is always 0.
    unsafe {
        let parameter: libc::sched_param = std::mem::zeroed();
        assert_eq!(libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const parameter), 0);
    }
}
