//! Code and constants in memory: those of the program and of the libraries it has loaded. They are pages of files, which the
//! kernel maps when they are first touched, a few at a time.

use nix::libc;

/// Gives all of it back to the kernel. What is needed again comes back from its cache. Without this, all that reading
/// options and connecting touched, and what the kernel mapped around it, would stay the wrapper's for as long as the child
/// runs, and be taken apart page by page at its end.
#[expect(unsafe_code, reason = "the loader says what stands where in memory")]
pub(super) fn give_back_code() {
    unsafe extern "C" fn each(object: *mut libc::dl_phdr_info, _: usize, _: *mut libc::c_void) -> libc::c_int {
        const PAGE: usize = 4096;
        // SAFETY: the loader gives an object that lives as long as this call, with so many headers.
        let object = unsafe { &*object };
        // SAFETY: as above.
        let parts = unsafe { std::slice::from_raw_parts(object.dlpi_phdr, object.dlpi_phnum.into()) };
        for part in parts.iter().filter(|part| part.p_type == libc::PT_LOAD && part.p_flags & libc::PF_W == 0) {
            let start = (object.dlpi_addr + part.p_vaddr) as usize & !(PAGE - 1);
            let end = (object.dlpi_addr + part.p_vaddr + part.p_memsz) as usize & !(PAGE - 1);
            // SAFETY: nobody writes to these pages: what relocation changes stands in parts that may be written to. A
            // private page of a file that was not written to reads the same when it is mapped again.
            unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED) };
        }
        0 // the next one
    }
    // SAFETY: `each` keeps nothing of what it is given.
    unsafe { libc::dl_iterate_phdr(Some(each), std::ptr::null_mut()) };
}
