//! Counts allocations, to show that forwarding makes none for each viewer, and the bytes that a viewer keeps.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, counting for each thread.
pub struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
    static LIVE: Cell<isize> = const { Cell::new(0) };
}

// A thread that ends may free and allocate after its counters are gone.
fn count(bytes: isize) {
    let _ = COUNT.try_with(|counted| counted.set(counted.get() + 1));
    keep(bytes);
}

fn keep(bytes: isize) {
    let _ = LIVE.try_with(|live| live.set(live.get() + bytes));
}

// SAFETY: every call is handed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        unsafe { System.realloc(place, layout, size) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        keep(-(layout.size() as isize));
        unsafe { System.dealloc(place, layout) }
    }
}

/// Allocations of this thread so far.
pub fn made() -> usize {
    COUNT.with(Cell::get)
}

/// Bytes that this thread has allocated and not freed; less than none when it freed another's.
pub fn live() -> isize {
    LIVE.with(Cell::get)
}
