//! The program's own code and constants in memory. They are pages of a file, which the kernel maps when they are first
//! touched, a few at a time.

use nix::libc;

/// Has all of them mapped at once. To be called while there is nothing to do but to wait: what comes after the answer then
/// does not stop for one page after the other.
pub(crate) fn fetch_code() {
    advise(libc::MADV_POPULATE_READ); // kernels before 5.14 do not know it, and map page by page
}

/// Gives them back to the kernel. What is needed again comes back from its cache. Without this, all that reading options and
/// connecting touched, and what the kernel mapped around it, would stay the wrapper's for as long as the child runs, and be
/// taken apart page by page at its end.
pub(crate) fn give_back_code() {
    advise(libc::MADV_DONTNEED);
}

#[expect(unsafe_code, reason = "the linker says where the program stands in memory")]
fn advise(what: libc::c_int) {
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
        unsafe { libc::madvise(start as *mut libc::c_void, end - start, what) };
    }
}
