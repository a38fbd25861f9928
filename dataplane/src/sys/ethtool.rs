//! What a NIC's driver is asked through ethtool's ioctl: which queues it spreads frames over, and rules that steer frames by
//! destination address and VLAN into a queue ("ntuple").
//!
//! Layouts are those of linux/ethtool.h, which never change. Neighbours: `port::xdp` gives hardware queues to pools.

use std::io;
use std::os::fd::AsRawFd;

use super::netdev::{checked, request, socket};

const SIOCETHTOOL: libc::c_ulong = 0x8946;
const ETHTOOL_GDRVINFO: u32 = 0x03;
const ETHTOOL_GFLAGS: u32 = 0x25;
const ETHTOOL_GRXCLSRLCNT: u32 = 0x2e;
const ETHTOOL_GRXCLSRLALL: u32 = 0x30;
const ETHTOOL_SRXCLSRLDEL: u32 = 0x31;
const ETHTOOL_SRXCLSRLINS: u32 = 0x32;
const ETHTOOL_GRXFHINDIR: u32 = 0x38;
const ETH_FLAG_NTUPLE: u32 = 1 << 27;
/// In an answer about the table: the driver chooses places itself, if asked to.
const RX_CLS_LOC_SPECIAL: u32 = 1 << 31;
const ETHER_FLOW: u32 = 0x12;
const FLOW_EXT: u32 = 1 << 31;
const VLAN_ID: u16 = 0x0fff;

/// A rule: frames to this address, in this VLAN, go to this queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SteerRule {
    /// Destination address.
    pub mac: [u8; 6],
    /// VLAN; 0 is any: hardware has no word for "untagged".
    pub vlan: u16,
    /// Where to.
    pub queue: u16,
    /// Its place in the NIC's table.
    pub location: u32,
}

/// `struct ethtool_flow_ext`.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct FlowExt {
    padding: [u8; 2],
    h_dest: [u8; 6],
    vlan_etype: [u8; 2],
    vlan_tci: [u8; 2],
    data: [u8; 8],
}

/// `struct ethtool_rx_flow_spec`, its unions as the bytes of an Ethernet header and nothing.
#[derive(Clone, Copy)]
#[repr(C)]
struct FlowSpec {
    flow_type: u32,
    h_u: [u8; 52],
    h_ext: FlowExt,
    m_u: [u8; 52],
    m_ext: FlowExt,
    ring_cookie: u64,
    location: u32,
}

/// `struct ethtool_rxnfc`, with room for the locations that follow it.
#[repr(C)]
struct RxNfc {
    cmd: u32,
    flow_type: u32,
    data: u64,
    fs: FlowSpec,
    rule_cnt: u32,
    rule_locs: [u32; Self::MAX_RULES],
}

impl RxNfc {
    /// More than any NIC is asked about: its answer would be an error.
    const MAX_RULES: usize = 8191;

    fn new(cmd: u32) -> Box<Self> {
        let fs = FlowSpec {
            flow_type: 0,
            h_u: [0; 52],
            h_ext: FlowExt::default(),
            m_u: [0; 52],
            m_ext: FlowExt::default(),
            ring_cookie: 0,
            location: 0,
        };
        Box::new(Self { cmd, flow_type: 0, data: 0, fs, rule_cnt: 0, rule_locs: [0; Self::MAX_RULES] })
    }
}

impl FlowSpec {
    fn of(rule: &SteerRule) -> Self {
        let mut spec = RxNfc::new(0).fs;
        spec.flow_type = ETHER_FLOW;
        spec.h_u[..6].copy_from_slice(&rule.mac);
        spec.m_u[..6].fill(0xff);
        if rule.vlan != 0 {
            spec.flow_type |= FLOW_EXT;
            spec.h_ext.vlan_tci = rule.vlan.to_be_bytes();
            spec.m_ext.vlan_tci = VLAN_ID.to_be_bytes();
        }
        spec.ring_cookie = rule.queue.into();
        spec.location = rule.location;
        spec
    }
}

/// The driver's name.
///
/// # Errors
/// What the kernel says.
pub fn driver(netdev: &str) -> io::Result<String> {
    // struct ethtool_drvinfo: the command, then the name in 32 bytes.
    let mut info = [0u32; 49];
    info[0] = ETHTOOL_GDRVINFO;
    // SAFETY: the kernel writes the 196 bytes of that struct.
    unsafe { call(netdev, info.as_mut_ptr().cast()) }?;
    let name: Vec<u8> = info[1..9].iter().flat_map(|word| word.to_ne_bytes()).take_while(|&byte| byte != 0).collect();
    Ok(String::from_utf8_lossy(&name).into_owned())
}

/// Rules are switched on (`ethtool -K NETDEV ntuple on`).
///
/// # Errors
/// What the kernel says.
pub fn has_ntuple(netdev: &str) -> io::Result<bool> {
    let mut value = [ETHTOOL_GFLAGS, 0];
    // SAFETY: a struct ethtool_value: the command and a word.
    unsafe { call(netdev, value.as_mut_ptr().cast()) }?;
    Ok(value[1] & ETH_FLAG_NTUPLE != 0)
}

/// How many places for rules the NIC has; 0 when they cannot be chosen.
///
/// # Errors
/// `EOPNOTSUPP` when the driver has no such rules.
pub fn rule_capacity(netdev: &str) -> io::Result<u32> {
    let nfc = ask(netdev, ETHTOOL_GRXCLSRLCNT, |_| ())?;
    Ok(nfc.data as u32 & !RX_CLS_LOC_SPECIAL)
}

/// The places that are taken.
///
/// # Errors
/// What the driver says; `EMSGSIZE` when there are more than 8191.
pub fn rule_locations(netdev: &str) -> io::Result<Vec<u32>> {
    let nfc = ask(netdev, ETHTOOL_GRXCLSRLALL, |nfc| nfc.rule_cnt = RxNfc::MAX_RULES as u32)?;
    Ok(nfc.rule_locs.iter().copied().take(nfc.rule_cnt as usize).collect())
}

/// Installs a rule; one that is in its place is replaced.
///
/// # Errors
/// What the driver says, which often is `EINVAL` for "not in hardware".
pub fn insert_rule(netdev: &str, rule: &SteerRule) -> io::Result<()> {
    ask(netdev, ETHTOOL_SRXCLSRLINS, |nfc| nfc.fs = FlowSpec::of(rule)).map(drop)
}

/// Removes the rule at this place.
///
/// # Errors
/// What the driver says.
pub fn delete_rule(netdev: &str, location: u32) -> io::Result<()> {
    ask(netdev, ETHTOOL_SRXCLSRLDEL, |nfc| nfc.fs.location = location).map(drop)
}

/// The queues that the NIC spreads over what no rule names (RSS), sorted.
///
/// # Errors
/// What the driver says, `EOPNOTSUPP` among it.
pub fn rss_queues(netdev: &str) -> io::Result<Vec<u16>> {
    // struct ethtool_rxfh_indir: the command, the number of entries, the entries. Asked for none, it tells the number.
    let mut head = [ETHTOOL_GRXFHINDIR, 0];
    // SAFETY: the kernel writes the number alone.
    unsafe { call(netdev, head.as_mut_ptr().cast()) }?;
    let mut table = vec![0; 2 + head[1] as usize];
    table[..2].copy_from_slice(&head);
    // SAFETY: there is room for the entries that were asked for; the kernel refuses when there are more by now.
    unsafe { call(netdev, table.as_mut_ptr().cast()) }?;
    let mut queues: Vec<_> = table[2..].iter().map(|&queue| queue as u16).collect();
    queues.sort_unstable();
    queues.dedup();
    Ok(queues)
}

fn ask(netdev: &str, cmd: u32, fill: impl FnOnce(&mut RxNfc)) -> io::Result<Box<RxNfc>> {
    let mut nfc = RxNfc::new(cmd);
    fill(&mut nfc);
    // SAFETY: the struct of these commands, with room for as many locations as `rule_cnt` says.
    unsafe { call(netdev, std::ptr::from_mut(&mut *nfc).cast()) }?;
    Ok(nfc)
}

/// # Safety
/// `data` begins with a command, and the kernel may write there what belongs to that command.
unsafe fn call(netdev: &str, data: *mut libc::c_char) -> io::Result<()> {
    let mut request = request(netdev)?;
    request.ifr_ifru.ifru_data = data;
    let socket = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    // SAFETY: the request lives through the call, and `data` by the caller's promise.
    checked(unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &mut request) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::offset_of;

    /// As `offsetof` and `sizeof` say of the C structs on x86-64 and aarch64.
    #[test]
    fn layouts_are_the_kernels() {
        assert_eq!(size_of::<FlowExt>(), 20);
        assert_eq!((offset_of!(FlowExt, vlan_etype), offset_of!(FlowExt, vlan_tci)), (8, 10));
        assert_eq!(size_of::<FlowSpec>(), 168);
        assert_eq!(
            (offset_of!(FlowSpec, h_ext), offset_of!(FlowSpec, m_u), offset_of!(FlowSpec, m_ext)),
            (56, 76, 128)
        );
        assert_eq!((offset_of!(FlowSpec, ring_cookie), offset_of!(FlowSpec, location)), (152, 160));
        assert_eq!((offset_of!(RxNfc, fs), offset_of!(RxNfc, rule_cnt), offset_of!(RxNfc, rule_locs)), (16, 184, 188));
    }

    #[test]
    fn a_rule_names_address_vlan_queue_and_place() {
        let rule = SteerRule { mac: [2, 0, 0, 0, 0, 7], vlan: 100, queue: 3, location: 42 };
        let spec = FlowSpec::of(&rule);
        assert_eq!(spec.flow_type, 0x8000_0012);
        assert_eq!(
            (&spec.h_u[..8], &spec.m_u[..8]),
            (&[2, 0, 0, 0, 0, 7, 0, 0][..], &[255, 255, 255, 255, 255, 255, 0, 0][..])
        );
        assert_eq!((spec.h_ext.vlan_tci, spec.m_ext.vlan_tci), ([0, 100], [0x0f, 0xff]));
        assert_eq!((spec.ring_cookie, spec.location), (3, 42));
        let spec = FlowSpec::of(&SteerRule { vlan: 0, ..rule });
        assert_eq!((spec.flow_type, spec.m_ext.vlan_tci), (0x12, [0, 0]), "no word about tags");
    }

    #[test]
    fn who_has_no_rules_says_so() {
        assert_eq!(rule_capacity("lo").expect_err("lo has none").raw_os_error(), Some(libc::EOPNOTSUPP));
        assert_eq!(rss_queues("lo").expect_err("lo has none").raw_os_error(), Some(libc::EOPNOTSUPP));
        assert_eq!(driver("no-such-netdev").expect_err("not there").raw_os_error(), Some(libc::ENODEV));
    }
}
