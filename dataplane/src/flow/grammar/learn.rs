//! `learn(...)`: the flow that each packet makes.

use std::fmt::{self, Display, Formatter};

use super::super::{DEFAULT_PRIORITY, Learn, LearnSource, LearnSpec, LearnTarget, Subfield};
use super::token::{Token, wide_number};
use super::values::{self, Hex, Value};
use super::words::part;
use super::{Fault, PortNames, names};

/// Where learned flows go unless it is said.
const DEFAULT_TABLE: u8 = 1;

/// Reads what stands in the brackets.
pub(super) fn parse(token: &Token<'_>, ports: &dyn PortNames) -> Result<Learn, Fault> {
    let mut learn = Learn { table: DEFAULT_TABLE, priority: DEFAULT_PRIORITY, ..Learn::default() };
    let mut inner = token.inner()?;
    while let Some(token) = inner.next_token()? {
        if !property(&mut learn, &token)? {
            learn.specs.push(spec(&token, ports)?);
        }
    }
    Ok(learn)
}

/// False when the token is a part of the match or an action.
fn property(learn: &mut Learn, token: &Token<'_>) -> Result<bool, Fault> {
    match token.key {
        "table" => learn.table = token.limited(253, "a table number, 0 to 253")? as u8,
        "priority" => learn.priority = token.number16()?,
        "idle_timeout" => learn.idle_timeout = token.number16()?,
        "hard_timeout" => learn.hard_timeout = token.number16()?,
        "fin_idle_timeout" => learn.fin_idle_timeout = token.number16()?,
        "fin_hard_timeout" => learn.fin_hard_timeout = token.number16()?,
        "cookie" => learn.cookie = token.limited(u64::MAX, "a number of 64 bits")?,
        "limit" => learn.limit = token.number32()?,
        "result_dst" => learn.result = Some(part(token, token.text()?)?),
        "send_flow_rem" => {
            token.without()?;
            learn.send_flow_rem = true;
        }
        "delete_learned" => {
            token.without()?;
            learn.delete_learned = true;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn spec(token: &Token<'_>, ports: &dyn PortNames) -> Result<LearnSpec, Fault> {
    match token.key {
        "output" => {
            let source = part(token, token.text()?)?;
            Ok(LearnSpec { source: LearnSource::Field(source), target: LearnTarget::Output, bits: source.bits })
        }
        "load" => {
            let expected = "load:VALUE->FIELD[..], or load:FIELD[..]->FIELD[..]";
            let (source, target) = token.text()?.split_once("->").ok_or_else(|| token.wrong(expected))?;
            let target = part(token, target)?;
            let source = match wide_number(source) {
                Some(value) => value_of(token, value, target)?,
                None => LearnSource::Field(part(token, source)?),
            };
            Ok(LearnSpec { source, target: LearnTarget::Load(target), bits: target.bits })
        }
        _ => matched(token, ports),
    }
}

/// `FIELD[..]`, `FIELD[..]=FIELD[..]`, `FIELD=VALUE`
fn matched(token: &Token<'_>, ports: &dyn PortNames) -> Result<LearnSpec, Fault> {
    let target = names::subfield(token.key).map_err(|(problem, expected)| Fault::new(token.at, problem, expected))?;
    let source = match token.value() {
        None => LearnSource::Field(target),
        Some(text) => match names::subfield(text) {
            Ok(source) => LearnSource::Field(source),
            Err(_) if target == Subfield::whole(target.field) || !token.key.contains('[') => {
                let (value, bits) = values::read(target.field, text, ports).unwrap_or_default();
                if bits != target.field.ones() {
                    return Err(token.wrong("bits of another field, or a value without a mask"));
                }
                LearnSource::Value(value)
            }
            Err(_) => {
                let wrong = || token.wrong("bits of another field, or a number");
                value_of(token, wide_number(text).ok_or_else(wrong)?, target)?
            }
        },
    };
    // A VLAN id that is compared as a whole takes the bit that says that there is one along.
    let target = match source {
        LearnSource::Value(_) if !token.key.contains('[') => Subfield::whole(target.field),
        _ => target,
    };
    Ok(LearnSpec { source, target: LearnTarget::Match(target), bits: target.bits })
}

fn value_of(token: &Token<'_>, value: u128, target: Subfield) -> Result<LearnSource, Fault> {
    let fits = value <= target.mask() >> target.start;
    fits.then_some(LearnSource::Value(value)).ok_or_else(|| token.wrong(&format!("a number of {} bits", target.bits)))
}

/// In text.
pub(super) struct LearnText<'a>(pub &'a Learn, pub &'a dyn PortNames);

impl Display for LearnText<'_> {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        let learn = self.0;
        write!(to, "learn(table={}", learn.table)?;
        let timeouts = [
            ("idle_timeout", learn.idle_timeout),
            ("hard_timeout", learn.hard_timeout),
            ("fin_idle_timeout", learn.fin_idle_timeout),
            ("fin_hard_timeout", learn.fin_hard_timeout),
        ];
        for (name, seconds) in timeouts.into_iter().filter(|&(_, seconds)| seconds != 0) {
            write!(to, ",{name}={seconds}")?;
        }
        if learn.priority != DEFAULT_PRIORITY {
            write!(to, ",priority={}", learn.priority)?;
        }
        for (name, _) in [("send_flow_rem", learn.send_flow_rem), ("delete_learned", learn.delete_learned)]
            .into_iter()
            .filter(|&(_, is_set)| is_set)
        {
            write!(to, ",{name}")?;
        }
        if learn.cookie != 0 {
            write!(to, ",cookie={:#x}", learn.cookie)?;
        }
        if learn.limit != 0 {
            write!(to, ",limit={}", learn.limit)?;
        }
        if let Some(result) = learn.result {
            write!(to, ",result_dst={result}")?;
        }
        learn.specs.iter().try_for_each(|spec| write!(to, ",{}", SpecText(spec, self.1)))?;
        to.write_str(")")
    }
}

struct SpecText<'a>(&'a LearnSpec, &'a dyn PortNames);

impl Display for SpecText<'_> {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        let field = |target: Subfield| target.field;
        match (self.0.source, self.0.target) {
            (LearnSource::Field(source), LearnTarget::Output) => write!(to, "output:{source}"),
            (LearnSource::Value(value), LearnTarget::Output) => write!(to, "output:{value}"),
            (LearnSource::Field(source), LearnTarget::Load(target)) => write!(to, "load:{source}->{target}"),
            (LearnSource::Value(value), LearnTarget::Load(target)) => write!(to, "load:{}->{target}", Hex(value)),
            (LearnSource::Field(source), LearnTarget::Match(target)) if source == target => write!(to, "{target}"),
            (LearnSource::Field(source), LearnTarget::Match(target)) => write!(to, "{target}={source}"),
            (LearnSource::Value(value), LearnTarget::Match(target)) if target == Subfield::whole(field(target)) => {
                let value = Value { field: field(target), value, bits: field(target).ones(), names: self.1 };
                write!(to, "{}={value}", names::of_set_field(field(target)))
            }
            (LearnSource::Value(value), LearnTarget::Match(target)) => write!(to, "{target}={}", Hex(value)),
        }
    }
}
