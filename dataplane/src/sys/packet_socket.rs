//! Raw frames on a netdev through the kernel (packet(7)): how tests and the packet generator play the far end of a wire.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::netdev::{self, checked, set_option, socket};

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
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
