//! Why a packet was dropped. No packet disappears without one of these.

macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Closed list: each reason is a counter and a line in `rsctl dump-ports`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum DropReason { $($(#[$doc])* $name,)* }

        impl DropReason {
            /// Every reason, in counter order.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The name operators see.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

drop_reasons! {
    /// rx: shorter than an Ethernet header.
    Runt = "rx_runt",
    /// rx: longer than `MAX_FRAME`.
    Giant = "rx_giant",
    /// rx: the descriptors made no sense; the port is faulted.
    RxMalformed = "rx_malformed",
    /// rx: above the rate to which the port is policed.
    Policed = "rx_policed",
    /// rx: its destination was moving to another socket, and too many frames waited for that already.
    RxHeldBack = "rx_held_back",
    /// No rule matched.
    NoRule = "no_rule",
    /// A rule says drop.
    RuleDrop = "rule_drop",
    /// The port spent its share of table walks in this pass.
    LookupBudget = "lookup_budget",
    /// The rule names a port that is not there.
    NoSuchPort = "no_such_port",
    /// Output to the port it came from, without saying in_port.
    OutputToIngress = "output_to_ingress",
    /// NORMAL: the VLAN is not carried by the port it came in on.
    VlanNotAllowed = "vlan_not_allowed",
    /// NORMAL: the destination is behind the port it came from.
    SamePort = "same_port",
    /// NORMAL: link-local group address (01:80:c2:00:00:0x), never forwarded by a bridge.
    Reserved = "reserved_address",
    /// Flood with no other port to go to.
    NobodyToFlood = "flood_nobody",
    /// dec_ttl reached zero.
    TtlExpired = "ttl_expired",
    /// A meter's rate is used up.
    Metered = "metered",
    /// It went to controllers and nowhere else.
    ToController = "to_controller",
    /// It was for controllers, which get no more for now: the port sends too many, or control does not keep up.
    UpcallLimit = "upcall_limit",
    /// Its way through the tables is too long: resubmits, groups or clones without end, or a packet that they multiply.
    TooComplex = "too_complex",
    /// The group has no bucket that is alive, or is not there.
    NoBucket = "no_bucket",
    /// The port is set not to receive or not to send.
    PortConfig = "port_config",
    /// An action needs a header that this packet does not have room for.
    NoHeadroom = "no_headroom",
    /// tx: the queue is full.
    TxFull = "tx_full",
    /// tx: nobody is attached, or the peer has not enabled the queue.
    TxDown = "tx_down",
    /// tx: longer than the port's MTU or than the peer's buffers.
    TxTooLarge = "tx_too_large",
    /// tx: the device refused the frame.
    TxDevice = "tx_device",
}
