//! How much of something this process may have.

use std::io;

/// Lets the process have as many open files as the administrator allows (the hard limit): guests with many queues need
/// hundreds each, and the usual soft limit is 1024. Returns how many.
///
/// # Errors
/// What `getrlimit(2)` and `setrlimit(2)` say.
pub fn raise_open_files() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure lives through both calls.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) != 0 {
            return Err(io::Error::last_os_error());
        }
        limit.rlim_cur = limit.rlim_max;
        if libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(limit.rlim_cur)
}
