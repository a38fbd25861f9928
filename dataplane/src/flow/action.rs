//! What a rule does with a packet, in the words of OpenFlow and `ovs-actions(7)`.
//!
//! A rule's list holds actions and, as `ovs-ofctl` writes them, OpenFlow's instructions: meter, then what is applied, then
//! clear_actions, write_actions, write_metadata, goto_table, in this order. Neighbours: the grammar and the OpenFlow codec
//! read and write all of it; the pipeline runs it.

use std::net::Ipv4Addr;

use super::FieldId;

/// A MAC address.
pub type Mac = [u8; 6];

/// The number of the bridge's own port as an `in_port`, in OpenFlow 1.3's 32 bits.
pub const LOCAL_PORT: u32 = 0xffff_fffe;

/// One action. An empty list drops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// `output:N`: to the port with this OpenFlow number.
    Output(u32),
    /// `output(port=N,max_len=M)`: the same, cut to so many bytes.
    OutputCut {
        /// The port; reserved ones are allowed too.
        port: u32,
        /// Bytes, at least 14.
        max_len: u32,
    },
    /// `output:REG[..]`: to the port that a field names.
    OutputField {
        /// Where the number is.
        source: Subfield,
        /// Bytes that a controller gets.
        max_len: u16,
    },
    /// `in_port`: back where it came from.
    InPort,
    /// `table` (only in a packet-out): through the tables from the first one on.
    Table,
    /// `flood`: to every port but the one it came from, and those set to no-flood.
    Flood,
    /// `all`: to every port but the one it came from.
    All,
    /// `local`: to the bridge's own port.
    Local,
    /// `normal`: as a learning switch would.
    Normal,
    /// `controller(...)`: to controllers, as a packet-in.
    Controller(Box<Controller>),
    /// `enqueue:PORT:QUEUE`
    Enqueue {
        /// The port.
        port: u32,
        /// Its queue.
        queue: u32,
    },
    /// `group:ID`
    Group(u32),
    /// `meter:ID`
    Meter(u32),
    /// `set_queue:ID`
    SetQueue(u32),
    /// `pop_queue`: back to the default queue.
    PopQueue,

    /// `mod_dl_src:MAC`
    SetDlSrc(Mac),
    /// `mod_dl_dst:MAC`
    SetDlDst(Mac),
    /// `mod_vlan_vid:VID`: sets the id, pushes a tag when there is none.
    SetVlanVid(u16),
    /// `mod_vlan_pcp:PCP`: sets the priority, pushes a tag when there is none.
    SetVlanPcp(u8),
    /// `mod_nw_src:IP`
    SetNwSrc(Ipv4Addr),
    /// `mod_nw_dst:IP`
    SetNwDst(Ipv4Addr),
    /// `mod_nw_tos:TOS`: the DSCP bits, ECN stays.
    SetNwTos(u8),
    /// `mod_nw_ecn:ECN`
    SetNwEcn(u8),
    /// `mod_nw_ttl:TTL`
    SetNwTtl(u8),
    /// `mod_tp_src:PORT`
    SetTpSrc(u16),
    /// `mod_tp_dst:PORT`
    SetTpDst(u16),
    /// `set_field:VALUE[/MASK]->FIELD`: the bits under the mask. Bits of `value` outside it are zero.
    SetField {
        /// Which field.
        field: FieldId,
        /// Its new value.
        value: u128,
        /// Bits that change.
        mask: u128,
    },
    /// `load:VALUE->FIELD[..]`
    Load {
        /// The new value.
        value: u64,
        /// Where to.
        target: Subfield,
    },
    /// `move:FIELD[..]->FIELD[..]`
    Move {
        /// From where.
        source: Subfield,
        /// Where to; as wide.
        target: Subfield,
    },
    /// `push:FIELD[..]`: onto the stack of the packet's trip through the tables.
    Push(Subfield),
    /// `pop:FIELD[..]`
    Pop(Subfield),
    /// `set_tunnel:ID`, `set_tunnel64:ID`
    SetTunnel(u64),

    /// `push_vlan:TYPE`: 0x8100 or 0x88a8.
    PushVlan(u16),
    /// `strip_vlan`, `pop_vlan`: removes the outermost tag, if any.
    PopVlan,
    /// `push_mpls:TYPE`: 0x8847 or 0x8848.
    PushMpls(u16),
    /// `pop_mpls:TYPE`: the type of what is behind the label.
    PopMpls(u16),
    /// `push_pbb:TYPE`: 0x88e7.
    PushPbb(u16),
    /// `pop_pbb`
    PopPbb,
    /// `dec_ttl`, `dec_ttl(ID,...)`: the controllers to tell when it reaches zero; empty for the usual one.
    DecTtl(Vec<u16>),
    /// `set_mpls_label:N`
    SetMplsLabel(u32),
    /// `set_mpls_tc:N`
    SetMplsTc(u8),
    /// `set_mpls_ttl:TTL`
    SetMplsTtl(u8),
    /// `dec_mpls_ttl`
    DecMplsTtl,
    /// `copy_ttl_out`: from the next header to the outermost one.
    CopyTtlOut,
    /// `copy_ttl_in`
    CopyTtlIn,

    /// `resubmit(PORT,TABLE)`: runs what another lookup finds, then goes on here.
    Resubmit {
        /// Looks up as if it had come in there; `None` for the present in_port.
        port: Option<u32>,
        /// In this table; `None` for the present one.
        table: Option<u8>,
    },
    /// `clone(...)`: the actions on a copy; nothing of it is seen afterwards.
    Clone(Vec<Action>),
    /// `learn(...)`: adds or refreshes a flow.
    Learn(Box<Learn>),
    /// `conjunction(ID, K/N)`
    Conjunction {
        /// The conj_id that flows match on when every dimension matched.
        id: u32,
        /// This flow's dimension, from 0.
        clause: u8,
        /// Dimensions in all.
        clauses: u8,
    },
    /// `multipath(...)`: a link, chosen by a hash, into a field.
    Multipath(Box<Multipath>),
    /// `bundle(...)`, `bundle_load(...)`: one of several ports that is up.
    Bundle(Box<Bundle>),
    /// `check_pkt_larger(N)->FIELD[BIT]`
    CheckPktLarger {
        /// Bytes.
        len: u16,
        /// One bit.
        target: Subfield,
    },
    /// `note:BYTES`: does nothing.
    Note(Vec<u8>),
    /// `fin_timeout(...)`: shorter time-outs for the flow once its connection ends.
    FinTimeout {
        /// Seconds; 0 for no change.
        idle: u16,
        /// Seconds; 0 for no change.
        hard: u16,
    },
    /// `exit`: no more actions, and no more tables.
    Exit,

    /// `clear_actions`: empties the action set.
    ClearActions,
    /// `write_actions(...)`: puts actions into the action set.
    WriteActions(Vec<Action>),
    /// `write_metadata:VALUE/MASK`
    WriteMetadata {
        /// Its bits.
        value: u64,
        /// Bits that change.
        mask: u64,
    },
    /// `goto_table:N`: on to a later table.
    GotoTable(u8),
}

impl Action {
    /// True when `is_it` holds for one of the actions, or of those within them (`clone`, `write_actions`).
    pub fn any(actions: &[Self], is_it: &mut dyn FnMut(&Self) -> bool) -> bool {
        actions.iter().any(|action| {
            is_it(action)
                || match action {
                    Self::Clone(inner) | Self::WriteActions(inner) => Self::any(inner, is_it),
                    _ => false,
                }
        })
    }
}

/// Some bits of a field: `FIELD[START..END]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subfield {
    /// Of which field.
    pub field: FieldId,
    /// Lowest bit.
    pub start: u16,
    /// How many.
    pub bits: u16,
}

impl Subfield {
    /// All of a field.
    #[must_use]
    pub fn whole(field: FieldId) -> Self {
        Self { field, start: 0, bits: field.info().bits }
    }

    /// The bits, at their place in the field.
    #[must_use]
    pub fn mask(self) -> u128 {
        (u128::MAX >> (128 - self.bits.clamp(1, 128))) << self.start
    }
}

/// Why a controller gets a packet; OpenFlow's `ofp_packet_in_reason`.
pub mod reason {
    /// No rule matched, or the table-miss rule did.
    pub const NO_MATCH: u8 = 0;
    /// An action said so.
    pub const ACTION: u8 = 1;
    /// Its TTL is used up.
    pub const INVALID_TTL: u8 = 2;
    /// The action set said so (1.4).
    pub const ACTION_SET: u8 = 3;
    /// A group said so (1.4).
    pub const GROUP: u8 = 4;
    /// A packet-out said so (1.4).
    pub const PACKET_OUT: u8 = 5;
}

/// `controller(...)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Controller {
    /// Bytes that are sent; 0xffff for all.
    pub max_len: u16,
    /// See [`reason`].
    pub reason: u8,
    /// Which controllers; 0 for the usual ones.
    pub id: u16,
    /// Comes back with the packet-in.
    pub userdata: Vec<u8>,
    /// The packet stops here until a controller lets it go on.
    pub pause: bool,
    /// The meter that limits these packet-ins.
    pub meter: Option<u32>,
}

impl Default for Controller {
    fn default() -> Self {
        Self { max_len: u16::MAX, reason: reason::ACTION, id: 0, userdata: Vec::new(), pause: false, meter: None }
    }
}

/// `learn(...)`: the flow that each packet makes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Learn {
    /// Of the flow that is made; seconds.
    pub idle_timeout: u16,
    /// Seconds.
    pub hard_timeout: u16,
    /// Its priority.
    pub priority: u16,
    /// Its cookie.
    pub cookie: u64,
    /// Its table.
    pub table: u8,
    /// Its FIN_TIMEOUT.
    pub fin_idle_timeout: u16,
    /// The same, hard.
    pub fin_hard_timeout: u16,
    /// Tells controllers when the flow goes.
    pub send_flow_rem: bool,
    /// The flow goes with the rule that has this action.
    pub delete_learned: bool,
    /// At most so many flows of this table and cookie; 0 for any number.
    pub limit: u32,
    /// One bit that tells whether a flow was there or was made (with a limit).
    pub result: Option<Subfield>,
    /// What it matches and does.
    pub specs: Vec<LearnSpec>,
}

/// A part of a flow that is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LearnSpec {
    /// Where the bits come from.
    pub source: LearnSource,
    /// What becomes of them.
    pub target: LearnTarget,
    /// How many.
    pub bits: u16,
}

/// Where bits of a learned flow come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LearnSource {
    /// The packet.
    Field(Subfield),
    /// The rule.
    Value(u128),
}

/// What becomes of bits in a learned flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LearnTarget {
    /// It matches on them.
    Match(Subfield),
    /// It loads them.
    Load(Subfield),
    /// It outputs to the port that they name.
    Output,
}

/// What a hash is taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The words of ovs-actions(7).
pub enum HashFields {
    EthSrc,
    SymmetricL4,
    SymmetricL3L4,
    SymmetricL3L4Udp,
    NwSrc,
    NwDst,
    SymmetricL3,
}

/// How a hash becomes a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The words of ovs-actions(7).
pub enum LinkAlgorithm {
    ModuloN,
    HashThreshold,
    Hrw,
    IterHash,
}

/// `multipath(...)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Multipath {
    /// What is hashed.
    pub fields: HashFields,
    /// Another hash for another basis.
    pub basis: u16,
    /// How a link is chosen.
    pub algorithm: LinkAlgorithm,
    /// Links, at least 1.
    pub links: u16,
    /// For `iter_hash`.
    pub argument: u32,
    /// Where the link's number goes.
    pub target: Subfield,
}

/// `bundle(...)` and, with a target, `bundle_load(...)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// What is hashed.
    pub fields: HashFields,
    /// Another hash for another basis.
    pub basis: u16,
    /// The first member that is up, instead of one by hash.
    pub active_backup: bool,
    /// Ports.
    pub members: Vec<u32>,
    /// Where the port's number goes instead of being output to.
    pub target: Option<Subfield>,
}
