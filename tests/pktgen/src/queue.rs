//! What sends and what receives: a virtqueue of a guest, or a socket on a netdev. Both keep their frames in one area of
//! memory, so that the code that fills and checks frames is the same.

use std::io;
use std::sync::Arc;

use ringswitch_dataplane::mem::{Area, Mapping};
use ringswitch_dataplane::sys::packet_socket::PacketSocket;
use vmm_sys_util::eventfd::EventFd;

use crate::guest::GuestError;
use crate::guest::whole_area;
use crate::ring::{Ring, RingError};

/// Frames per call.
pub const BATCH: usize = 32;

/// Where the frames of a queue lie.
#[derive(Clone, Copy, Debug)]
pub struct Frames {
    start: usize,
    stride: usize,
    /// How many there are.
    pub count: u16,
}

impl Frames {
    /// Offset of buffer `id`'s frame in the queue's area.
    #[inline(always)]
    #[must_use]
    pub fn offset(&self, id: u16) -> usize {
        self.start + usize::from(id) * self.stride
    }
}

/// Sends.
pub enum Tx {
    /// A guest's transmit queue.
    Ring(Box<Ring>, EventFd),
    /// A netdev.
    Socket(SocketQueue),
}

/// Receives.
pub struct Rx {
    source: Source,
    /// Frames may be spread over several buffers.
    mrg: bool,
    /// Buffers that still belong to the frame being received.
    pending: u16,
    frame: Vec<u8>,
}

enum Source {
    Ring(Box<Ring>, EventFd),
    Socket(SocketQueue),
}

/// One direction of a netdev.
pub struct SocketQueue {
    socket: Arc<PacketSocket>,
    area: Area,
    frames: Frames,
    room: usize,
    next: u16,
    bounce: Vec<Vec<u8>>,
}

/// Both directions of a netdev.
///
/// # Errors
/// No such netdev, no permission, no memory.
pub fn open_netdev(name: &str, max_frame: u32) -> Result<(Tx, Rx), GuestError> {
    let setup = |source| GuestError::Setup { source };
    let open = |source: io::Error| GuestError::Netdev { name: name.into(), source };
    let socket = Arc::new(PacketSocket::open(name).map_err(open)?);
    let (count, room) = (256, max_frame.max(9216) as usize);
    let queue = || -> Result<SocketQueue, GuestError> {
        let memory = Mapping::memfd(c"rspktgen", (room * usize::from(count)) as u64).map_err(setup)?;
        Ok(SocketQueue {
            socket: Arc::clone(&socket),
            area: whole_area(&Arc::new(memory)),
            frames: Frames { start: 0, stride: room, count },
            room,
            next: 0,
            bounce: vec![vec![0; room]; BATCH],
        })
    };
    let rx = Rx { source: Source::Socket(queue()?), mrg: false, pending: 0, frame: Vec::new() };
    Ok((Tx::Socket(queue()?), rx))
}

impl Tx {
    pub(crate) fn ring(ring: Ring, kick: EventFd) -> Self {
        Self::Ring(Box::new(ring), kick)
    }

    /// The memory that the frames lie in.
    #[must_use]
    pub fn area(&self) -> &Area {
        match self {
            Self::Ring(ring, _) => ring.area(),
            Self::Socket(queue) => &queue.area,
        }
    }

    /// Where the frames lie.
    #[must_use]
    pub fn frames(&self) -> Frames {
        match self {
            Self::Ring(ring, _) => {
                let (buffers, place) = (ring.buffers(), ring.place());
                Frames { start: buffers.frame_offset(0), stride: buffers.stride, count: place.size / buffers.entries() }
            }
            Self::Socket(queue) => queue.frames,
        }
    }

    /// Bytes that a frame can have.
    #[must_use]
    pub fn room(&self) -> usize {
        match self {
            Self::Ring(ring, _) => ring.buffers().room as usize,
            Self::Socket(queue) => queue.room,
        }
    }

    /// Sends up to `count` frames; `fill` gets each one's buffer and returns its length (what was in the buffer is still
    /// there). Returns how many there was room for; with `whole`, all or none.
    ///
    /// # Errors
    /// The back-end broke the ring, or the netdev is gone.
    #[inline(always)]
    pub fn send(&mut self, count: usize, whole: bool, fill: impl FnMut(u16) -> u32) -> Result<usize, GuestError> {
        match self {
            Self::Ring(ring, kick) => {
                if ring.free() < count {
                    ring.take(count, whole, |_, _| ())?;
                    if ring.free() < count && whole {
                        return Ok(0);
                    }
                }
                let (sent, wants_kick) = ring.offer(count, fill);
                if wants_kick {
                    // A full counter is as good as a kick.
                    let _ = kick.write(1);
                }
                Ok(sent)
            }
            Self::Socket(queue) => queue.send(count, fill),
        }
    }

    /// True when the device holds none of the frames.
    ///
    /// # Errors
    /// The back-end broke the ring.
    pub fn is_idle(&mut self) -> Result<bool, GuestError> {
        let count = usize::from(self.frames().count);
        match self {
            Self::Ring(ring, _) => {
                ring.take(count, false, |_, _| ())?;
                Ok(ring.free() == count)
            }
            Self::Socket(_) => Ok(true),
        }
    }

    /// The ring, to misuse it; `None` on a netdev.
    pub(crate) fn raw(&mut self) -> Option<(&mut Ring, &EventFd)> {
        match self {
            Self::Ring(ring, kick) => Some((ring, kick)),
            Self::Socket(_) => None,
        }
    }
}

impl SocketQueue {
    fn send(&mut self, count: usize, mut fill: impl FnMut(u16) -> u32) -> Result<usize, GuestError> {
        let count = count.min(BATCH);
        let mut lens = [0; BATCH];
        for (number, len) in lens[..count].iter_mut().enumerate() {
            let id = (self.next + number as u16) % self.frames.count;
            *len = fill(id) as usize;
            self.area.read_bytes(self.frames.offset(id), &mut self.bounce[number][..*len]);
        }
        let mut rest: Vec<&[u8]> = self.bounce.iter().zip(&lens[..count]).map(|(frame, &len)| &frame[..len]).collect();
        // What was filled counts as sent (sequence numbers moved on), so wait until the kernel took it.
        while !rest.is_empty() {
            let taken = self.socket.send_many(&rest).map_err(|source| GuestError::Setup { source })?;
            rest.drain(..taken);
        }
        self.next = (self.next + count as u16) % self.frames.count;
        Ok(count)
    }

    fn receive(&mut self, max: usize, mut used: impl FnMut(u16, u32)) -> Result<usize, GuestError> {
        let mut lens = [0; BATCH];
        let max = max.min(BATCH);
        let received = self.socket.receive_many(&mut self.bounce[..max], &mut lens);
        let received = received.map_err(|source| GuestError::Setup { source })?;
        for (number, &len) in lens[..received].iter().enumerate() {
            let id = number as u16;
            self.area.write_bytes(self.frames.offset(id), &self.bounce[number][..len]);
            used(id, len as u32);
        }
        Ok(received)
    }
}

/// Header and shape of a receive queue, copied out of it for use while it is borrowed.
struct RxView {
    area: Area,
    frames: Frames,
    header: u32,
    room: u32,
}

impl Rx {
    pub(crate) fn ring(ring: Ring, kick: EventFd, mrg: bool) -> Self {
        Self { source: Source::Ring(Box::new(ring), kick), mrg, pending: 0, frame: Vec::new() }
    }

    fn view(&self) -> RxView {
        match &self.source {
            Source::Ring(ring, _) => {
                let buffers = ring.buffers();
                let frames =
                    Frames { start: buffers.frame_offset(0), stride: buffers.stride, count: ring.place().size };
                RxView { area: ring.area().clone(), frames, header: buffers.header, room: buffers.room }
            }
            Source::Socket(queue) => {
                RxView { area: queue.area.clone(), frames: queue.frames, header: 0, room: queue.room as u32 }
            }
        }
    }

    /// Takes up to `max` buffers and gives them back at once; returns how many. With `patient`, all or none where that
    /// can be seen without disturbing the device.
    #[inline(always)]
    fn turn(&mut self, max: usize, patient: bool, mut used: impl FnMut(u16, u32)) -> Result<usize, GuestError> {
        let (ring, kick) = match &mut self.source {
            Source::Ring(ring, kick) => (ring, kick),
            Source::Socket(queue) => return queue.receive(max, used),
        };
        let (header, room) = (ring.buffers().header, ring.buffers().room);
        let mut wrong = None;
        let taken = ring.take(max, patient, |id, len| {
            if len > header + room {
                wrong = Some(RingError::TooLong { id, len, capacity: header + room });
                return;
            }
            used(id, len);
        })?;
        if let Some(error) = wrong {
            return Err(error.into());
        }
        if taken > 0 && ring.offer(taken, |_| room).1 {
            let _ = kick.write(1);
        }
        Ok(taken)
    }

    /// Counts up to `max` buffers' worth of frames without reading them (a header is read only where its frame may go on
    /// in a second buffer, that is where the first is full); returns frames and bytes. `peek` is called with the offset of
    /// each frame in the area.
    ///
    /// # Errors
    /// The back-end broke the ring, or the netdev is gone.
    #[inline(always)]
    pub fn count_frames(
        &mut self,
        max: usize,
        patient: bool,
        mut peek: impl FnMut(&Area, usize, u32),
    ) -> Result<(u64, u64), GuestError> {
        let view = self.view();
        let (mrg, mut pending) = (self.mrg, self.pending);
        let (mut frames, mut bytes) = (0, 0);
        self.turn(max, patient, |id, len| {
            if pending > 0 {
                pending -= 1;
                bytes += u64::from(len);
                return;
            }
            let len = len.saturating_sub(view.header);
            let offset = view.frames.offset(id);
            if mrg && len == view.room {
                pending = view.area.load_u16(offset - 2, std::sync::atomic::Ordering::Relaxed).saturating_sub(1);
            }
            frames += 1;
            bytes += u64::from(len);
            peek(&view.area, offset, len);
        })?;
        self.pending = pending;
        Ok((frames, bytes))
    }

    /// Takes up to `max` buffers, and calls `each` with every frame that is complete. Returns the buffers taken.
    ///
    /// # Errors
    /// The back-end broke the ring, or the netdev is gone.
    pub fn receive_frames(&mut self, max: usize, mut each: impl FnMut(&[u8])) -> Result<usize, GuestError> {
        let view = self.view();
        let (mrg, mut pending) = (self.mrg, self.pending);
        let mut frame = std::mem::take(&mut self.frame);
        let taken = self.turn(max, false, |id, len| {
            // A continuation has no header: its bytes start where a header would.
            let mut offset = view.frames.offset(id);
            let mut len = len as usize;
            if pending > 0 {
                pending -= 1;
                offset -= view.header as usize;
            } else {
                frame.clear();
                len = len.saturating_sub(view.header as usize);
                if mrg {
                    let buffers = view.area.load_u16(offset - 2, std::sync::atomic::Ordering::Relaxed);
                    pending = buffers.saturating_sub(1);
                }
            }
            let start = frame.len();
            frame.resize(start + len, 0);
            view.area.read_bytes(offset, &mut frame[start..]);
            if pending == 0 {
                each(&frame);
            }
        });
        self.frame = frame;
        self.pending = pending;
        taken
    }

    /// The ring, to misuse it; `None` on a netdev.
    pub(crate) fn raw(&mut self) -> Option<(&mut Ring, &EventFd)> {
        match &mut self.source {
            Source::Ring(ring, kick) => Some((ring, kick)),
            Source::Socket(_) => None,
        }
    }
}
