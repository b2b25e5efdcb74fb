//! Large tables on large pages of memory, where the kernel gives them on request.
//!
//! A table of a million sessions is read all over. With pages of 4 kB most of these reads wait for the processor to look
//! their page up first, in a virtual machine twice.

use std::alloc::{GlobalAlloc, Layout, System};

use nix::libc;

/// The system's allocator, which asks for large pages where there is room for some.
pub(super) struct LargePages;

/// In bytes. Smaller ones are many, and fit on few pages anyway.
const LARGE: usize = 4 << 20;
const PAGE: usize = 4096;

#[expect(unsafe_code, reason = "an allocator deals in raw memory")]
// SAFETY: all is the system allocator's doing, and the caller's word goes on to it. `realloc` is left as it is, which copies:
// the system's moves the small pages that a growing table began with.
unsafe impl GlobalAlloc for LargePages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        advise(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        advise(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(start, layout) };
    }
}

/// Asks for large pages below what was just allocated, if that is large.
#[expect(unsafe_code, reason = "advice is about raw memory")]
fn advise(start: *mut u8, size: usize) -> *mut u8 {
    if size >= LARGE && !start.is_null() {
        let first = start.addr().next_multiple_of(PAGE);
        let length = (start.addr() + size - first) & !(PAGE - 1);
        // SAFETY: these pages are ours, advice changes nothing in them, and the kernel may decline.
        unsafe { libc::madvise(start.with_addr(first).cast(), length, libc::MADV_HUGEPAGE) };
    }
    start
}
