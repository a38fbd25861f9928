//! Waiting for a handful of descriptors.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

/// Waits until one of `fds` is readable (or closed by its peer, or broken), or `timeout` is over; says which are.
/// A signal ends the wait early.
///
/// # Errors
/// What `poll(2)` says.
pub fn wait_readable<const N: usize>(fds: [BorrowedFd<'_>; N], timeout: Option<Duration>) -> io::Result<[bool; N]> {
    let mut entries = fds.map(|fd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 });
    // Rounded up, so that a wait for a deadline does not spin during the last millisecond.
    let timeout = timeout.map_or(-1, |time| libc::c_int::try_from(time.as_micros().div_ceil(1000)).unwrap_or(i32::MAX));
    // SAFETY: `entries` is an array of N valid entries for the whole call.
    let count = unsafe { libc::poll(entries.as_mut_ptr(), N as libc::nfds_t, timeout) };
    if count < 0 {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::Interrupted { Ok([false; N]) } else { Err(error) };
    }
    Ok(entries.map(|entry| entry.revents != 0))
}
