//! Raw frames on a netdev through the kernel (packet(7)): how tests and the packet generator play the far end of a wire.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;

use super::netdev::{self, checked, set_option, socket};

/// Frames per system call.
const BURST: usize = 32;

/// A non-blocking AF_PACKET socket bound to one netdev. It does not see what this host sends.
#[derive(Debug)]
pub struct PacketSocket(OwnedFd);

impl PacketSocket {
    /// Opens it; frames of every kind are received, also those for other addresses.
    ///
    /// # Errors
    /// `NotFound` when there is no such netdev, otherwise what packet(7) says.
    pub fn open(name: &str) -> io::Result<Self> {
        let index = netdev::find(name)?.ok_or(io::ErrorKind::NotFound)?.index as libc::c_int;
        let socket = socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_NONBLOCK, 0)?;
        let fd = socket.as_raw_fd();
        set_option(fd, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &1)?;
        let member = libc::packet_mreq {
            mr_ifindex: index,
            mr_type: libc::PACKET_MR_PROMISC as libc::c_ushort,
            mr_alen: 0,
            mr_address: [0; 8],
        };
        set_option(fd, libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &member)?;
        // Room for bursts; the kernel caps what an unprivileged caller asks for.
        set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &(64 << 20))
            .or_else(|_| set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, &(64 << 20)))?;
        // SAFETY: an all-zero sockaddr_ll is valid.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as libc::c_ushort;
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        address.sll_ifindex = index;
        // SAFETY: the kernel reads a live sockaddr_ll of the given size.
        let bound = unsafe {
            libc::bind(fd, std::ptr::from_ref(&address).cast(), size_of::<libc::sockaddr_ll>() as libc::socklen_t)
        };
        checked(bound)?;
        Ok(Self(socket))
    }

    /// Sends one frame.
    ///
    /// # Errors
    /// `WouldBlock` or `ENOBUFS` when the device is busy, `EMSGSIZE` when the frame is too long for it.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        // SAFETY: the kernel reads the frame during the call.
        let sent = unsafe { libc::send(self.0.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Receives one frame into `buffer` (cut when it is longer); returns its length. The kernel takes one VLAN tag out of
    /// received frames.
    ///
    /// # Errors
    /// `WouldBlock` when there is none, `ENETDOWN` when the netdev went away.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        // SAFETY: the kernel writes at most the buffer.
        let count = unsafe { libc::recv(self.0.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }

    /// Sends the frames in order, up to 32; returns how many the kernel took (0 when its queue is full).
    ///
    /// # Errors
    /// The netdev went away or is down, or the first frame is too long for it.
    pub fn send_many(&self, frames: &[&[u8]]) -> io::Result<usize> {
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
    pub fn receive_many(&self, buffers: &mut [Vec<u8>], lens: &mut [usize]) -> io::Result<usize> {
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
