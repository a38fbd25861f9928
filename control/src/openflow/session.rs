//! Messages that set a connection up and say what it wants: hello, errors, features, settings, roles, asynchronous
//! messages, bundles' frames. Both ways.
//!
//! Source: OpenFlow 1.5.1 sections 7.3.1, 7.3.2, 7.3.7 to 7.3.10, 7.5, `nicira-ext.h`. Trust: a peer's.

use super::error::{Code, NICIRA};
use super::message::{
    AsyncChange, AsyncConfig, AsyncKind, BundleControl, BundleControlKind, ErrorMessage, Features, Role, RoleChange,
    SwitchConfig,
};
use super::stats::ControllerStatus;
use super::wire::{Layout, Put, Reader, Result};
use super::{OfError, Version, actions, ports, prop};

/// Reads the versions of a hello: those in its bitmap, or all up to the version of its header.
pub(super) fn read_hello(mut body: Reader<'_>, version: u8) -> u32 {
    while let (Ok(kind), Ok(len)) = (body.u16(), body.u16()) {
        let len = usize::from(len);
        let Some(rest) = len.checked_sub(4) else { break };
        let Ok(mut element) = body.part(rest) else { break };
        if kind == 1
            && let Ok(bitmap) = element.u32()
        {
            return bitmap;
        }
        if body.skip(len.next_multiple_of(8) - len).is_err() {
            break;
        }
    }
    // Nobody speaks version 0.
    (1_u32.checked_shl(u32::from(version) + 1).unwrap_or(0)).wrapping_sub(2)
}

/// Writes a hello with a bitmap.
pub(super) fn put_hello(out: &mut Vec<u8>, versions: u32) {
    out.put16(1);
    out.put16(8);
    out.put32(versions);
}

const NICIRA_ERROR: u16 = 0xb0c2;
const EXPERIMENTER_ERROR: u16 = 0xffff;

/// Reads an error.
pub(super) fn read_error(mut body: Reader<'_>) -> Result<ErrorMessage> {
    let (kind, number) = (body.u16()?, body.u16()?);
    let code = match (kind, number) {
        (NICIRA_ERROR, 0) => {
            body.skip(4)?;
            Code::Nicira(body.u16()?, body.u16()?)
        }
        (EXPERIMENTER_ERROR, number) => Code::Experimenter(body.u32()?, number),
        _ => Code::Standard(kind, number),
    };
    Ok(ErrorMessage { code, data: body.rest.to_vec() })
}

/// Writes an error.
pub(super) fn put_error(out: &mut Vec<u8>, it: &ErrorMessage) {
    match it.code {
        Code::Standard(kind, code) => {
            out.put16(kind);
            out.put16(code);
        }
        Code::Nicira(kind, code) => {
            out.put16(NICIRA_ERROR);
            out.put16(0);
            out.put32(NICIRA);
            out.put16(kind);
            out.put16(code);
        }
        Code::Experimenter(who, code) => {
            out.put16(EXPERIMENTER_ERROR);
            out.put16(code);
            out.put32(who);
        }
    }
    out.extend_from_slice(&it.data);
}

/// Capabilities that a version knows.
fn capabilities(version: Version) -> u32 {
    let common = Features::FLOW_STATS
        | Features::TABLE_STATS
        | Features::PORT_STATS
        | Features::IP_REASM
        | Features::QUEUE_STATS;
    let groups = common | Features::GROUP_STATS | Features::PORT_BLOCKED;
    match version {
        Version::V10 => common | Features::ARP_MATCH_IP,
        Version::V13 => groups,
        Version::V14 | Version::V15 => groups | Features::BUNDLES | Features::FLOW_MONITORING,
    }
}

/// Reads features.
pub(super) fn read_features(mut body: Reader<'_>, version: Version) -> Result<Features> {
    let mut it = Features {
        datapath_id: body.u64()?,
        buffers: body.u32()?,
        tables: body.u8()?,
        auxiliary_id: body.u8()?,
        capabilities: 0,
        ports: Vec::new(),
    };
    body.skip(2)?;
    it.capabilities = body.u32()? & capabilities(version);
    body.skip(4)?;
    while version == Version::V10 && !body.is_empty() {
        it.ports.push(ports::read(&mut body, version)?);
    }
    Ok(it)
}

/// Writes features.
pub(super) fn put_features(out: &mut Vec<u8>, it: &Features, version: Version) {
    out.put64(it.datapath_id);
    out.put32(it.buffers);
    out.put8(it.tables);
    out.put8(if version == Version::V10 { 0 } else { it.auxiliary_id });
    out.pad(2);
    out.put32(it.capabilities & capabilities(version));
    if version == Version::V10 {
        out.put32(actions::supported(version));
        it.ports.iter().for_each(|port| ports::put(out, port, version));
    } else {
        out.pad(4);
    }
}

/// The switch's settings.
pub(super) fn config(wire: &mut impl Layout, it: &mut SwitchConfig) -> Result<()> {
    wire.b16(&mut it.flags)?;
    wire.b16(&mut it.miss_send_len)
}

fn role(number: u32) -> Result<Role> {
    const ROLES: [Role; 4] = [Role::NoChange, Role::Equal, Role::Master, Role::Slave];
    ROLES.get(number as usize).copied().ok_or(OfError::OFPRRFC_BAD_ROLE)
}

fn role_number(role: Role) -> u32 {
    match role {
        Role::NoChange => 0,
        Role::Equal => 1,
        Role::Master => 2,
        Role::Slave => 3,
    }
}

/// Reads a role wanted, or in a reply given.
pub(super) fn read_role(mut body: Reader<'_>, nicira: bool, reply: bool) -> Result<RoleChange> {
    if nicira {
        // Nicira's numbers begin with the second role.
        let role = role(body.u32()?.saturating_add(1))?;
        return Ok(RoleChange { nicira, role, generation_id: None });
    }
    let role = role(body.u32()?)?;
    body.skip(4)?;
    let number = body.u64()?;
    let absent = if reply { number == u64::MAX } else { role == Role::NoChange };
    Ok(RoleChange { nicira, role, generation_id: (!absent).then_some(number) })
}

/// Writes a role wanted or given.
pub(super) fn put_role(out: &mut Vec<u8>, it: &RoleChange) {
    if it.nicira {
        return out.put32(role_number(it.role).saturating_sub(1));
    }
    out.put32(role_number(it.role));
    out.pad(4);
    out.put64(it.generation_id.unwrap_or(u64::MAX));
}

/// Reads a role that changed: role, reason, number of the election.
pub(super) fn read_role_status(mut body: Reader<'_>) -> Result<(Role, u8, u64)> {
    let (role, reason) = (role(body.u32()?)?, body.u8()?);
    body.skip(3)?;
    Ok((role, reason, body.u64()?))
}

/// Writes it.
pub(super) fn put_role_status(out: &mut Vec<u8>, role: Role, reason: u8, generation_id: u64) {
    out.put32(role_number(role));
    out.put8(reason);
    out.pad(3);
    out.put64(generation_id);
}

/// The reasons of a kind of asynchronous message that there are in a version.
fn reasons(kind: usize, version: Version) -> u32 {
    let since_14 = version >= Version::V14;
    match kind {
        0 => {
            if since_14 {
                0x3f
            } else {
                0x7
            }
        }
        1 => 0x7,
        2 if since_14 => 0x3f,
        2 => {
            if version == Version::V10 {
                0x7
            } else {
                0xf
            }
        }
        3 => 0x7,
        4 => 0x18,
        _ => 0x3,
    }
}

/// What a mask of a version asks for: before 1.4 one reason stands for what are four later.
fn widened(kind: usize, mask: u32, version: Version) -> u32 {
    let action = kind == AsyncKind::PacketIn as usize && mask & 2 != 0 && version < Version::V14;
    if action { mask | 0x38 } else { mask }
}

/// Reads masks in their old form: three kinds, each for both roles.
pub(super) fn read_async_old(mut body: Reader<'_>, version: Version, nicira: bool) -> Result<AsyncChange> {
    let mut it = AsyncChange { nicira, ..AsyncChange::default() };
    for kind in 0..3 {
        for masks in [&mut it.master, &mut it.slave] {
            masks[kind] = Some(widened(kind, body.u32()? & reasons(kind, version), version));
        }
    }
    Ok(it)
}

/// Writes them.
pub(super) fn put_async_old(out: &mut Vec<u8>, it: &AsyncConfig, version: Version) {
    for kind in 0..3 {
        out.put32(it.master[kind] & reasons(kind, version));
        out.put32(it.slave[kind] & reasons(kind, version));
    }
}

/// Reads masks in their new form: properties, of which the even ones are the slave's.
pub(super) fn read_async(mut body: Reader<'_>, version: Version, nicira: bool) -> Result<AsyncChange> {
    let mut it = AsyncChange { nicira, ..AsyncChange::default() };
    while !body.is_empty() {
        let property = prop::next(&mut body)?;
        let (kind, slave) = (usize::from(property.kind / 2), property.kind % 2 == 0);
        if kind >= AsyncKind::COUNT {
            return Err(match property.unknown() {
                OfError::OFPBPC_BAD_TYPE => OfError::OFPACFC_UNSUPPORTED,
                error => error,
            });
        }
        let mask = property.value32()?;
        if mask & !reasons(kind, version) != 0 {
            return Err(OfError::OFPACFC_INVALID);
        }
        let masks = if slave { &mut it.slave } else { &mut it.master };
        masks[kind] = Some(widened(kind, mask, version));
    }
    Ok(it)
}

/// Writes them.
pub(super) fn put_async(out: &mut Vec<u8>, it: &AsyncChange, version: Version) {
    for kind in 0..AsyncKind::COUNT {
        for (masks, number) in [(&it.slave, 2 * kind), (&it.master, 2 * kind + 1)] {
            if let Some(mask) = masks[kind] {
                prop::put32(out, number as u16, mask & reasons(kind, version));
            }
        }
    }
}

/// Every mask of a configuration.
pub(super) fn all_masks(it: &AsyncConfig) -> AsyncChange {
    AsyncChange { master: it.master.map(Some), slave: it.slave.map(Some), nicira: false }
}

/// What a configuration is when these are all the masks there are.
pub(super) fn only_masks(it: &AsyncChange) -> AsyncConfig {
    let mut config = AsyncConfig::default();
    config.change(it);
    config
}

/// Reads what is to happen with a bundle. Properties behind it are an experimenter's, and are skipped.
pub(super) fn read_bundle(mut body: Reader<'_>) -> Result<BundleControl> {
    use BundleControlKind as K;
    const KINDS: [K; 8] = [
        K::OpenRequest,
        K::OpenReply,
        K::CloseRequest,
        K::CloseReply,
        K::CommitRequest,
        K::CommitReply,
        K::DiscardRequest,
        K::DiscardReply,
    ];
    let (id, number, flags) = (body.u32()?, body.u16()?, body.u16()?);
    let kind = KINDS.get(usize::from(number)).copied().ok_or(OfError::OFPBFC_BAD_TYPE)?;
    Ok(BundleControl { id, kind, flags })
}

/// Writes it.
pub(super) fn put_bundle(out: &mut Vec<u8>, it: &BundleControl) {
    out.put32(it.id);
    out.put16(it.kind as u16);
    out.put16(it.flags);
}

/// 1.5's property with the address of a controller.
const URI: u16 = 0;

/// Reads a connection to a controller.
pub(super) fn read_controller(bytes: &mut Reader<'_>) -> Result<ControllerStatus> {
    let mut head = *bytes;
    let mut body = bytes.part(head.u16()?.into())?;
    body.skip(2)?;
    let (short_id, number, reason, status) = (body.u16()?, body.u32()?, body.u8()?, body.u8()?);
    body.skip(6)?;
    let mut it = ControllerStatus { short_id, role: role(number)?, reason, up: status == 0, uri: String::new() };
    while !body.is_empty() {
        let property = prop::next(&mut body)?;
        if property.kind == URI {
            it.uri = String::from_utf8_lossy(property.body.rest).into_owned();
        }
    }
    Ok(it)
}

/// Writes a connection to a controller.
pub(super) fn put_controller(out: &mut Vec<u8>, it: &ControllerStatus) {
    let start = out.len();
    out.put16(0);
    out.put16(it.short_id);
    out.put32(role_number(it.role));
    out.put8(it.reason);
    out.put8(u8::from(!it.up));
    out.pad(6);
    prop::put(out, URI, |out| out.extend_from_slice(it.uri.as_bytes()));
    out.set16(start, out.len() - start);
}
