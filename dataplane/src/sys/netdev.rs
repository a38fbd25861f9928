//! Network devices of the host: does it exist, is it up, how long may its frames be; and what we set on our own.
//!
//! Neighbours: `port::xdp` and `port::tap`. See netdevice(7), packet(7), rtnetlink(7).

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::event::EventFd;

/// A netdev as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Netdev {
    /// The kernel's number for it; another one after it was deleted and made again.
    pub index: u32,
    /// The administrator says up.
    pub is_up: bool,
    /// There is a link.
    pub has_carrier: bool,
    /// Most bytes behind the Ethernet header.
    pub mtu: u32,
}

/// Looks a netdev up; `None` when there is none of this name.
///
/// # Errors
/// A name that cannot be one, and what the kernel says.
pub fn find(name: &str) -> io::Result<Option<Netdev>> {
    let read = || -> io::Result<Netdev> {
        let index = ask(name, libc::SIOCGIFINDEX)?;
        let (flags, mtu) = (ask(name, libc::SIOCGIFFLAGS)?, ask(name, libc::SIOCGIFMTU)?);
        // SAFETY: the kernel filled the member that belongs to each request.
        let (index, flags, mtu) =
            unsafe { (index.ifr_ifru.ifru_ifindex, flags.ifr_ifru.ifru_flags, mtu.ifr_ifru.ifru_mtu) };
        let is_set = |flag: libc::c_int| libc::c_int::from(flags) & flag != 0;
        Ok(Netdev {
            index: index as u32,
            is_up: is_set(libc::IFF_UP),
            has_carrier: is_set(libc::IFF_RUNNING),
            mtu: mtu as u32,
        })
    };
    match read() {
        Ok(netdev) => Ok(Some(netdev)),
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
        Err(error) => Err(error),
    }
}

/// How many receive queues the netdev has.
///
/// # Errors
/// When there is no such netdev.
pub fn rx_queue_count(name: &str) -> io::Result<u16> {
    let mut count = 0;
    for entry in std::fs::read_dir(format!("/sys/class/net/{name}/queues"))? {
        count += u16::from(entry?.file_name().as_encoded_bytes().starts_with(b"rx-"));
    }
    Ok(count)
}

/// Sets the netdev up or down.
///
/// # Errors
/// What the kernel says.
pub fn set_up(name: &str, is_up: bool) -> io::Result<()> {
    let mut request = ask(name, libc::SIOCGIFFLAGS)?;
    // SAFETY: SIOCGIFFLAGS filled the flags.
    unsafe {
        let flags = libc::c_int::from(request.ifr_ifru.ifru_flags) & !libc::IFF_UP;
        request.ifr_ifru.ifru_flags = (flags | if is_up { libc::IFF_UP } else { 0 }) as libc::c_short;
    }
    control(libc::SIOCSIFFLAGS, &mut request)
}

/// Sets the MTU.
///
/// # Errors
/// `EINVAL` when the device cannot do it.
pub fn set_mtu(name: &str, mtu: u32) -> io::Result<()> {
    let mut request = request(name)?;
    request.ifr_ifru.ifru_mtu = mtu.try_into().map_err(io::Error::other)?;
    control(libc::SIOCSIFMTU, &mut request)
}

/// The Ethernet address.
///
/// # Errors
/// What the kernel says, `ENODEV` among it.
pub fn mac(name: &str) -> io::Result<[u8; 6]> {
    let reply = ask(name, libc::SIOCGIFHWADDR)?;
    // SAFETY: SIOCGIFHWADDR filled the address.
    let [a, b, c, d, e, f, ..] = unsafe { reply.ifr_ifru.ifru_hwaddr.sa_data };
    Ok([a, b, c, d, e, f].map(|byte| byte as u8))
}

/// Sets the Ethernet address.
///
/// # Errors
/// `EADDRNOTAVAIL` for a group address, and what else the kernel says.
pub fn set_mac(name: &str, mac: [u8; 6]) -> io::Result<()> {
    let mut request = request(name)?;
    let mut address = libc::sockaddr { sa_family: libc::ARPHRD_ETHER, sa_data: [0; 14] };
    for (to, from) in address.sa_data.iter_mut().zip(mac) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_hwaddr = address;
    control(libc::SIOCSIFHWADDR, &mut request)
}

/// An empty request for this netdev.
pub(super) fn request(name: &str) -> io::Result<libc::ifreq> {
    // One byte less than the field, for the terminating zero.
    if name.is_empty() || name.len() >= libc::IFNAMSIZ || name.contains(['/', '\0', ' ']) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} cannot be the name of a netdev")));
    }
    // SAFETY: an all-zero ifreq is valid: plain bytes and integers.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, &from) in request.ifr_name.iter_mut().zip(name.as_bytes()) {
        *to = from as libc::c_char;
    }
    Ok(request)
}

fn ask(name: &str, what: libc::c_ulong) -> io::Result<libc::ifreq> {
    let mut request = request(name)?;
    control(what, &mut request)?;
    Ok(request)
}

fn control(what: libc::c_ulong, request: &mut libc::ifreq) -> io::Result<()> {
    let socket = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    // SAFETY: every request used here takes an ifreq, which lives through the call.
    checked(unsafe { libc::ioctl(socket.as_raw_fd(), what, request) }).map(drop)
}

pub(super) fn socket(family: libc::c_int, kind: libc::c_int, protocol: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: no pointers; the result is checked before it is owned.
    let fd = checked(unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) })?;
    // SAFETY: just created, nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

pub(crate) fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Sets one socket option from a plain value.
pub(crate) fn set_option<T: Copy>(fd: RawFd, level: libc::c_int, option: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes of a live value.
    let result = unsafe {
        libc::setsockopt(fd, level, option, std::ptr::from_ref(value).cast(), size_of::<T>() as libc::socklen_t)
    };
    checked(result).map(drop)
}

/// Holds a netdev in promiscuous mode: a NIC drops what is not addressed to it before XDP sees it. Counted by the
/// kernel, so others may hold it too, and given back when this is dropped or the process dies.
#[derive(Debug)]
pub struct Promiscuous {
    _socket: OwnedFd,
}

impl Promiscuous {
    /// Enters promiscuous mode.
    ///
    /// # Errors
    /// What packet(7) says: without CAP_NET_RAW `EPERM`.
    pub fn hold(index: u32) -> io::Result<Self> {
        let socket = socket(libc::AF_PACKET, libc::SOCK_RAW, 0)?;
        let member = libc::packet_mreq {
            mr_ifindex: index as libc::c_int,
            mr_type: libc::PACKET_MR_PROMISC as libc::c_ushort,
            mr_alen: 0,
            mr_address: [0; 8],
        };
        set_option(socket.as_raw_fd(), libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &member)?;
        Ok(Self { _socket: socket })
    }
}

/// A bell that rings when something about any netdev changes. What changed is looked up with [`find`], so a lost message
/// loses nothing.
#[derive(Debug)]
pub struct LinkBell {
    socket: OwnedFd,
}

impl LinkBell {
    /// Starts listening.
    ///
    /// # Errors
    /// What rtnetlink(7) says.
    pub fn new() -> io::Result<Self> {
        let socket = socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_NONBLOCK, libc::NETLINK_ROUTE)?;
        // SAFETY: an all-zero sockaddr_nl is valid.
        let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
        address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
        address.nl_groups = libc::RTMGRP_LINK as u32;
        // SAFETY: the kernel reads a live sockaddr_nl of the given size.
        let bound = unsafe {
            libc::bind(
                socket.as_raw_fd(),
                std::ptr::from_ref(&address).cast(),
                size_of::<libc::sockaddr_nl>() as libc::socklen_t,
            )
        };
        checked(bound)?;
        Ok(Self { socket })
    }

    /// Waits until the bell rings, `wake` is signalled or the time is over.
    pub fn wait(&self, wake: &EventFd, timeout_ms: i32) {
        let entry = |fd: RawFd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let mut fds = [entry(self.socket.as_raw_fd()), entry(wake.as_raw_fd())];
        // SAFETY: two live entries.
        unsafe { libc::poll(fds.as_mut_ptr(), 2, timeout_ms) };
        let mut message = [0u8; 4096];
        // SAFETY: the kernel writes at most the buffer. An overrun (ENOBUFS) is an error once and a ring all the same.
        while unsafe { libc::recv(self.socket.as_raw_fd(), message.as_mut_ptr().cast(), message.len(), 0) } > 0 {}
    }
}
