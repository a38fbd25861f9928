//! Meter-mods. OpenFlow 1.5.1 section 7.3.4.5.

use std::sync::Arc;

use ringswitch_dataplane::flow::{Action, METER_CONTROLLER, METER_MAX, METER_SLOWPATH, Meter, MeterEntry, Meters};

use super::edit::Editor;
use crate::openflow::OfError;
use crate::openflow::message::{METER_ALL, MeterMod, MeterModCommand, RemovedReason};

/// Most meters of a bridge.
pub(super) const METERS_MAX: usize = 65_536;
/// Most bands of a meter.
pub(super) const BANDS_MAX: u8 = 16;

impl Editor<'_> {
    pub fn meter_mod(&mut self, request: MeterMod) -> Result<(), OfError> {
        let MeterMod { command, meter } = request;
        if command == MeterModCommand::Delete {
            return self.delete_meters(meter.id);
        }
        let meters = &self.bridge.program.meters;
        let is_there = meters.contains_key(&meter.id);
        if meter.id == 0 || (meter.id > METER_MAX && ![METER_CONTROLLER, METER_SLOWPATH].contains(&meter.id)) {
            return Err(OfError::OFPMMFC_INVALID_METER);
        }
        match command {
            MeterModCommand::Add if is_there => return Err(OfError::OFPMMFC_METER_EXISTS),
            MeterModCommand::Modify if !is_there => return Err(OfError::OFPMMFC_UNKNOWN_METER),
            _ => {}
        }
        if !is_there && meters.len() >= METERS_MAX {
            return Err(OfError::OFPMMFC_OUT_OF_METERS);
        }
        self.set_meter(meter)
    }

    pub fn set_meter(&mut self, meter: Meter) -> Result<(), OfError> {
        if meter.bands.len() > usize::from(BANDS_MAX) {
            return Err(OfError::OFPMMFC_OUT_OF_BANDS);
        }
        let meters = &mut self.bridge.program.meters;
        let (id, old) = (meter.id, meters.get(&meter.id));
        let entry = old.map_or_else(|| MeterEntry::new(meter.clone(), self.now_ms), |old| old.modified(meter.clone()));
        meters.insert(id, Arc::new(entry));
        Ok(())
    }

    /// A meter that does not exist is gone already. Flows that use it go with it.
    pub fn delete_meters(&mut self, id: u32) -> Result<(), OfError> {
        let all = id == METER_ALL;
        if all {
            self.bridge.program.meters = Meters::new();
        } else if id == 0 {
            return Err(OfError::OFPMMFC_INVALID_METER);
        } else if self.bridge.program.meters.remove(&id).is_none() {
            return Ok(());
        }
        let is_it = |action: &Action| matches!(action, Action::Meter(meter) if all || *meter == id);
        self.delete_flows_with(is_it, RemovedReason::MeterDelete);
        Ok(())
    }
}
