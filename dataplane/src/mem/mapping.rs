//! One mapped file: a guest memory region, or memory of our own that we hand to a switch (the packet generator does).

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::sys::sigbus::Guard;

/// A shared mapping of a file from offset 0, unmapped when dropped, guarded against truncation.
#[derive(Debug)]
pub struct Mapping {
    start: *mut u8,
    len: usize,
    /// `None` only while it is dropped.
    guard: Option<Guard>,
    /// Given back last, when the mapping is gone.
    _share: Share,
    /// Of our own memory, to be handed out. A guest's is closed once it is mapped: a front-end may send hundreds.
    file: Option<File>,
}

// SAFETY: the mapping is an address range; every access goes through `Span` or `Area`, which allow for concurrent writers.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `len` bytes of `file`, shared and writable; `len` is rounded up to the file's block size (a whole
    /// huge page for hugetlbfs, where an unaligned length would never be unmapped).
    ///
    /// # Errors
    /// A length of 0 or beyond the end of the file, a file that is not memory, and what `mmap(2)` says.
    pub fn of_file(file: File, len: u64) -> io::Result<Self> {
        Self::map(&file, len)
    }

    fn map(file: &File, len: u64) -> io::Result<Self> {
        use std::os::unix::fs::MetadataExt;
        let meta = file.metadata()?;
        if len == 0 || len > meta.len() {
            return Err(io::Error::other(format!("{len} bytes to map in a file of {}", meta.len())));
        }
        if !is_memory(file)? {
            return Err(io::Error::other("the file is not memory: memfd, tmpfs and hugetlbfs are"));
        }
        let block = meta.blksize().max(4096);
        let len = usize::try_from(len.next_multiple_of(block)).map_err(io::Error::other)?;
        let share = Share::take(len as u64)?;
        // SAFETY: a new mapping at an address of the kernel's choice; the descriptor is open for the call.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_NORESERVE,
                file.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = start.cast::<u8>();
        match Guard::new(start, len) {
            Ok(guard) => {
                // A core dump of the switch must not hold the guests' memory. SAFETY: our own whole mapping.
                unsafe { libc::madvise(start.cast(), len, libc::MADV_DONTDUMP) };
                Ok(Self { start, len, guard: Some(guard), _share: share, file: None })
            }
            Err(error) => {
                // SAFETY: mapped above, nobody has the address yet.
                unsafe { libc::munmap(start.cast(), len) };
                Err(error)
            }
        }
    }

    /// New zeroed memory of our own (a memfd) that can be handed to a vhost-user back-end.
    ///
    /// # Errors
    /// What `memfd_create(2)`, `ftruncate(2)` and `mmap(2)` say.
    pub fn memfd(name: &std::ffi::CStr, len: u64) -> io::Result<Self> {
        // SAFETY: `name` is a C string; the result is checked before it is owned.
        let fd = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just created, nobody else owns it.
        let file = unsafe { File::from_raw_fd(fd) };
        file.set_len(len)?;
        let mut mapping = Self::map(&file, len)?;
        mapping.file = Some(file);
        Ok(mapping)
    }

    /// Where it lies in this process.
    #[must_use]
    pub fn start(&self) -> *mut u8 {
        self.start
    }

    /// Mapped bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never true: an empty mapping cannot be made.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// True once the file was truncated under us.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.guard.as_ref().is_some_and(Guard::is_lost)
    }
}

/// Bytes of address space that all mappings may take: half of what a process has on x86-64. A file can be of any size and
/// empty, and when the address space is used up the next allocation anywhere ends the process.
const MOST_BYTES: u64 = 64 << 40;

/// A part of that.
#[derive(Debug)]
struct Share(u64);

static TAKEN: AtomicU64 = AtomicU64::new(0);

impl Share {
    fn take(len: u64) -> io::Result<Self> {
        let more = |taken: u64| taken.checked_add(len).filter(|&sum| sum <= MOST_BYTES);
        match TAKEN.fetch_update(Relaxed, Relaxed, more) {
            Ok(_) => Ok(Self(len)),
            Err(_) => Err(io::Error::other("the guests' memory takes more address space than all of them may have")),
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        TAKEN.fetch_sub(self.0, Relaxed);
    }
}

/// True when touching a page of this file waits for nothing but the kernel's own memory. A page of any other file system
/// is fetched by whoever serves that (a disk, a network, with FUSE a process of the peer's), and a worker would wait for
/// it in the middle of a burst.
fn is_memory(file: &File) -> io::Result<bool> {
    // SAFETY: all-zero is a valid statfs, and the descriptor is open for the call.
    let kind = unsafe {
        let mut info: libc::statfs = std::mem::zeroed();
        if libc::fstatfs(file.as_raw_fd(), &raw mut info) != 0 {
            return Err(io::Error::last_os_error());
        }
        info.f_type
    };
    Ok(matches!(kind, libc::TMPFS_MAGIC | libc::HUGETLBFS_MAGIC))
}

/// The file of our own memory.
///
/// # Panics
/// When the mapping is not of our own ([`Mapping::memfd`]).
impl AsFd for Mapping {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_ref().expect("memory of our own").as_fd()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // The guard goes first: once unmapped, the addresses may be another thread's next mapping, and a guard that was
        // still there would answer for it.
        self.guard = None;
        // SAFETY: our own whole mapping; spans into it are gone by their invariant, areas hold an `Arc` of it.
        unsafe { libc::munmap(self.start.cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    /// Mappings come and go in other threads, at the same addresses: each loss is noticed by its own mapping, and by no
    /// other.
    #[test]
    fn a_loss_is_told_to_the_mapping_that_was_touched() {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !stop.load(Relaxed) {
                        let mapping = Mapping::memfd(c"other", 16384).expect("memfd");
                        assert!(!mapping.is_lost(), "another mapping's loss");
                    }
                });
            }
            for _ in 0..20_000 {
                let mapping = Mapping::memfd(c"victim", 16384).expect("memfd");
                mapping.file.as_ref().expect("our own").set_len(0).expect("truncate");
                // SAFETY: inside the mapping; the handler puts a page there.
                unsafe { mapping.start().read_volatile() };
                let lost = mapping.is_lost();
                stop.store(!lost, Relaxed);
                assert!(lost, "the loss was told to another mapping");
            }
            stop.store(true, Relaxed);
        });
    }

    /// Files of any size cost nothing, address space does.
    #[test]
    fn empty_files_do_not_use_up_the_address_space() {
        let large = || Mapping::memfd(c"large", 12 << 40);
        let held: Vec<_> = std::iter::repeat_with(large).take_while(io::Result::is_ok).take(20).collect();
        assert_eq!(held.len(), 5, "60 of 64 TiB");
        drop(held);
        assert!(large().is_ok());
    }
}
