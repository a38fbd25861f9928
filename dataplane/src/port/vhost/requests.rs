//! What each request of the front-end means.
//!
//! Trust: every value is the front-end's. A refused request changes nothing; if the front-end asked to be told
//! (REPLY_ACK), it is told and may go on, else it is sent away.
//! Spec: vhost-user, "Front-end message types". Neighbours: `session` calls [`serve`]; what is changed here takes effect
//! in [`Device::settle`].

use std::os::unix::net::UnixStream;

use vhost::vhost_user::message::{FrontendReq as Code, VhostUserProtocolFeatures as Protocol};

use super::device::Device;
use super::memory::MAX_SLOTS;
use super::message::{Request, reply};
use super::options::PROTOCOL_FEATURES;
use super::vring::{Addresses, Kick};
use super::{RingFeatures, VhostError};
use crate::sys::event::EventFd;

/// The longest ring of either kind (virtio 1.2, 2.7 and 2.8).
const MAX_RING: u32 = 32768;
/// In the payload of SET_VRING_KICK, CALL and ERR: there is no descriptor.
const NO_FD: u64 = 0x100;

/// What goes back to the front-end.
enum Answer {
    /// Nothing, or an acknowledgement if it asked for one.
    Done,
    Long(u64),
    State(u32, u32),
}

/// Protocol features that are offered. CONFIG is not: QEMU and DPDK know a network device's configuration themselves.
/// STATUS, RARP, MTU and LOG_SHMFD are not, though the requests that come with them are understood.
fn protocol_features() -> u64 {
    (Protocol::MQ | Protocol::REPLY_ACK | Protocol::CONFIGURE_MEM_SLOTS).bits()
}

/// Serves one request and answers it.
pub(super) fn serve(device: &mut Device, stream: &UnixStream, request: Request) -> Result<(), VhostError> {
    let code = request.code;
    let acknowledge = request.needs_reply && device.protocol & Protocol::REPLY_ACK.bits() != 0;
    let payload = |value: u64| value.to_ne_bytes();
    match handle(device, request) {
        Ok(Answer::Done) if acknowledge => reply(stream, code, &payload(0)),
        Ok(Answer::Done) => Ok(()),
        Ok(Answer::Long(value)) => reply(stream, code, &payload(value)),
        Ok(Answer::State(index, value)) => reply(stream, code, &[index.to_ne_bytes(), value.to_ne_bytes()].concat()),
        Err(error) if acknowledge && is_refusable(code) => {
            device.note_refusal(&error.chain());
            reply(stream, code, &payload(1))
        }
        Err(error) => Err(error),
    }
}

/// Requests whose only answer is an acknowledgement.
fn is_refusable(code: u32) -> bool {
    use Code as C;
    let codes = [C::SET_MEM_TABLE, C::ADD_MEM_REG, C::REM_MEM_REG, C::SET_VRING_NUM, C::SET_VRING_ADDR];
    Code::try_from(code).is_ok_and(|code| codes.contains(&code))
}

fn handle(device: &mut Device, request: Request) -> Result<Answer, VhostError> {
    let unsupported = Err(VhostError::Unsupported(request.code));
    let Ok(code) = Code::try_from(request.code) else { return unsupported };
    check_descriptors(code, &request)?;
    let long = |value: u64| Ok(Answer::Long(value));
    match code {
        Code::SET_OWNER | Code::SET_LOG_FD | Code::SEND_RARP | Code::NET_SET_MTU => Ok(Answer::Done),
        Code::RESET_OWNER => disable_all(device),
        Code::GET_FEATURES => long(device.offered),
        Code::SET_FEATURES => set_features(device, &request),
        Code::GET_PROTOCOL_FEATURES => long(protocol_features()),
        Code::SET_PROTOCOL_FEATURES => set_protocol_features(device, &request),
        // QEMU and DPDK take it for a number of pairs, Cloud Hypervisor for a number of rings: this suits both.
        Code::GET_QUEUE_NUM => long(device.vrings.len() as u64),
        Code::GET_MAX_MEM_SLOTS => long(MAX_SLOTS as u64),
        Code::SET_MEM_TABLE | Code::ADD_MEM_REG | Code::REM_MEM_REG => change_memory(device, code, request),
        Code::SET_VRING_NUM => set_vring_num(device, &request),
        Code::SET_VRING_ADDR => set_vring_addr(device, &request),
        Code::SET_VRING_BASE => set_vring_base(device, &request),
        Code::GET_VRING_BASE => take_vring_base(device, &request),
        Code::SET_VRING_KICK | Code::SET_VRING_CALL | Code::SET_VRING_ERR => set_vring_event(device, code, request),
        Code::SET_VRING_ENABLE => set_vring_enable(device, &request),
        Code::SET_STATUS => {
            device.status = u64_of("SET_STATUS", &request)? as u8;
            Ok(Answer::Done)
        }
        Code::GET_STATUS => long(u64::from(device.status)),
        _ => unsupported,
    }
}

/// Descriptors that came with a request which has none are a mistake, or an attempt to use up ours.
fn check_descriptors(code: Code, request: &Request) -> Result<(), VhostError> {
    let most = match code {
        // The table is checked against its own count.
        Code::SET_MEM_TABLE => usize::MAX,
        Code::ADD_MEM_REG | Code::REM_MEM_REG | Code::SET_LOG_FD => 1,
        Code::SET_VRING_KICK | Code::SET_VRING_CALL | Code::SET_VRING_ERR => 1,
        _ => 0,
    };
    match request.fds.len() {
        count if count > most => Err(VhostError::Descriptors { request: "a request", count }),
        _ => Ok(()),
    }
}

/// Old front-ends send it when they let go of the device.
fn disable_all(device: &mut Device) -> Result<Answer, VhostError> {
    device.stop_all();
    device.vrings.iter_mut().for_each(|vring| vring.kick = Kick::Stopped);
    Ok(Answer::Done)
}

fn set_features(device: &mut Device, request: &Request) -> Result<Answer, VhostError> {
    let features = u64_of("SET_FEATURES", request)?;
    if features & !device.offered != 0 {
        let value = features & !device.offered;
        return Err(VhostError::Value { request: "SET_FEATURES", what: "feature never offered", value });
    }
    if features != device.features {
        device.stop_all();
        device.features = features;
    }
    if features & PROTOCOL_FEATURES == 0 {
        device.vrings.iter_mut().for_each(|vring| vring.enabled = true);
    }
    Ok(Answer::Done)
}

fn set_protocol_features(device: &mut Device, request: &Request) -> Result<Answer, VhostError> {
    let features = u64_of("SET_PROTOCOL_FEATURES", request)?;
    let value = features & !protocol_features();
    if value != 0 {
        return Err(VhostError::Value { request: "SET_PROTOCOL_FEATURES", what: "feature never offered", value });
    }
    device.protocol = features;
    Ok(Answer::Done)
}

fn change_memory(device: &mut Device, code: Code, request: Request) -> Result<Answer, VhostError> {
    device.stop_all();
    match code {
        Code::SET_MEM_TABLE => device.memory.replace(request)?,
        Code::ADD_MEM_REG => device.memory.add(request)?,
        _ => device.memory.remove(&request)?,
    }
    Ok(Answer::Done)
}

fn set_vring_num(device: &mut Device, request: &Request) -> Result<Answer, VhostError> {
    let name = "SET_VRING_NUM";
    let (index, size) = vring_state(device, name, request)?;
    let packed = RingFeatures::from_virtio(device.features).packed;
    if !(1..=MAX_RING).contains(&size) || !packed && !size.is_power_of_two() {
        return Err(VhostError::Value { request: name, what: "ring size", value: u64::from(size) });
    }
    device.stop(index);
    device.vrings[index].size = size as u16;
    Ok(Answer::Done)
}

/// index, flags (of the dirty log, which is not offered), then the addresses: descriptors, used, available, log.
fn set_vring_addr(device: &mut Device, request: &Request) -> Result<Answer, VhostError> {
    let name = "SET_VRING_ADDR";
    check_len(name, request, 40)?;
    let index = vring_index(device, name, u64::from(request.word(0)))?;
    let [desc, device_area, driver] = [8, 16, 24].map(|at| request.long(at));
    device.stop(index);
    device.vrings[index].addresses = Some(Addresses { desc, driver, device: device_area });
    Ok(Answer::Done)
}

fn set_vring_base(device: &mut Device, request: &Request) -> Result<Answer, VhostError> {
    let (index, base) = vring_state(device, "SET_VRING_BASE", request)?;
    device.stop(index);
    device.vrings[index].base = Some(base);
    Ok(Answer::Done)
}

/// Stops the ring: the next SET_VRING_KICK starts it.
fn take_vring_base(device: &mut Device, request: &Request) -> Result<Answer, VhostError> {
    let (index, _) = vring_state(device, "GET_VRING_BASE", request)?;
    device.stop(index);
    device.vrings[index].kick = Kick::Stopped;
    Ok(Answer::State(index as u32, device.base(index)))
}

fn set_vring_event(device: &mut Device, code: Code, mut request: Request) -> Result<Answer, VhostError> {
    let name = match code {
        Code::SET_VRING_KICK => "SET_VRING_KICK",
        Code::SET_VRING_CALL => "SET_VRING_CALL",
        _ => "SET_VRING_ERR",
    };
    let value = u64_of(name, &request)?;
    let index = vring_index(device, name, value & !NO_FD)?;
    let count = request.fds.len();
    let event = match (value & NO_FD != 0, request.fds.pop()) {
        (true, None) => None,
        (false, Some(fd)) => {
            Some(EventFd::from_peer(fd).map_err(|source| VhostError::Event { request: name, source })?)
        }
        _ => return Err(VhostError::Descriptors { request: name, count }),
    };
    if code == Code::SET_VRING_ERR {
        device.vrings[index].error = event;
        return Ok(Answer::Done);
    }
    device.stop(index);
    let vring = &mut device.vrings[index];
    match code {
        Code::SET_VRING_KICK => vring.kick = event.map_or(Kick::Polled, Kick::Event),
        _ => vring.call = event,
    }
    Ok(Answer::Done)
}

fn set_vring_enable(device: &mut Device, request: &Request) -> Result<Answer, VhostError> {
    let name = "SET_VRING_ENABLE";
    let (index, value) = vring_state(device, name, request)?;
    if value > 1 {
        return Err(VhostError::Value { request: name, what: "value", value: u64::from(value) });
    }
    if value == 0 {
        device.stop(index);
    }
    device.vrings[index].enabled = value == 1;
    Ok(Answer::Done)
}

fn check_len(name: &'static str, request: &Request, wanted: usize) -> Result<(), VhostError> {
    match request.payload.len() {
        len if len == wanted => Ok(()),
        len => Err(VhostError::Payload { request: name, len }),
    }
}

fn u64_of(name: &'static str, request: &Request) -> Result<u64, VhostError> {
    check_len(name, request, 8)?;
    Ok(request.long(0))
}

fn vring_index(device: &Device, name: &'static str, index: u64) -> Result<usize, VhostError> {
    match usize::try_from(index) {
        Ok(known) if known < device.vrings.len() => Ok(known),
        _ => Err(VhostError::Value { request: name, what: "vring index", value: index }),
    }
}

/// A vring's index and a value for it.
fn vring_state(device: &Device, name: &'static str, request: &Request) -> Result<(usize, u32), VhostError> {
    check_len(name, request, 8)?;
    Ok((vring_index(device, name, u64::from(request.word(0)))?, request.word(4)))
}
