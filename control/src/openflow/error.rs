//! Why a request is refused: OpenFlow's error types and codes, which differ from version to version.
//!
//! Names are the specification's, or Open vSwitch's where it added some (`NX...`); which numbers stand for them in which
//! version is Open vSwitch's choice where a version has none. Neighbours: the codec and the engine return these, the server
//! sends them ([`super::Message::error`]).

use super::Version;

/// An error of OpenFlow: what went wrong, whatever its numbers.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct OfError(u8);

/// How a version writes an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// OpenFlow's own type and code.
    Standard(u16, u16),
    /// Nicira's way of OpenFlow 1.0: type 0xb0c2 with a vendor's type and code behind it.
    Nicira(u16, u16),
    /// An experimenter's (1.2 and later): its number and the experimenter's code.
    Experimenter(u32, u16),
}

/// Nicira's number as an experimenter.
pub const NICIRA: u32 = 0x0000_2320;
/// The Open Networking Foundation's number as an experimenter.
pub const ONF: u32 = 0x4f4e_4600;

const fn of(kind: u16, code: u16) -> Option<Code> {
    Some(Code::Standard(kind, code))
}

const fn nx(kind: u16, code: u16) -> Option<Code> {
    Some(Code::Nicira(kind, code))
}

const fn nxe(code: u16) -> Option<Code> {
    Some(Code::Experimenter(NICIRA, code))
}

const fn onf(code: u16) -> Option<Code> {
    Some(Code::Experimenter(ONF, code))
}

#[allow(non_upper_case_globals)] // Reads as a word of the table below.
const no: Option<Code> = None;

impl OfError {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        ERRORS[usize::from(self.0)].0
    }

    /// Its numbers in this version; of one that the version cannot tell, those of
    /// [`OfError::NXBRC_UNENCODABLE_ERROR`].
    #[must_use]
    pub fn code(self, version: Version) -> Code {
        let column = match version {
            Version::V10 => 0,
            Version::V13 => 1,
            Version::V14 => 2,
            Version::V15 => 3,
        };
        let code = ERRORS[usize::from(self.0)].1[column];
        code.or(ERRORS[usize::from(Self::NXBRC_UNENCODABLE_ERROR.0)].1[column]).unwrap_or(Code::Standard(1, 1))
    }
}

impl std::fmt::Debug for OfError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::fmt::Display for OfError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::error::Error for OfError {}

macro_rules! errors {
    ($($name:ident = $v10:expr, $v13:expr, $v14:expr, $v15:expr;)*) => {
        #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
        #[repr(u8)]
        enum Order { $($name),* }

        #[allow(missing_docs)] // The specification's names.
        impl OfError {
            $(pub const $name: Self = Self(Order::$name as u8);)*
        }

        static ERRORS: &[(&str, [Option<Code>; 4])] = &[$((stringify!($name), [$v10, $v13, $v14, $v15])),*];
    };
}

// In OpenFlow 1.0, 1.3, 1.4, 1.5.
errors! {
    OFPHFC_EPERM = of(0, 1), of(0, 1), of(0, 1), of(0, 1);
    OFPBRC_BAD_VERSION = of(1, 0), of(1, 0), of(1, 0), of(1, 0);
    OFPBRC_BAD_TYPE = of(1, 1), of(1, 1), of(1, 1), of(1, 1);
    OFPBRC_BAD_STAT = of(1, 2), of(1, 2), of(1, 2), of(1, 2);
    OFPBRC_BAD_VENDOR = of(1, 3), of(1, 3), of(1, 3), of(1, 3);
    OFPBRC_BAD_SUBTYPE = of(1, 4), of(1, 4), of(1, 4), of(1, 4);
    OFPBRC_EPERM = of(1, 5), of(1, 5), of(1, 5), of(1, 5);
    OFPBRC_BAD_LEN = of(1, 6), of(1, 6), of(1, 6), of(1, 6);
    OFPBRC_BUFFER_EMPTY = of(1, 7), of(1, 7), of(1, 7), of(1, 7);
    OFPBRC_BUFFER_UNKNOWN = of(1, 8), of(1, 8), of(1, 8), of(1, 8);
    OFPBRC_BAD_TABLE_ID = nx(1, 512), of(1, 9), of(1, 9), of(1, 9);
    OFPBRC_IS_SECONDARY = of(1, 5), of(1, 10), of(1, 10), of(1, 10);
    OFPBRC_BAD_PORT = nx(1, 514), of(1, 11), of(1, 11), of(1, 11);
    OFPBRC_BAD_PACKET = no, of(1, 12), of(1, 12), of(1, 12);
    OFPBRC_MULTIPART_BUFFER_OVERFLOW = no, of(1, 13), of(1, 13), of(1, 13);
    OFPBRC_MULTIPART_REQUEST_TIMEOUT = no, onf(2640), of(1, 14), of(1, 14);
    OFPBRC_MULTIPART_REPLY_TIMEOUT = no, onf(2641), of(1, 15), of(1, 15);
    OFPBRC_MULTIPART_BAD_SCHED = no, no, no, of(1, 16);
    OFPBRC_PIPELINE_FIELDS_ONLY = no, no, no, of(1, 17);
    OFPBRC_UNKNOWN = no, no, no, of(1, 18);
    NXBRC_NXM_INVALID = nx(1, 256), nxe(2), nxe(2), nxe(2);
    NXBRC_NXM_BAD_TYPE = nx(1, 257), nxe(3), nxe(3), nxe(3);
    NXBRC_MUST_BE_ZERO = nx(1, 515), nxe(4), nxe(4), nxe(4);
    NXBRC_BAD_REASON = nx(1, 516), nxe(5), nxe(5), nxe(5);
    NXBRC_FM_BAD_EVENT = nx(1, 520), nxe(9), nxe(9), nxe(9);
    NXBRC_UNENCODABLE_ERROR = nx(1, 521), nxe(10), nxe(10), nxe(10);
    OFPBAC_BAD_TYPE = of(2, 0), of(2, 0), of(2, 0), of(2, 0);
    OFPBAC_BAD_LEN = of(2, 1), of(2, 1), of(2, 1), of(2, 1);
    OFPBAC_BAD_VENDOR = of(2, 2), of(2, 2), of(2, 2), of(2, 2);
    OFPBAC_BAD_VENDOR_TYPE = of(2, 3), of(2, 3), of(2, 3), of(2, 3);
    OFPBAC_BAD_OUT_PORT = of(2, 4), of(2, 4), of(2, 4), of(2, 4);
    OFPBAC_BAD_ARGUMENT = of(2, 5), of(2, 5), of(2, 5), of(2, 5);
    OFPBAC_EPERM = of(2, 6), of(2, 6), of(2, 6), of(2, 6);
    OFPBAC_TOO_MANY = of(2, 7), of(2, 7), of(2, 7), of(2, 7);
    OFPBAC_BAD_QUEUE = of(2, 8), of(2, 8), of(2, 8), of(2, 8);
    OFPBAC_BAD_OUT_GROUP = nx(2, 9), of(2, 9), of(2, 9), of(2, 9);
    OFPBAC_MATCH_INCONSISTENT = nx(1, 522), of(2, 10), of(2, 10), of(2, 10);
    OFPBAC_UNSUPPORTED_ORDER = no, of(2, 11), of(2, 11), of(2, 11);
    OFPBAC_BAD_TAG = no, of(2, 12), of(2, 12), of(2, 12);
    OFPBAC_BAD_SET_TYPE = nx(1, 523), of(2, 13), of(2, 13), of(2, 13);
    OFPBAC_BAD_SET_LEN = nx(1, 524), of(2, 14), of(2, 14), of(2, 14);
    OFPBAC_BAD_SET_ARGUMENT = nx(1, 525), of(2, 15), of(2, 15), of(2, 15);
    OFPBAC_BAD_SET_MASK = no, onf(4250), onf(4250), of(2, 16);
    OFPBAC_BAD_METER = no, no, no, of(2, 17);
    NXBAC_MUST_BE_ZERO = nx(2, 256), nxe(11), nxe(11), nxe(11);
    NXBAC_BAD_CONJUNCTION = nx(2, 526), nxe(15), nxe(15), nxe(15);
    OFPBIC_UNKNOWN_INST = no, of(3, 0), of(3, 0), of(3, 0);
    OFPBIC_UNSUP_INST = nx(2, 257), of(3, 1), of(3, 1), of(3, 1);
    OFPBIC_BAD_TABLE_ID = no, of(3, 2), of(3, 2), of(3, 2);
    OFPBIC_UNSUP_METADATA = no, of(3, 3), of(3, 3), of(3, 3);
    OFPBIC_UNSUP_METADATA_MASK = no, of(3, 4), of(3, 4), of(3, 4);
    OFPBIC_BAD_EXPERIMENTER = no, of(3, 5), of(3, 5), of(3, 5);
    OFPBIC_BAD_EXP_TYPE = no, of(3, 6), of(3, 6), of(3, 6);
    OFPBIC_BAD_LEN = no, of(3, 7), of(3, 7), of(3, 7);
    OFPBIC_EPERM = no, of(3, 8), of(3, 8), of(3, 8);
    OFPBIC_DUP_INST = no, onf(2600), of(3, 9), of(3, 9);
    OFPBMC_BAD_TYPE = no, of(4, 0), of(4, 0), of(4, 0);
    OFPBMC_BAD_LEN = no, of(4, 1), of(4, 1), of(4, 1);
    OFPBMC_BAD_TAG = no, of(4, 2), of(4, 2), of(4, 2);
    OFPBMC_BAD_DL_ADDR_MASK = no, of(4, 3), of(4, 3), of(4, 3);
    OFPBMC_BAD_NW_ADDR_MASK = no, of(4, 4), of(4, 4), of(4, 4);
    OFPBMC_BAD_WILDCARDS = nx(1, 262), of(4, 5), of(4, 5), of(4, 5);
    OFPBMC_BAD_FIELD = nx(0, 263), of(4, 6), of(4, 6), of(4, 6);
    OFPBMC_BAD_VALUE = nx(1, 258), of(4, 7), of(4, 7), of(4, 7);
    OFPBMC_BAD_MASK = nx(1, 259), of(4, 8), of(4, 8), of(4, 8);
    OFPBMC_BAD_PREREQ = nx(1, 260), of(4, 9), of(4, 9), of(4, 9);
    OFPBMC_DUP_FIELD = nx(1, 261), of(4, 10), of(4, 10), of(4, 10);
    OFPBMC_EPERM = no, of(4, 11), of(4, 11), of(4, 11);
    OFPFMFC_UNKNOWN = no, of(5, 0), of(5, 0), of(5, 0);
    OFPFMFC_TABLE_FULL = of(3, 0), of(5, 1), of(5, 1), of(5, 1);
    OFPFMFC_BAD_TABLE_ID = no, of(5, 2), of(5, 2), of(5, 2);
    OFPFMFC_OVERLAP = of(3, 1), of(5, 3), of(5, 3), of(5, 3);
    OFPFMFC_EPERM = of(3, 2), of(5, 4), of(5, 4), of(5, 4);
    OFPFMFC_BAD_TIMEOUT = no, of(5, 5), of(5, 5), of(5, 5);
    OFPFMFC_BAD_COMMAND = of(3, 4), of(5, 6), of(5, 6), of(5, 6);
    OFPFMFC_BAD_FLAGS = nx(3, 258), of(5, 7), of(5, 7), of(5, 7);
    OFPFMFC_CANT_SYNC = no, no, of(5, 8), of(5, 8);
    OFPFMFC_BAD_PRIORITY = no, onf(2360), of(5, 9), of(5, 9);
    OFPFMFC_IS_SYNC = no, no, of(5, 10), of(5, 10);
    OFPFMFC_UNSUPPORTED = of(3, 5), no, no, no;
    NXFMFC_HARDWARE = nx(5, 256), nxe(12), nxe(12), nxe(12);
    NXFMFC_BAD_TABLE_ID = nx(5, 257), nxe(13), nxe(13), nxe(13);
    NXFMFC_INVALID_TLV_FIELD = nx(1, 536), nxe(37), nxe(37), nxe(37);
    OFPGMFC_GROUP_EXISTS = nx(6, 0), of(6, 0), of(6, 0), of(6, 0);
    OFPGMFC_INVALID_GROUP = nx(6, 1), of(6, 1), of(6, 1), of(6, 1);
    OFPGMFC_WEIGHT_UNSUPPORTED = nx(6, 2), of(6, 2), of(6, 2), of(6, 2);
    OFPGMFC_OUT_OF_GROUPS = nx(6, 3), of(6, 3), of(6, 3), of(6, 3);
    OFPGMFC_OUT_OF_BUCKETS = nx(6, 4), of(6, 4), of(6, 4), of(6, 4);
    OFPGMFC_CHAINING_UNSUPPORTED = nx(6, 5), of(6, 5), of(6, 5), of(6, 5);
    OFPGMFC_WATCH_UNSUPPORTED = nx(6, 6), of(6, 6), of(6, 6), of(6, 6);
    OFPGMFC_LOOP = nx(6, 7), of(6, 7), of(6, 7), of(6, 7);
    OFPGMFC_UNKNOWN_GROUP = nx(6, 8), of(6, 8), of(6, 8), of(6, 8);
    OFPGMFC_CHAINED_GROUP = nx(6, 9), of(6, 9), of(6, 9), of(6, 9);
    OFPGMFC_BAD_TYPE = nx(6, 10), of(6, 10), of(6, 10), of(6, 10);
    OFPGMFC_BAD_COMMAND = nx(6, 11), of(6, 11), of(6, 11), of(6, 11);
    OFPGMFC_BAD_BUCKET = nx(6, 12), of(6, 12), of(6, 12), of(6, 12);
    OFPGMFC_BAD_WATCH = nx(6, 13), of(6, 13), of(6, 13), of(6, 13);
    OFPGMFC_EPERM = nx(6, 14), of(6, 14), of(6, 14), of(6, 14);
    OFPGMFC_UNKNOWN_BUCKET = nx(6, 15), no, no, of(6, 15);
    OFPGMFC_BUCKET_EXISTS = nx(6, 16), no, no, of(6, 16);
    OFPPMFC_BAD_PORT = of(4, 0), of(7, 0), of(7, 0), of(7, 0);
    OFPPMFC_BAD_HW_ADDR = of(4, 1), of(7, 1), of(7, 1), of(7, 1);
    OFPPMFC_BAD_CONFIG = no, of(7, 2), of(7, 2), of(7, 2);
    OFPPMFC_BAD_ADVERTISE = no, of(7, 3), of(7, 3), of(7, 3);
    OFPPMFC_EPERM = no, of(7, 4), of(7, 4), of(7, 4);
    OFPTMFC_BAD_TABLE = no, of(8, 0), of(8, 0), of(8, 0);
    OFPTMFC_BAD_CONFIG = no, of(8, 1), of(8, 1), of(8, 1);
    OFPTMFC_EPERM = no, of(8, 2), of(8, 2), of(8, 2);
    OFPQOFC_BAD_PORT = of(5, 0), of(9, 0), of(9, 0), of(9, 0);
    OFPQOFC_BAD_QUEUE = of(5, 1), of(9, 1), of(9, 1), of(9, 1);
    OFPQOFC_EPERM = of(5, 2), of(9, 2), of(9, 2), of(9, 2);
    NXQOFC_QUEUE_ERROR = no, no, nxe(23), nxe(23);
    OFPSCFC_BAD_FLAGS = no, of(10, 0), of(10, 0), of(10, 0);
    OFPSCFC_BAD_LEN = no, of(10, 1), of(10, 1), of(10, 1);
    OFPSCFC_EPERM = no, of(10, 2), of(10, 2), of(10, 2);
    OFPRRFC_STALE = no, of(11, 0), of(11, 0), of(11, 0);
    OFPRRFC_UNSUP = no, of(11, 1), of(11, 1), of(11, 1);
    OFPRRFC_BAD_ROLE = nx(1, 513), of(11, 2), of(11, 2), of(11, 2);
    OFPRRFC_ID_UNSUP = no, no, no, of(11, 3);
    OFPRRFC_ID_IN_USE = no, no, no, of(11, 4);
    OFPMMFC_UNKNOWN = no, of(12, 0), of(12, 0), of(12, 0);
    OFPMMFC_METER_EXISTS = no, of(12, 1), of(12, 1), of(12, 1);
    OFPMMFC_INVALID_METER = no, of(12, 2), of(12, 2), of(12, 2);
    OFPMMFC_UNKNOWN_METER = no, of(12, 3), of(12, 3), of(12, 3);
    OFPMMFC_BAD_COMMAND = no, of(12, 4), of(12, 4), of(12, 4);
    OFPMMFC_BAD_FLAGS = no, of(12, 5), of(12, 5), of(12, 5);
    OFPMMFC_BAD_RATE = no, of(12, 6), of(12, 6), of(12, 6);
    OFPMMFC_BAD_BURST = no, of(12, 7), of(12, 7), of(12, 7);
    OFPMMFC_BAD_BAND = no, of(12, 8), of(12, 8), of(12, 8);
    OFPMMFC_BAD_BAND_VALUE = no, of(12, 9), of(12, 9), of(12, 9);
    OFPMMFC_OUT_OF_METERS = no, of(12, 10), of(12, 10), of(12, 10);
    OFPMMFC_OUT_OF_BANDS = no, of(12, 11), of(12, 11), of(12, 11);
    OFPTFFC_BAD_TABLE = no, of(13, 0), of(13, 0), of(13, 0);
    OFPTFFC_BAD_METADATA = no, of(13, 1), of(13, 1), of(13, 1);
    OFPTFFC_EPERM = no, of(13, 5), of(13, 5), of(13, 5);
    OFPTFFC_BAD_CAPA = no, no, no, of(13, 6);
    OFPTFFC_BAD_MAX_ENT = no, no, no, of(13, 7);
    OFPTFFC_BAD_FEATURES = no, no, no, of(13, 8);
    OFPTFFC_BAD_COMMAND = no, no, no, of(13, 9);
    OFPTFFC_TOO_MANY = no, no, no, of(13, 10);
    NXTFFC_DUP_TABLE = no, nxe(44), nxe(44), nxe(44);
    OFPBPC_BAD_TYPE = nx(13, 2), of(13, 2), of(14, 0), of(14, 0);
    OFPBPC_BAD_LEN = nx(13, 3), of(13, 3), of(14, 1), of(14, 1);
    OFPBPC_BAD_VALUE = nx(13, 4), of(13, 4), of(14, 2), of(14, 2);
    OFPBPC_TOO_MANY = nx(14, 3), onf(4443), of(14, 3), of(14, 3);
    OFPBPC_DUP_TYPE = nx(14, 4), onf(4444), of(14, 4), of(14, 4);
    OFPBPC_BAD_EXPERIMENTER = nx(14, 5), onf(4445), of(14, 5), of(14, 5);
    OFPBPC_BAD_EXP_TYPE = nx(14, 6), onf(4446), of(14, 6), of(14, 6);
    OFPBPC_BAD_EXP_VALUE = nx(14, 7), onf(4447), of(14, 7), of(14, 7);
    OFPBPC_EPERM = nx(14, 8), onf(4448), of(14, 8), of(14, 8);
    OFPACFC_INVALID = no, onf(2370), of(15, 0), of(15, 0);
    OFPACFC_UNSUPPORTED = no, onf(2371), of(15, 1), of(15, 1);
    OFPACFC_EPERM = no, onf(2372), of(15, 2), of(15, 2);
    OFPBFC_UNKNOWN = no, onf(2300), of(17, 0), of(17, 0);
    OFPBFC_EPERM = no, onf(2301), of(17, 1), of(17, 1);
    OFPBFC_BAD_ID = no, onf(2302), of(17, 2), of(17, 2);
    OFPBFC_BUNDLE_EXIST = no, onf(2303), of(17, 3), of(17, 3);
    OFPBFC_BUNDLE_CLOSED = no, onf(2304), of(17, 4), of(17, 4);
    OFPBFC_OUT_OF_BUNDLES = no, onf(2305), of(17, 5), of(17, 5);
    OFPBFC_BAD_TYPE = no, onf(2306), of(17, 6), of(17, 6);
    OFPBFC_BAD_FLAGS = no, onf(2307), of(17, 7), of(17, 7);
    OFPBFC_MSG_BAD_LEN = no, onf(2308), of(17, 8), of(17, 8);
    OFPBFC_MSG_BAD_XID = no, onf(2309), of(17, 9), of(17, 9);
    OFPBFC_MSG_UNSUP = no, onf(2310), of(17, 10), of(17, 10);
    OFPBFC_MSG_CONFLICT = no, onf(2311), of(17, 11), of(17, 11);
    OFPBFC_MSG_TOO_MANY = no, onf(2312), of(17, 12), of(17, 12);
    OFPBFC_MSG_FAILED = no, onf(2313), of(17, 13), of(17, 13);
    OFPBFC_TIMEOUT = no, onf(2314), of(17, 14), of(17, 14);
    OFPBFC_BUNDLE_IN_PROGRESS = no, onf(2315), of(17, 15), of(17, 15);
    OFPBFC_SCHED_NOT_SUPPORTED = no, no, no, of(17, 16);
    OFPBFC_SCHED_FUTURE = no, no, no, of(17, 17);
    OFPBFC_SCHED_PAST = no, no, no, of(17, 18);
    OFPBFC_BAD_VERSION = no, no, nxe(22), nxe(22);
    OFPMOFC_UNKNOWN = no, no, of(16, 0), of(16, 0);
    OFPMOFC_MONITOR_EXISTS = nx(1, 517), nxe(6), of(16, 1), of(16, 1);
    OFPMOFC_INVALID_MONITOR = no, no, of(16, 2), of(16, 2);
    OFPMOFC_UNKNOWN_MONITOR = nx(1, 519), nxe(8), of(16, 3), of(16, 3);
    OFPMOFC_BAD_COMMAND = no, no, of(16, 4), of(16, 4);
    OFPMOFC_BAD_FLAGS = nx(1, 518), nxe(7), of(16, 5), of(16, 5);
    OFPMOFC_BAD_TABLE_ID = no, no, of(16, 6), of(16, 6);
    OFPMOFC_BAD_OUT = no, no, of(16, 7), of(16, 7);
    NXTTMFC_BAD_COMMAND = nx(1, 527), nxe(16), nxe(16), nxe(16);
    NXTTMFC_BAD_OPT_LEN = nx(1, 528), nxe(17), nxe(17), nxe(17);
    NXTTMFC_BAD_FIELD_IDX = nx(1, 529), nxe(18), nxe(18), nxe(18);
    NXTTMFC_TABLE_FULL = nx(1, 530), nxe(19), nxe(19), nxe(19);
    NXTTMFC_ALREADY_MAPPED = nx(1, 531), nxe(20), nxe(20), nxe(20);
    NXTTMFC_DUP_ENTRY = nx(1, 532), nxe(21), nxe(21), nxe(21);
    NXTTMFC_INVALID_TLV_DEL = nx(1, 537), nxe(38), nxe(38), nxe(38);
    NXR_NOT_SUPPORTED = nx(1, 533), nxe(34), nxe(34), nxe(34);
    NXR_STALE = nx(1, 534), nxe(35), nxe(35), nxe(35);
    NXST_NOT_CONFIGURED = nx(1, 535), nxe(36), nxe(36), nxe(36);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_version() {
        let full = OfError::OFPFMFC_TABLE_FULL;
        assert_eq!(full.code(Version::V10), Code::Standard(3, 0));
        assert_eq!(full.code(Version::V13), Code::Standard(5, 1));
        let exists = OfError::OFPBFC_BUNDLE_EXIST;
        assert_eq!(exists.code(Version::V13), Code::Experimenter(ONF, 2303));
        assert_eq!(exists.code(Version::V14), Code::Standard(17, 3));
        assert_eq!(exists.code(Version::V10), Code::Nicira(1, 521));
        assert_eq!(exists.to_string(), "OFPBFC_BUNDLE_EXIST");
    }
}
