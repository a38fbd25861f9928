//! The fields of a packet that rules can look at, as words.
//!
//! Field names and semantics are those of OpenFlow and `ovs-fields(7)`. Changing the layout changes nothing outside this
//! file: everything else names a [`Field`].

/// Words of a key.
pub const KEY_WORDS: usize = 28;
/// Those that a frame fills; the others are what tables and actions hand on (registers, metadata), zero for a frame that
/// just came in. Caches keep keys of this many words.
pub const FRAME_WORDS: usize = 16;

/// The fields of one packet. A field that the packet does not have is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// See [`Field`] for what lies where.
    pub words: [u64; KEY_WORDS],
}

/// Which bits of a key count: one word per word of the key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Mask {
    /// A set bit counts.
    pub words: [u64; KEY_WORDS],
}

/// Where a field lies: `bits` bits of `words[word]` from bit `shift` up. IPv6 addresses take two words, see
/// [`Field::IPV6_SRC`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Index of the word.
    pub word: u8,
    /// Lowest bit.
    pub shift: u8,
    /// Width.
    pub bits: u8,
}

/// Bits of [`Field::HEADERS`].
pub mod headers {
    /// What [`Field::DL_TYPE`](super::Field::DL_TYPE) says follows: IPv4, IPv6 with all its extension headers, ARP, an MPLS label, or
    /// a provider backbone tag with the customer's addresses.
    pub const NETWORK: u64 = 1;
    /// TCP, UDP, SCTP, ICMP or ICMPv6: `tp_src` and `tp_dst` are in the frame.
    pub const TRANSPORT: u64 = 2;
    /// A neighbour solicitation or advertisement with its target.
    pub const ND: u64 = 4;
    /// Its option with the source link-layer address.
    pub const ND_SLL: u64 = 8;
    /// Its option with the target link-layer address.
    pub const ND_TLL: u64 = 16;
}

const fn field(word: u8, shift: u8, bits: u8) -> Field {
    Field { word, shift, bits }
}

impl Field {
    /// OpenFlow port number.
    pub const IN_PORT: Self = field(0, 32, 32);
    /// Ethernet type behind all tags that are parsed; 0x5ff for 802.3 frames without SNAP, as in OVS.
    pub const DL_TYPE: Self = field(0, 16, 16);
    /// The outermost VLAN tag with bit 0x1000 set; 0 without a tag.
    pub const VLAN_TCI: Self = field(0, 0, 16);
    /// Destination MAC.
    pub const DL_DST: Self = field(1, 16, 48);
    /// IP protocol; for ARP the opcode (low 8 bits).
    pub const NW_PROTO: Self = field(1, 8, 8);
    /// IP type of service / traffic class, all 8 bits (DSCP and ECN).
    pub const NW_TOS: Self = field(1, 0, 8);
    /// Source MAC.
    pub const DL_SRC: Self = field(2, 16, 48);
    /// IP TTL / hop limit.
    pub const NW_TTL: Self = field(2, 8, 8);
    /// Fragment bits: 1 any fragment, 2 not the first.
    pub const NW_FRAG: Self = field(2, 0, 8);
    /// IPv4 source; for ARP the sender's address (arp_spa).
    pub const NW_SRC: Self = field(3, 32, 32);
    /// IPv4 destination; for ARP the target's address (arp_tpa).
    pub const NW_DST: Self = field(3, 0, 32);
    /// TCP/UDP/SCTP source port; ICMP type.
    pub const TP_SRC: Self = field(4, 48, 16);
    /// TCP/UDP/SCTP destination port; ICMP code.
    pub const TP_DST: Self = field(4, 32, 16);
    /// TCP flags, 12 bits.
    pub const TCP_FLAGS: Self = field(4, 16, 16);
    /// IPv6 source, high half; the low half is in the next word.
    pub const IPV6_SRC: Self = field(5, 0, 64);
    /// IPv6 source, low half.
    pub const IPV6_SRC_LOW: Self = field(6, 0, 64);
    /// IPv6 destination, high half; the low half is in the next word.
    pub const IPV6_DST: Self = field(7, 0, 64);
    /// IPv6 destination, low half.
    pub const IPV6_DST_LOW: Self = field(8, 0, 64);
    /// ARP sender's MAC; of neighbour discovery, the source link-layer address option.
    pub const ARP_SHA: Self = field(9, 0, 48);
    /// Which IPv6 extension headers there are, OpenFlow's nine bits.
    pub const IPV6_EXTHDR: Self = field(9, 48, 16);
    /// ARP target's MAC; of neighbour discovery, the target link-layer address option.
    pub const ARP_THA: Self = field(10, 0, 48);
    /// The second VLAN tag, as [`Field::VLAN_TCI`].
    pub const INNER_TCI: Self = field(10, 48, 16);
    /// The outermost MPLS label stack entry, all 32 bits as in the frame.
    pub const MPLS_LSE: Self = field(11, 32, 32);
    /// IPv6 flow label.
    pub const IPV6_LABEL: Self = field(11, 0, 20);
    /// Target of a neighbour solicitation or advertisement, high half; the low half is in the next word.
    pub const ND_TARGET: Self = field(12, 0, 64);
    /// Low half.
    pub const ND_TARGET_LOW: Self = field(13, 0, 64);
    /// The I-SID of a provider backbone tag (24 bits), UCA above it, and above that a bit that says that the tag is there
    /// (0x200_0000).
    pub const PBB: Self = field(14, 0, 32);
    /// Which headers are whole and sound, see [`headers`]: actions leave the others alone. No rule names it.
    pub const HEADERS: Self = field(15, 0, 8);
    // What follows is no frame's.
    /// Tunnel id.
    pub const TUN_ID: Self = field(16, 0, 64);
    /// OpenFlow metadata.
    pub const METADATA: Self = field(17, 0, 64);
    /// Registers 0 and 1, high half first; 2 to 15 are in the seven words behind.
    pub const REG0: Self = field(18, 32, 32);
    /// Packet mark.
    pub const PKT_MARK: Self = field(26, 32, 32);
    /// The id of a conjunction that matched.
    pub const CONJ_ID: Self = field(26, 0, 32);
    /// The output port in the action set so far.
    pub const ACTSET_OUTPUT: Self = field(27, 32, 32);

    /// The field's bits in its word.
    #[inline(always)]
    #[must_use]
    pub const fn mask(self) -> u64 {
        (u64::MAX >> (64 - self.bits)) << self.shift
    }
}

impl FlowKey {
    /// The field's value.
    #[inline(always)]
    #[must_use]
    pub const fn field(&self, field: Field) -> u64 {
        (self.words[field.word as usize] & field.mask()) >> field.shift
    }

    /// Sets the field; bits beyond its width are cut off.
    #[inline(always)]
    pub const fn set(&mut self, field: Field, value: u64) {
        let word = &mut self.words[field.word as usize];
        *word = (*word & !field.mask()) | ((value << field.shift) & field.mask());
    }
}

impl Mask {
    /// Nothing counts.
    pub const NONE: Self = Self { words: [0; KEY_WORDS] };

    /// The bits of the field that count.
    #[inline(always)]
    #[must_use]
    pub const fn field(&self, field: Field) -> u64 {
        (self.words[field.word as usize] & field.mask()) >> field.shift
    }

    /// Makes the given bits of the field count.
    #[inline(always)]
    pub const fn add(&mut self, field: Field, bits: u64) {
        self.words[field.word as usize] |= (bits << field.shift) & field.mask();
    }

    /// Makes all that counts in `other` count here too.
    #[inline]
    pub fn union(&mut self, other: &Self) {
        for (word, more) in self.words.iter_mut().zip(&other.words) {
            *word |= more;
        }
    }

    /// True when nothing counts.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words == [0; KEY_WORDS]
    }
}
