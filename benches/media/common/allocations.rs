//! Counts allocations, to show that forwarding makes none for each viewer, and the bytes that a viewer keeps.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};

use mimalloc::MiMalloc;

/// The program's allocator: allocations counted for each thread, bytes for all.
pub struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

/// Allocations of all threads.
static ALL: AtomicUsize = AtomicUsize::new(0);
/// What one thread allocates another may free.
static LIVE: AtomicIsize = AtomicIsize::new(0);

// A thread that ends may allocate after its counter is gone.
fn count(bytes: isize) {
    let _ = COUNT.try_with(|counted| counted.set(counted.get() + 1));
    ALL.fetch_add(1, Ordering::Relaxed);
    keep(bytes);
}

fn keep(bytes: isize) {
    LIVE.fetch_add(bytes, Ordering::Relaxed);
}

// SAFETY: every call is handed on to the program's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        unsafe { MiMalloc.realloc(place, layout, size) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        keep(-(layout.size() as isize));
        unsafe { MiMalloc.dealloc(place, layout) }
    }
}

/// Allocations of all threads but this one so far.
#[allow(dead_code, reason = "a test of shards' threads uses it")]
pub fn of_others() -> usize {
    ALL.load(Ordering::Relaxed) - made()
}

/// Allocations of this thread so far.
pub fn made() -> usize {
    COUNT.with(Cell::get)
}

/// Bytes that are allocated and not freed.
#[allow(dead_code, reason = "the benches use it")]
pub fn live() -> isize {
    LIVE.load(Ordering::Relaxed)
}
