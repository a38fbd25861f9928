//! Groups and their buckets, both ways.
//!
//! Source: OpenFlow 1.5.1 sections 7.3.4.3 and 7.3.5.8 to 7.3.5.10, `netronome-ext.h`. 1.0 has the form of 1.5 in Nicira's
//! messages. Trust: a peer's; error values are Open vSwitch's.

use std::collections::BTreeSet;

use ringswitch_dataplane::flow::{Bucket, Group, GroupKind, Selection, WATCH_ANY};

use super::actions::{put_actions, read_actions};
use super::message::{BUCKET_ALL, BUCKET_FIRST, BUCKET_LAST, GroupMod, GroupModCommand};
use super::oxm::{self, Dialect, Header};
use super::prop;
use super::wire::{Put, Reader, Result, port_of_32};
use super::{OfError, Version};

/// Netronome's number, and the wrong one that was used for a while.
const NETRONOME: [u32; 2] = [0x154d, 0x1540];
const SELECTION_METHOD: u32 = 1;
/// Highest number of a bucket.
const BUCKET_MAX: u32 = 0xffff_ff00;

const WEIGHT: u16 = 0;
const WATCH_PORT: u16 = 1;
const WATCH_GROUP: u16 = 2;

fn has_15(version: Version) -> bool {
    matches!(version, Version::V10 | Version::V15)
}

fn kind(number: u8) -> Result<GroupKind> {
    use GroupKind as K;
    let all = [K::All, K::Select, K::Indirect, K::FastFailover];
    all.get(usize::from(number)).copied().ok_or(OfError::OFPGMFC_BAD_TYPE)
}

fn command(number: u16, version: Version) -> Result<GroupModCommand> {
    use GroupModCommand as C;
    Ok(match number {
        0 => C::Add,
        1 => C::Modify,
        2 => C::Delete,
        3 if has_15(version) => C::InsertBucket,
        5 if has_15(version) => C::RemoveBucket,
        0x8000 => C::AddOrMod,
        _ => return Err(OfError::OFPGMFC_BAD_COMMAND),
    })
}

/// Reads a group-mod.
pub(super) fn read_mod(mut body: Reader<'_>, version: Version) -> Result<GroupMod> {
    let (number, kind_number) = (body.u16()?, body.u8()?);
    body.skip(1)?;
    let id = body.u32()?;
    let mut it = GroupMod {
        command: GroupModCommand::Add,
        group: Group { id, kind: GroupKind::All, selection: None, buckets: Vec::new() },
        command_bucket: BUCKET_ALL,
    };
    if has_15(version) {
        let len = usize::from(body.u16()?);
        body.skip(2)?;
        it.command_bucket = body.u32()?;
        check_command_bucket(number, it.command_bucket)?;
        it.group.buckets = read_buckets15(body.part(len)?, version, kind_number == 1)?;
        it.group.selection = read_properties(body, kind_number, number)?;
    } else {
        it.group.buckets = read_buckets11(body, version)?;
        if number == GroupModCommand::Delete as u16 && !it.group.buckets.is_empty() {
            return Err(OfError::OFPGMFC_INVALID_GROUP);
        }
    }
    it.group.kind = kind(kind_number)?;
    it.command = command(number, version)?;
    check(&it)?;
    Ok(it)
}

fn check_command_bucket(number: u16, bucket: u32) -> Result<()> {
    let one = bucket <= BUCKET_MAX || bucket == BUCKET_FIRST || bucket == BUCKET_LAST;
    let right = match number {
        3 => one,
        5 => one || bucket == BUCKET_ALL,
        _ => bucket == BUCKET_ALL,
    };
    if right { Ok(()) } else { Err(OfError::OFPGMFC_BAD_BUCKET) }
}

/// What can be told of a group-mod without the group that it changes.
fn check(it: &GroupMod) -> Result<()> {
    use GroupModCommand as C;
    let buckets = &it.group.buckets;
    if it.group.kind == GroupKind::Indirect && it.command != C::Delete && buckets.len() != 1 {
        return Err(OfError::OFPGMFC_INVALID_GROUP);
    }
    if it.command == C::RemoveBucket && !buckets.is_empty() {
        return Err(OfError::OFPGMFC_BAD_BUCKET);
    }
    for bucket in buckets {
        let watches = bucket.watch_port != WATCH_ANY || bucket.watch_group != WATCH_ANY;
        if bucket.weight != 0 && it.group.kind != GroupKind::Select && it.command != C::InsertBucket {
            return Err(OfError::OFPGMFC_INVALID_GROUP);
        }
        match it.group.kind {
            GroupKind::All | GroupKind::Indirect if watches => return Err(OfError::OFPGMFC_WATCH_UNSUPPORTED),
            GroupKind::FastFailover if !watches => return Err(OfError::OFPGMFC_INVALID_GROUP),
            _ => {}
        }
    }
    Ok(())
}

fn read_buckets11(mut bytes: Reader<'_>, version: Version) -> Result<Vec<Bucket>> {
    bytes.short = OfError::OFPGMFC_BAD_BUCKET;
    let mut buckets = Vec::new();
    while !bytes.is_empty() {
        let mut head = bytes;
        let mut body = bytes.part(head.u16()?.into())?;
        body.skip(2)?;
        let (weight, watch_port, watch_group) = (body.u16()?, body.u32()?, body.u32()?);
        body.skip(4)?;
        let watch_port = port_of_32(watch_port).map_err(|_| OfError::OFPGMFC_BAD_WATCH)?;
        let actions = read_actions(body, version, 0)?;
        buckets.push(Bucket { id: buckets.len() as u32, weight, watch_port, watch_group, actions });
    }
    Ok(buckets)
}

fn read_buckets15(mut bytes: Reader<'_>, version: Version, select: bool) -> Result<Vec<Bucket>> {
    bytes.short = OfError::OFPGMFC_BAD_BUCKET;
    let (mut buckets, mut seen) = (Vec::new(), BTreeSet::new());
    while !bytes.is_empty() {
        let mut head = bytes;
        let mut body = bytes.part(head.u16()?.into())?;
        body.skip(2)?;
        let (len, id) = (usize::from(body.u16()?), body.u32()?);
        let actions = read_actions(body.part(len)?, version, 0)?;
        let mut bucket =
            Bucket { id, weight: u16::from(select), watch_port: WATCH_ANY, watch_group: WATCH_ANY, actions };
        while !body.is_empty() {
            let mut property = prop::next(&mut body)?;
            match property.kind {
                WEIGHT => bucket.weight = property.body.u16()?,
                WATCH_PORT => {
                    bucket.watch_port = port_of_32(property.value32()?).map_err(|_| OfError::OFPGMFC_BAD_WATCH)?;
                }
                WATCH_GROUP => bucket.watch_group = property.value32()?,
                _ => return Err(property.unknown()),
            }
        }
        if id > BUCKET_MAX || !seen.insert(id) {
            return Err(OfError::OFPGMFC_BAD_BUCKET);
        }
        buckets.push(bucket);
    }
    Ok(buckets)
}

/// How a select group hashes, if it says so.
fn read_properties(mut body: Reader<'_>, kind_number: u8, command: u16) -> Result<Option<Selection>> {
    let mut selection = None;
    while !body.is_empty() {
        let property = prop::next(&mut body)?;
        let known = matches!(property.experimenter, Some((who, SELECTION_METHOD)) if NETRONOME.contains(&who));
        if !known {
            return Err(property.unknown());
        }
        if kind_number != 1 || !matches!(command, 0 | 1 | 0x8000) {
            return Err(OfError::OFPBPC_BAD_VALUE);
        }
        selection = Some(read_selection(property.body)?);
    }
    Ok(selection)
}

fn read_selection(mut body: Reader<'_>) -> Result<Selection> {
    body.skip(4)?;
    let name: [u8; 16] = body.array()?;
    let parameter = body.u64()?;
    let end = name.iter().position(|&byte| byte == 0).ok_or(OfError::OFPBPC_BAD_VALUE)?;
    let method = match &name[..end] {
        b"hash" => "hash",
        b"dp_hash" => "dp_hash",
        _ => return Err(OfError::OFPBPC_BAD_VALUE),
    };
    if method == "dp_hash" && !body.is_empty() {
        return Err(OfError::OFPBPC_BAD_VALUE);
    }
    let mut fields: Vec<(_, u128)> = Vec::new();
    while !body.is_empty() {
        let header = Header::read(&mut body)?;
        let mut value = body.part(header.len)?;
        if header.masked {
            return Err(OfError::OFPBMC_BAD_MASK);
        }
        let field = header.field().ok_or(OfError::OFPBMC_BAD_FIELD)?;
        let mask = oxm::value(&mut value, header.len)? & field.ones();
        if fields.iter().any(|(seen, _)| *seen == field) {
            return Err(OfError::OFPBMC_DUP_FIELD);
        }
        if mask != field.ones() && !field.info().maskable {
            return Err(OfError::OFPBMC_BAD_MASK);
        }
        fields.push((field, mask));
    }
    Ok(Selection { method: method.to_owned(), parameter, fields })
}

/// Writes a group-mod.
pub(super) fn put_mod(out: &mut Vec<u8>, it: &GroupMod, version: Version) {
    out.put16(it.command as u16);
    out.put8(it.group.kind as u8);
    out.put8(0);
    out.put32(it.group.id);
    if has_15(version) {
        let place = out.len();
        out.pad(4);
        out.put32(it.command_bucket);
        put_buckets15(out, &it.group, version, place);
    } else {
        it.group.buckets.iter().for_each(|bucket| put_bucket11(out, bucket, version));
    }
}

fn put_bucket11(out: &mut Vec<u8>, bucket: &Bucket, version: Version) {
    let start = out.len();
    out.put16(0);
    out.put16(bucket.weight);
    out.put32(bucket.watch_port);
    out.put32(bucket.watch_group);
    out.pad(4);
    put_actions(out, &bucket.actions, version);
    out.set16(start, out.len() - start);
}

/// Buckets, whose length goes to `place`, and properties.
fn put_buckets15(out: &mut Vec<u8>, group: &Group, version: Version, place: usize) {
    let start = out.len();
    for bucket in &group.buckets {
        let start = out.len();
        out.pad(4);
        out.put32(bucket.id);
        put_actions(out, &bucket.actions, version);
        out.set16(start, out.len() - start);
        out.set16(start + 2, out.len() - start - 8);
        if group.kind == GroupKind::Select || bucket.weight != 0 {
            prop::put16(out, WEIGHT, bucket.weight);
        }
        if bucket.watch_port != WATCH_ANY {
            prop::put32(out, WATCH_PORT, bucket.watch_port);
        }
        if bucket.watch_group != WATCH_ANY {
            prop::put32(out, WATCH_GROUP, bucket.watch_group);
        }
        out.set16(start, out.len() - start);
    }
    out.set16(place, out.len() - start);
    if let Some(selection) = &group.selection {
        put_selection(out, selection, version);
    }
}

fn put_selection(out: &mut Vec<u8>, selection: &Selection, version: Version) {
    prop::put(out, prop::EXPERIMENTER, |out| {
        out.put32(NETRONOME[0]);
        out.put32(SELECTION_METHOD);
        out.pad(4);
        let mut name = [0; 16];
        let len = selection.method.len().min(15);
        name[..len].copy_from_slice(&selection.method.as_bytes()[..len]);
        out.extend_from_slice(&name);
        out.put64(selection.parameter);
        for (field, mask) in &selection.fields {
            oxm::put_header(out, *field, Dialect::Oxm(version.max(Version::V13)), false);
            oxm::put_value(out, *field, *mask);
        }
    });
}

/// Reads a group as it is described.
pub(super) fn read_desc(bytes: &mut Reader<'_>, version: Version) -> Result<Group> {
    let mut head = *bytes;
    let mut body = bytes.part(head.u16()?.into())?;
    body.skip(2)?;
    let number = body.u8()?;
    body.skip(1)?;
    let (id, kind) = (body.u32()?, kind(number)?);
    let (selection, buckets);
    if has_15(version) {
        let len = usize::from(body.u16()?);
        body.skip(6)?;
        buckets = read_buckets15(body.part(len)?, version, kind == GroupKind::Select)?;
        selection = read_properties(body, number, 0)?;
    } else {
        (buckets, selection) = (read_buckets11(body, version)?, None);
    }
    Ok(Group { id, kind, selection, buckets })
}

/// Writes a group as it is described.
pub(super) fn put_desc(out: &mut Vec<u8>, group: &Group, version: Version) {
    let start = out.len();
    out.put16(0);
    out.put8(group.kind as u8);
    out.put8(0);
    out.put32(group.id);
    if has_15(version) {
        let place = out.len();
        out.pad(8);
        put_buckets15(out, group, version, place);
    } else {
        group.buckets.iter().for_each(|bucket| put_bucket11(out, bucket, version));
    }
    out.set16(start, out.len() - start);
}
