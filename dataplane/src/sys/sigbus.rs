//! SIGBUS guard: a peer can truncate the memory file behind our mapping, and the next touch would kill the process.
//!
//! The handler replaces a lost mapping by private zero pages and notes it; the instruction then runs again and the
//! worker faults the port at the end of the burst. A SIGBUS anywhere else ends the process as usual.
//!
//! Everything the handler touches is an atomic in a static table: it may interrupt any code, and another thread may change
//! the table meanwhile. A slot counts each change, so the handler never believes one that is half-way: it would replace
//! memory that is not the peer's. The slot of the mapping that was touched stays as it is, for a mapping lives as long as
//! somebody may touch it, and its guard goes before it does.

use std::ffi::c_void;
use std::io;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering, fence};

/// Guarded mappings at a time: about as many as the kernel lets a process have, so that no front-end can use up what
/// others need. Slots that were never used cost nothing.
const SLOTS: usize = 65536;

struct Slot {
    /// Odd while the slot is being changed.
    changes: AtomicUsize,
    start: AtomicUsize,
    len: AtomicUsize,
    lost: AtomicBool,
}

static TABLE: [Slot; SLOTS] = [const { Slot::free() }; SLOTS];
static USED: AtomicUsize = AtomicUsize::new(0);
static LOSSES: AtomicU32 = AtomicU32::new(0);

impl Slot {
    const fn free() -> Self {
        Self {
            changes: AtomicUsize::new(0),
            start: AtomicUsize::new(0),
            len: AtomicUsize::new(0),
            lost: AtomicBool::new(false),
        }
    }

    /// Sets the range. Called by the slot's owner only.
    fn set(&self, start: usize, len: usize) {
        self.changes.fetch_add(1, Ordering::Acquire);
        fence(Ordering::Release);
        self.start.store(start, Ordering::Relaxed);
        self.lost.store(false, Ordering::Relaxed);
        self.changes.fetch_add(1, Ordering::Release);
        // Last: this is what claims a slot, and what frees it.
        self.len.store(len, Ordering::Release);
    }

    /// The range, unless it is being changed.
    fn range(&self) -> Option<(usize, usize)> {
        let before = self.changes.load(Ordering::Acquire);
        let range = (self.start.load(Ordering::Relaxed), self.len.load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        let same = before.is_multiple_of(2) && self.changes.load(Ordering::Relaxed) == before;
        (same && range.0 != 0).then_some(range)
    }
}

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
            // `len` claims the slot.
            if slot.len.load(Ordering::Relaxed) == 0
                && slot.len.compare_exchange(0, len, Ordering::AcqRel, Ordering::Relaxed).is_ok()
            {
                slot.set(start as usize, len);
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
        TABLE[self.0].set(0, 0);
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
        let Some((start, len)) = slot.range() else { continue };
        if address < start || address - start >= len {
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
