//! Hashes of packets, to spread flows over links: multipath, bundle, select groups.
//!
//! The numbers are this switch's own; `ovs-actions(7)` leaves them open. Trust: who sends can choose the hash; it decides
//! about nothing but the link.

use super::port;
use crate::flow::{FieldId, FlowKey, HashFields, LinkAlgorithm, hash_fields};
use crate::wire::{sctp, tcp, udp};

fn mix(hash: u64, value: u64) -> u64 {
    let product = u128::from(hash ^ value ^ 0x243f_6a88_85a3_08d3) * 0x9e37_79b9_7f4a_7c15;
    (product >> 64) as u64 ^ product as u64
}

/// A hash over the fields that this method names. Of symmetric methods, the same for both directions.
pub(super) fn of_method(key: &FlowKey, fields: HashFields, basis: u64) -> u32 {
    let proto = key.get(FieldId::IP_PROTO) as u8;
    let is_fragment = key.get(FieldId::IP_FRAG) != 0;
    let has_ports = match fields {
        HashFields::SymmetricL3L4 => [tcp::PROTOCOL, sctp::PROTOCOL].contains(&proto),
        _ => [tcp::PROTOCOL, sctp::PROTOCOL, udp::PROTOCOL].contains(&proto),
    };
    let mut sum = 0u64;
    for &field in hash_fields(fields) {
        let is_port = field == FieldId::TCP_SRC || field == FieldId::TCP_DST;
        if field == FieldId::IP_FRAG || (is_port && (is_fragment || !has_ports)) {
            continue;
        }
        let (value, salt) = (key.get(field), u64::from(side(field).info().place.word) << 32 | basis);
        sum = sum.wrapping_add(mix(mix(salt, (value >> 64) as u64), value as u64));
    }
    (mix(sum, basis) >> 32) as u32
}

/// The field that is counted as the same when a packet goes the other way.
fn side(field: FieldId) -> FieldId {
    match field {
        FieldId::ETH_DST => FieldId::ETH_SRC,
        FieldId::IPV4_DST => FieldId::IPV4_SRC,
        FieldId::IPV6_DST => FieldId::IPV6_SRC,
        FieldId::TCP_DST => FieldId::TCP_SRC,
        other => other,
    }
}

/// A hash over these bits of fields.
pub(super) fn of_fields(key: &FlowKey, fields: &[(FieldId, u128)], basis: u64) -> u32 {
    let hash = fields.iter().fold(basis, |hash, &(field, bits)| {
        let value = key.get(field) & bits;
        mix(mix(hash, (value >> 64) as u64), value as u64)
    });
    (mix(hash, basis) >> 32) as u32
}

/// How well `choice` suits a packet with this hash: whoever has the highest score gets it, so that a choice that comes or
/// goes moves only its own packets.
pub(super) fn score(hash: u32, choice: u32) -> u32 {
    // Choices are neighbours, 0, 1, 2; their scores must have nothing to do with each other, or weights would not be kept.
    (mix(mix(u64::from(choice), 1), u64::from(hash)) >> 32) as u32
}

/// One of `links` links.
pub(super) fn link(hash: u32, algorithm: LinkAlgorithm, links: u16, argument: u32) -> u16 {
    let count = u32::from(links.max(1));
    let link = match algorithm {
        LinkAlgorithm::ModuloN => hash % count,
        LinkAlgorithm::HashThreshold => ((u64::from(hash) * u64::from(count)) >> 32) as u32,
        LinkAlgorithm::Hrw => (0..count).max_by_key(|&link| score(hash, link)).unwrap_or(0),
        LinkAlgorithm::IterHash => {
            // Among `argument` links, of which only the first so many are there: another try when it is none of them.
            let tries = (0..64).map(|turn| score(hash, turn) % argument.max(count));
            tries.into_iter().find(|&link| link < count).unwrap_or(hash % count)
        }
    };
    link as u16
}

/// A number of 16 or 32 bits from a field, as a port: reserved ones are the last of either.
pub(super) fn port_of(value: u64) -> u32 {
    match value as u32 {
        short @ 0xfff8..=0xffff => short | 0xffff_0000,
        port => port,
    }
}

/// How a port goes into a field of 16 bits or more.
pub(super) fn port_in(port: u32, bits: u16) -> u128 {
    let is_reserved = port >= port::IN_PORT;
    u128::from(if bits <= 16 && is_reserved { port & 0xffff } else { port })
}

#[cfg(test)]
mod tests {
    use super::score;

    #[test]
    fn neighbouring_choices_have_scores_of_their_own() {
        // Of even and independent scores the one of two choices is more than twice the other's for a quarter of packets.
        let twice = |hash| score(hash, 1) / 2 > score(hash, 0);
        let count = (0..100_000u32).filter(|n| twice(n.wrapping_mul(0x9e37_79b1))).count();
        assert!((24_000..26_000).contains(&count), "{count} of 100000");
    }
}
