//! Bytes and file descriptors from a unix socket.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// Most descriptors that Linux lets one message carry (`SCM_MAX_FD`): a buffer for so many is never cut short.
const MAX_FDS: usize = 253;
/// Bytes for the control message that carries them, and for one with the peer's credentials besides.
const CONTROL: usize = 1280;

/// A control buffer, aligned as `cmsghdr` wants it.
#[repr(align(8))]
struct Control(MaybeUninit<[u8; CONTROL]>);

/// Reads at most `into.len()` bytes that are there already, never waits; descriptors that came with them are appended to
/// `fds`, so that each has an owner from the start. Returns 0 when the peer has closed.
///
/// # Errors
/// `WouldBlock` when nothing is there, and what `recvmsg(2)` says.
pub fn recv_with_fds(stream: &UnixStream, into: &mut [u8], fds: &mut Vec<OwnedFd>) -> io::Result<usize> {
    const { assert!(size_of::<libc::cmsghdr>() + MAX_FDS * size_of::<libc::c_int>() + 64 < CONTROL) };
    let mut control = Control(MaybeUninit::uninit());
    let mut piece = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    // SAFETY: all-zero is a valid msghdr.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut piece;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = CONTROL as _;
    // SAFETY: `message` points to `piece`, which points to `into`, and to `control`; all outlive the call.
    let count = unsafe { libc::recvmsg(stream.as_raw_fd(), &mut message, libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC) };
    if count < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel filled the control buffer and set its length; the CMSG macros stay inside that. Each
    // descriptor was made for this call and nobody else owns it.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(&message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_RIGHTS {
                let data = libc::CMSG_DATA(header).cast::<libc::c_int>();
                let len = (*header).cmsg_len as usize - libc::CMSG_LEN(0) as usize;
                for index in 0..len / size_of::<libc::c_int>() {
                    fds.push(OwnedFd::from_raw_fd(data.add(index).read_unaligned()));
                }
            }
            header = libc::CMSG_NXTHDR(&message, header);
        }
    }
    Ok(count as usize)
}
