//! Bundles of one connection: requests that are kept until all of them happen, or none. OpenFlow 1.5.1 section 7.3.9.
//!
//! Trust: what is kept is bounded.

use std::collections::BTreeMap;

use crate::openflow::message::{BundleControl, BundleControlKind};
use crate::openflow::{Message, OfError};

/// Most bundles of a connection.
const BUNDLES_MAX: usize = 32;
/// Most bytes of requests in all of them, as they came: kept, they take several times as many. Some 400 000 flows.
const BYTES_MAX: usize = 40 << 20;

/// See the file's head.
#[derive(Default)]
pub(super) struct Bundles {
    open: BTreeMap<u32, Bundle>,
    bytes: usize,
}

#[derive(Default)]
struct Bundle {
    flags: u16,
    closed: bool,
    requests: Vec<Kept>,
    bytes: usize,
}

/// A request in a bundle.
pub(super) struct Kept {
    pub xid: u32,
    pub message: Message,
    /// Its beginning, for an error that it causes.
    pub head: Vec<u8>,
}

impl Bundles {
    /// Does what is asked, except that the requests of a bundle that is to be committed are handed out.
    pub fn control(&mut self, control: &BundleControl) -> Result<Vec<Kept>, OfError> {
        match control.kind {
            BundleControlKind::OpenRequest => self.open(control).map(|()| Vec::new()),
            BundleControlKind::CloseRequest => {
                let bundle = self.open.get_mut(&control.id).ok_or(OfError::OFPBFC_BAD_ID)?;
                let refusal = match bundle {
                    Bundle { closed: true, .. } => Some(OfError::OFPBFC_BUNDLE_CLOSED),
                    Bundle { flags, .. } if *flags != control.flags => Some(OfError::OFPBFC_BAD_FLAGS),
                    _ => None,
                };
                match refusal {
                    Some(why) => {
                        self.take(control.id);
                        Err(why)
                    }
                    None => {
                        bundle.closed = true;
                        Ok(Vec::new())
                    }
                }
            }
            BundleControlKind::CommitRequest => {
                let bundle = self.take(control.id).ok_or(OfError::OFPBFC_BAD_ID)?;
                if bundle.flags == control.flags { Ok(bundle.requests) } else { Err(OfError::OFPBFC_BAD_FLAGS) }
            }
            BundleControlKind::DiscardRequest => {
                self.take(control.id).map(|_| Vec::new()).ok_or(OfError::OFPBFC_BAD_ID)
            }
            _ => Err(OfError::OFPBFC_BAD_TYPE),
        }
    }

    fn open(&mut self, control: &BundleControl) -> Result<(), OfError> {
        if self.take(control.id).is_some() {
            return Err(OfError::OFPBFC_BAD_ID);
        }
        if self.open.len() >= BUNDLES_MAX {
            return Err(OfError::OFPBFC_OUT_OF_BUNDLES);
        }
        self.open.insert(control.id, Bundle { flags: control.flags, ..Bundle::default() });
        Ok(())
    }

    fn take(&mut self, id: u32) -> Option<Bundle> {
        let bundle = self.open.remove(&id)?;
        self.bytes -= bundle.bytes;
        Some(bundle)
    }

    /// Keeps a request of `bytes` bytes; opens the bundle when it is not there.
    pub fn add(&mut self, id: u32, flags: u16, kept: Kept, bytes: usize) -> Result<(), OfError> {
        let may_be_kept = matches!(
            kept.message,
            Message::FlowMod(_)
                | Message::GroupMod(_)
                | Message::MeterMod(_)
                | Message::PortMod(_)
                | Message::PacketOut(_)
        );
        if !may_be_kept {
            return Err(OfError::OFPBFC_MSG_UNSUP);
        }
        if !self.open.contains_key(&id) {
            self.open(&BundleControl { id, kind: BundleControlKind::OpenRequest, flags })?;
        }
        let bundle = self.open.get_mut(&id).ok_or(OfError::OFPBFC_BAD_ID)?;
        if bundle.closed {
            return Err(OfError::OFPBFC_BUNDLE_CLOSED);
        }
        if bundle.flags != flags {
            return Err(OfError::OFPBFC_BAD_FLAGS);
        }
        if self.bytes + bytes > BYTES_MAX {
            return Err(OfError::OFPBFC_MSG_TOO_MANY);
        }
        self.bytes += bytes;
        bundle.bytes += bytes;
        bundle.requests.push(kept);
        Ok(())
    }
}
