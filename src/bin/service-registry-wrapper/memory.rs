//! Releases code and constants, of the program and of its libraries, from memory. It takes 6 % off the memory of a
//! sleeping wrapper and up to 8 % off its exit, which would otherwise take up to 1.65 times as long as tini's.
//!
//! They are pages of files, which the kernel maps a few at a time when they are first touched.

use std::convert::Infallible;

use nix::libc;
use tokio::sync::watch;

use crate::event_loop::EventLoop;
use crate::registration::RegistrationStatus;

/// In seconds: with this interval or a longer one, the pages are also released after each heartbeat.
const LONG_INTERVAL: u32 = 10;

/// Releases the pages once the start is over: what the parsing of options and connecting touched, and what the kernel
/// mapped around it, would stay the wrapper's for as long as the child runs, and would have to be freed page by page at
/// its exit. With a long interval (seconds), releases them after each heartbeat as well. Never returns.
pub(super) async fn release_code(
    event_loop: &EventLoop,
    interval: u32,
    mut status: watch::Receiver<RegistrationStatus>,
) -> Infallible {
    loop {
        event_loop.idle().await;
        release();
        let last = status.borrow_and_update().heartbeat_sent;
        while status.borrow_and_update().heartbeat_sent == last {
            if interval < LONG_INTERVAL || status.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}

#[expect(unsafe_code, reason = "the loader says which file is mapped where")]
fn release() {
    unsafe extern "C" fn release_parts(object: *mut libc::dl_phdr_info, _: usize, _: *mut libc::c_void) -> libc::c_int {
        const PAGE: usize = 4096;
        // SAFETY: the loader passes an object that lives as long as this call, and the number of its headers.
        let object = unsafe { &*object };
        // SAFETY: as above.
        let parts = unsafe { std::slice::from_raw_parts(object.dlpi_phdr, object.dlpi_phnum.into()) };
        for part in parts.iter().filter(|part| part.p_type == libc::PT_LOAD && part.p_flags & libc::PF_W == 0) {
            let start = (object.dlpi_addr + part.p_vaddr) as usize & !(PAGE - 1);
            let end = (object.dlpi_addr + part.p_vaddr + part.p_memsz) as usize & !(PAGE - 1);
            // SAFETY: these pages are never written to: relocations are in parts that are writable. A private page of a
            // file that was not written to reads the same when it is mapped again.
            unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED) };
        }
        0 // continue with the next object
    }
    // SAFETY: `release_parts` keeps no pointer.
    unsafe { libc::dl_iterate_phdr(Some(release_parts), std::ptr::null_mut()) };
}
