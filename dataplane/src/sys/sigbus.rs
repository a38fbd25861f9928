//! SIGBUS guard: a peer can truncate the memory file behind our mapping, and the next touch would kill the process.
//!
//! The handler replaces a lost mapping by private zero pages and notes it; the instruction then runs again and the
//! worker faults the port at the end of the burst. A SIGBUS anywhere else ends the process as usual.
//!
//! Everything the handler touches is an atomic in a static table: it may interrupt any code.

use std::ffi::c_void;
use std::io;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

/// Guarded mappings at a time: 128 ports of 64 regions; 509 regions each fit for 16 ports.
const SLOTS: usize = 8192;

struct Slot {
    start: AtomicUsize,
    len: AtomicUsize,
    lost: AtomicBool,
}

static TABLE: [Slot; SLOTS] =
    [const { Slot { start: AtomicUsize::new(0), len: AtomicUsize::new(0), lost: AtomicBool::new(false) } }; SLOTS];
static USED: AtomicUsize = AtomicUsize::new(0);
static LOSSES: AtomicU32 = AtomicU32::new(0);

/// One guarded mapping; dropping it ends the guard (before the mapping is unmapped).
#[derive(Debug)]
pub struct Guard(usize);

impl Guard {
    /// Guards `len` bytes at `start`, which must be a whole mapping.
    ///
    /// # Errors
    /// When too many mappings are guarded, or the handler cannot be installed.
    pub(crate) fn new(start: *mut u8, len: usize) -> io::Result<Self> {
        install()?;
        for (index, slot) in TABLE.iter().enumerate() {
            // `len` claims the slot; `start` comes last, so that the handler never sees a half-filled one.
            if slot.len.compare_exchange(0, len, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                slot.lost.store(false, Ordering::Relaxed);
                slot.start.store(start as usize, Ordering::Release);
                USED.fetch_max(index + 1, Ordering::AcqRel);
                return Ok(Self(index));
            }
        }
        Err(io::Error::other(format!("more than {SLOTS} guest memory regions")))
    }

    /// True once a page of this mapping was gone when it was touched.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        TABLE[self.0].lost.load(Ordering::Relaxed)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        TABLE[self.0].start.store(0, Ordering::Release);
        TABLE[self.0].len.store(0, Ordering::Release);
    }
}

/// How many mappings were lost since the program started: when this has not moved, no [`Guard::is_lost`] has.
#[inline]
#[must_use]
pub fn losses() -> u32 {
    LOSSES.load(Ordering::Relaxed)
}

fn install() -> io::Result<()> {
    static ONCE: Once = Once::new();
    static ERRNO: AtomicU32 = AtomicU32::new(0);
    ONCE.call_once(|| {
        // SAFETY: an all-zero sigaction is valid; the handler has the SA_SIGINFO signature and is async-signal-safe
        // (atomics, mmap and sigaction only).
        let result = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_sigbus as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO;
            libc::sigaction(libc::SIGBUS, &action, std::ptr::null_mut())
        };
        if result != 0 {
            ERRNO.store(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL) as u32, Ordering::Relaxed);
        }
    });
    match ERRNO.load(Ordering::Relaxed) {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno as i32)),
    }
}

extern "C" fn on_sigbus(_signal: libc::c_int, info: *mut libc::siginfo_t, _context: *mut c_void) {
    // SAFETY: the kernel passes a valid siginfo to an SA_SIGINFO handler.
    let address = unsafe { (*info).si_addr() } as usize;
    for slot in &TABLE[..USED.load(Ordering::Acquire)] {
        let (start, len) = (slot.start.load(Ordering::Acquire), slot.len.load(Ordering::Acquire));
        if start == 0 || address < start || address - start >= len {
            continue;
        }
        // SAFETY: `start .. start + len` is a whole mapping that its owner keeps until the guard is gone; replacing it
        // by zero pages leaves every pointer into it valid.
        let replaced = unsafe {
            libc::mmap(
                start as *mut c_void,
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED,
                -1,
                0,
            )
        };
        if replaced != libc::MAP_FAILED {
            slot.lost.store(true, Ordering::Relaxed);
            LOSSES.fetch_add(1, Ordering::Relaxed);
            return;
        }
    }
    // Not ours: the default action when the instruction runs again.
    // SAFETY: an all-zero sigaction is SIG_DFL without flags.
    unsafe {
        let action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(libc::SIGBUS, &action, std::ptr::null_mut());
    }
}
