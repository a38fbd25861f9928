//! AF_PACKET: sends and receives whole frames on a netdev, for tests and traffic generation (not for the hot path of
//! a switch port). See packet(7).

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

/// Frames per system call.
const BURST: usize = 32;

/// A raw socket bound to one netdev, promiscuous, non-blocking, blind to what it sends itself.
#[derive(Debug)]
pub struct PacketSocket(OwnedFd);

impl PacketSocket {
    /// Opens the netdev called `name`.
    ///
    /// # Errors
    /// No such netdev, or no permission (CAP_NET_RAW).
    pub fn open(name: &str) -> io::Result<Self> {
        let c_name = CString::new(name).map_err(io::Error::other)?;
        // SAFETY: a C string for the whole call.
        let index = unsafe { libc::if_nametoindex(c_name.as_ptr()) };
        if index == 0 {
            return Err(io::Error::last_os_error());
        }
        let protocol = (libc::ETH_P_ALL as u16).to_be();
        // Protocol 0: nothing is received until the bind below, so no frame of another netdev slips in.
        // SAFETY: no pointers; the result is checked before it is owned.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just created, nobody else owns it.
        let socket = Self(unsafe { OwnedFd::from_raw_fd(fd) });
        socket.set_option(libc::PACKET_IGNORE_OUTGOING, &1i32)?;
        // SAFETY: plain integers and bytes, all-zero is valid.
        let mut membership: libc::packet_mreq = unsafe { std::mem::zeroed() };
        membership.mr_ifindex = index as i32;
        membership.mr_type = libc::PACKET_MR_PROMISC as u16;
        socket.set_option(libc::PACKET_ADD_MEMBERSHIP, &membership)?;
        // SAFETY: as above.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = protocol;
        address.sll_ifindex = index as i32;
        // SAFETY: a valid sockaddr_ll of the stated length for the whole call.
        let bound = unsafe {
            libc::bind(fd, ptr::from_ref(&address).cast(), size_of::<libc::sockaddr_ll>() as libc::socklen_t)
        };
        if bound == 0 { Ok(socket) } else { Err(io::Error::last_os_error()) }
    }

    fn set_option<T>(&self, option: libc::c_int, value: &T) -> io::Result<()> {
        // SAFETY: the kernel reads `size_of::<T>()` bytes of a live value.
        let result = unsafe {
            libc::setsockopt(
                self.0.as_raw_fd(),
                libc::SOL_PACKET,
                option,
                ptr::from_ref(value).cast(),
                size_of::<T>() as libc::socklen_t,
            )
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Sends the frames in order, up to 32; returns how many the kernel took (0 when its queue is full).
    ///
    /// # Errors
    /// The netdev went away or is down, or the first frame is too long for it.
    pub fn send(&self, frames: &[&[u8]]) -> io::Result<usize> {
        let count = frames.len().min(BURST);
        let mut pieces = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BURST];
        for (piece, frame) in pieces.iter_mut().zip(frames) {
            *piece = libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() };
        }
        let mut messages = messages(&mut pieces);
        // SAFETY: `messages` and the frames they point to live for the whole call; sending only reads them.
        let sent = unsafe { libc::sendmmsg(self.0.as_raw_fd(), messages.as_mut_ptr(), count as u32, 0) };
        done(sent)
    }

    /// Receives up to one frame into each buffer (up to 32) and its length into `lens`; returns how many came. What
    /// does not fit its buffer is cut off.
    ///
    /// # Errors
    /// The netdev went away or is down.
    pub fn receive(&self, buffers: &mut [Vec<u8>], lens: &mut [usize]) -> io::Result<usize> {
        let count = buffers.len().min(lens.len()).min(BURST);
        let mut pieces = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BURST];
        for (piece, buffer) in pieces.iter_mut().zip(buffers) {
            *piece = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        }
        let mut messages = messages(&mut pieces);
        let fd = self.0.as_raw_fd();
        // SAFETY: `messages` and the buffers they point to live for the whole call, each as long as stated.
        let received = unsafe { libc::recvmmsg(fd, messages.as_mut_ptr(), count as u32, 0, ptr::null_mut()) };
        let received = done(received)?;
        for (len, message) in lens.iter_mut().zip(&messages[..received]) {
            *len = message.msg_len as usize;
        }
        Ok(received)
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn messages(pieces: &mut [libc::iovec; BURST]) -> [libc::mmsghdr; BURST] {
    // SAFETY: plain integers and pointers, all-zero is valid.
    let mut messages: [libc::mmsghdr; BURST] = unsafe { std::mem::zeroed() };
    for (message, piece) in messages.iter_mut().zip(pieces) {
        message.msg_hdr.msg_iov = piece;
        message.msg_hdr.msg_iovlen = 1;
    }
    messages
}

fn done(result: libc::c_int) -> io::Result<usize> {
    if result >= 0 {
        return Ok(result as usize);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::ENOBUFS | libc::EINTR) => Ok(0),
        _ => Err(error),
    }
}
