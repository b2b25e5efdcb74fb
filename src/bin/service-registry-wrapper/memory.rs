//! Memory that the start needed and the rest of the life does not.

use nix::libc;

/// Gives the program's own code and constants back to the kernel. They are pages of a file: what is needed again comes back
/// from its cache, a page at a time. Without this, all that reading options and connecting touched, and what the kernel
/// mapped around it, would stay the wrapper's for as long as the child runs, and be taken apart page by page at its end.
#[expect(unsafe_code, reason = "the linker says where the program stands in memory")]
pub(crate) fn give_back_code() {
    unsafe extern "C" {
        static __executable_start: u8;
        static etext: u8;
    }
    const PAGE: usize = 4096;
    let start = (&raw const __executable_start).addr() & !(PAGE - 1);
    let end = (&raw const etext).addr() & !(PAGE - 1);
    if start < end {
        // SAFETY: between the two symbols lie headers, constants and code, which nobody writes to: what relocation changed
        // stands behind them. A private page of a file that was not written to reads the same when it is mapped again.
        unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED) };
    }
}
