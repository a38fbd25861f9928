//! A tap device's file descriptor: one frame per read and write. See the kernel's networking/tuntap.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

use super::netdev::{checked, request};

/// An open tap device, non-blocking, without a header before the frames.
#[derive(Debug)]
pub struct TapFile(File);

impl TapFile {
    /// Creates the netdev, or attaches to one that was left behind. Unless `persist`, it goes away when the last
    /// descriptor is closed, also when the process dies.
    ///
    /// # Errors
    /// `EBUSY` when another process holds it, `EINVAL` when the name is some other kind of netdev, `EPERM`.
    pub fn open(name: &str, persist: bool) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
        let mut request = request(name)?;
        request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
        // SAFETY: TUNSETIFF takes an ifreq, which lives through the call; TUNSETPERSIST takes a number.
        unsafe {
            checked(libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &mut request))?;
            checked(libc::ioctl(file.as_raw_fd(), libc::TUNSETPERSIST, libc::c_ulong::from(persist)))?;
        }
        Ok(Self(file))
    }

    /// Reads one frame; what does not fit in `buffer` is lost.
    ///
    /// # Errors
    /// `WouldBlock` when there is none, `EIO` or `EBADFD` when the netdev is down or gone.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.0).read(buffer)
    }

    /// Writes one frame.
    ///
    /// # Errors
    /// `WouldBlock` when the kernel takes no more, `EIO` when the netdev is down.
    pub fn write(&self, frame: &[u8]) -> io::Result<usize> {
        (&self.0).write(frame)
    }

    /// True when a frame can be read now.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        let mut entry = libc::pollfd { fd: self.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one live entry.
        unsafe { libc::poll(&mut entry, 1, 0) > 0 && entry.revents & libc::POLLIN != 0 }
    }

    /// The netdev's name now, wherever it was moved to.
    ///
    /// # Errors
    /// `EBADFD` when it was deleted.
    pub fn name(&self) -> io::Result<String> {
        // SAFETY: an all-zero ifreq is valid, and the request fills it; it lives through the call.
        let request = unsafe {
            let mut request: libc::ifreq = std::mem::zeroed();
            checked(libc::ioctl(self.as_raw_fd(), libc::TUNGETIFF, &mut request))?;
            request
        };
        let bytes = request.ifr_name.iter().map(|&byte| byte as u8).take_while(|&byte| byte != 0);
        Ok(bytes.map(char::from).collect())
    }

    /// A second handle on the same queue, for the other direction.
    ///
    /// # Errors
    /// What `dup(2)` says.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }
}

impl AsRawFd for TapFile {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
