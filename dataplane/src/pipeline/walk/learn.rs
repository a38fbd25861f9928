//! The flow that a packet makes.
//!
//! Source: `ovs-actions(7)`, learn. Neighbours: control adds it.

use super::hash::port_of;
use super::port;
use crate::flow::{Action, FieldId, Flow, FlowFlags, FlowKey, Learn, LearnSource, LearnTarget, Match, Subfield};

/// What `learn` makes of a packet with this key.
pub(in crate::pipeline) fn learned(learn: &Learn, key: &FlowKey) -> Flow {
    let (mut matches, mut actions) = (Match::default(), Vec::new());
    for spec in &learn.specs {
        let value = match spec.source {
            LearnSource::Field(source) => (key.get(source.field) & source.mask()) >> source.start,
            LearnSource::Value(value) => value,
        };
        match spec.target {
            LearnTarget::Match(target) => want(&mut matches, target, value),
            LearnTarget::Load(target) => actions.push(load(target, value)),
            LearnTarget::Output => actions.push(output(port_of(value as u64))),
        }
    }
    if learn.fin_idle_timeout > 0 || learn.fin_hard_timeout > 0 {
        actions.push(Action::FinTimeout { idle: learn.fin_idle_timeout, hard: learn.fin_hard_timeout });
    }
    Flow {
        table: learn.table,
        priority: learn.priority,
        cookie: learn.cookie,
        idle_timeout: learn.idle_timeout,
        hard_timeout: learn.hard_timeout,
        importance: 0,
        flags: FlowFlags { send_flow_rem: learn.send_flow_rem, ..FlowFlags::default() },
        matches,
        actions,
    }
}

fn want(matches: &mut Match, target: Subfield, value: u128) {
    let value = match target.field {
        // 16 bits of it stand for all 32.
        FieldId::NXM_IN_PORT => u128::from(port_of(value as u64)),
        _ => value << target.start & target.mask(),
    };
    matches.want_bits(target.field, value, target.mask());
}

fn load(target: Subfield, value: u128) -> Action {
    match target.bits {
        ..=64 => Action::Load { value: value as u64, target },
        _ => Action::SetField { field: target.field, value: value << target.start, mask: target.mask() },
    }
}

fn output(number: u32) -> Action {
    match number {
        port::IN_PORT => Action::InPort,
        port::NORMAL => Action::Normal,
        port::FLOOD => Action::Flood,
        port::ALL => Action::All,
        port::LOCAL => Action::Local,
        port::CONTROLLER => Action::Controller(Box::default()),
        number => Action::Output(number),
    }
}
