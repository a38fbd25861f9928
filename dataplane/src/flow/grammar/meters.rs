//! Meters, read and printed: `meter=1 kbps burst stats bands=type=drop rate=1000 burst_size=100`.
//!
//! Reference: `ovs-ofctl(8)`, "Meter Syntax".

use std::fmt::Write;

use super::super::{Band, BandKind, METER_CONTROLLER, METER_MAX, METER_SLOWPATH, Meter};
use super::flow_text::Duration;
use super::token::{Token, Tokens, number};
use super::{Fault, GrammarError};

/// Meters that have a name instead of a number.
const NAMED: [(&str, u32); 2] = [("controller", METER_CONTROLLER), ("slowpath", METER_SLOWPATH)];

/// What `meter-stats` prints of a meter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MeterStats {
    /// Milliseconds since it was installed.
    pub age_ms: u64,
    /// Flows that use it.
    pub flows: u32,
    /// Packets and bytes that came to it.
    pub total: (u64, u64),
    /// Packets and bytes that each band dealt with.
    pub bands: Vec<(u64, u64)>,
}

/// Parses what `add-meter` and `mod-meter` take.
///
/// # Errors
/// See [`GrammarError`].
pub fn parse_meter(text: &str) -> Result<Meter, GrammarError> {
    meter(text).map_err(|fault| fault.in_text("meter", text))
}

/// Parses what `del-meters` and `dump-meters` take: `meter=N`, or nothing or `all` for every meter.
///
/// # Errors
/// See [`GrammarError`].
pub fn parse_meter_id(text: &str) -> Result<Option<u32>, GrammarError> {
    let id = text.trim();
    let id = id.strip_prefix("meter=").or_else(|| id.strip_prefix("meter:")).unwrap_or(id);
    if matches!(id, "" | "all") {
        return Ok(None);
    }
    let at = text.len() - text.trim_start().len();
    let wrong = || Fault::new(at, format!("meter \"{id}\""), METER_ID).in_text("meter", text);
    numbered(id).map(Some).ok_or_else(wrong)
}

const METER_ID: &str = "a meter's number, 1 to 4294901760, controller, slowpath, or all";

fn numbered(text: &str) -> Option<u32> {
    let named = NAMED.iter().find(|(name, _)| *name == text).map(|(_, id)| *id);
    named.or_else(|| number(text).and_then(|id| u32::try_from(id).ok()).filter(|id| (1..=METER_MAX).contains(id)))
}

fn meter(text: &str) -> Result<Meter, Fault> {
    let (mut id, mut unit, mut bands) = (None, None, None);
    let mut meter = Meter { id: 0, pktps: false, burst: false, stats: false, bands: Vec::new() };
    let mut tokens = Tokens::new(text, 0);
    while let Some(token) = tokens.next_token()? {
        match token.key {
            "meter" => {
                let wrong = || token.wrong("a meter's number, 1 to 4294901760, controller or slowpath");
                id = Some(numbered(token.text()?).ok_or_else(wrong)?);
            }
            "kbps" | "pktps" => {
                token.without()?;
                if unit.is_some_and(|pktps| pktps != (token.key == "pktps")) {
                    return Err(Fault::new(token.at, format!("{} beside another unit", token.key), "kbps or pktps"));
                }
                unit = Some(token.key == "pktps");
            }
            "burst" => {
                token.without()?;
                meter.burst = true;
            }
            "stats" => {
                token.without()?;
                meter.stats = true;
            }
            "bands" | "band" => {
                bands = Some(token.value_start()?);
                break;
            }
            _ => {
                let problem = format!("unknown part of a meter \"{}\"", token.key);
                return Err(Fault::new(token.at, problem, "meter, kbps, pktps, burst, stats or bands"));
            }
        }
    }
    let end = text.trim_end().len();
    meter.id = id.ok_or_else(|| Fault::new(end, "no meter", "meter=NUMBER"))?;
    meter.pktps = unit.ok_or_else(|| Fault::new(end, "no unit", "kbps or pktps"))?;
    let start = bands.ok_or_else(|| Fault::new(end, "no bands", "bands=type=drop,rate=RATE"))?;
    meter.bands = parse_bands(&text[start..], start)?;
    if !meter.burst {
        // As in Open vSwitch: sizes count only with the word for them.
        meter.bands.iter_mut().for_each(|band| band.burst_size = 0);
    }
    Ok(meter)
}

fn parse_bands(text: &str, start: usize) -> Result<Vec<Band>, Fault> {
    let mut bands: Vec<(Band, usize)> = Vec::new();
    let mut tokens = Tokens::new(text, start);
    while let Some(token) = tokens.next_token()? {
        if token.key == "type" {
            let kind = match token.text()? {
                "drop" => BandKind::Drop,
                "dscp_remark" => BandKind::DscpRemark(0),
                _ => return Err(token.wrong("drop or dscp_remark")),
            };
            bands.push((Band { kind, rate: 0, burst_size: 0 }, token.at));
            continue;
        }
        let Some((band, _)) = bands.last_mut() else {
            return Err(Fault::new(token.at, format!("\"{}\" in front of a band", token.key), "type=drop"));
        };
        part(band, &token)?;
    }
    if let Some((_, at)) = bands.iter().find(|(band, _)| band.rate == 0) {
        return Err(Fault::new(*at, "a band without a rate", "rate=RATE, 1 to 4294967295"));
    }
    Ok(bands.into_iter().map(|(band, _)| band).collect())
}

fn part(band: &mut Band, token: &Token<'_>) -> Result<(), Fault> {
    match (token.key, &mut band.kind) {
        ("rate", _) => band.rate = token.limited(0xffff_ffff, "a rate, 1 to 4294967295")? as u32,
        ("burst_size", _) => band.burst_size = token.number32()?,
        ("prec_level", BandKind::DscpRemark(level)) => *level = token.limited(0xff, "a level, 0 to 255")? as u8,
        ("prec_level", BandKind::Drop) => {
            return Err(Fault::new(token.at, "prec_level in a drop band", "it behind type=dscp_remark"));
        }
        _ => {
            let problem = format!("unknown part of a band \"{}\"", token.key);
            return Err(Fault::new(token.at, problem, "type, rate, burst_size or prec_level"));
        }
    }
    Ok(())
}

/// What `dump-meters` prints, a line per band; also what `add-meter` takes.
#[must_use]
pub fn format_meter(meter: &Meter) -> String {
    let mut text = format!("meter={} {} ", name(meter.id), if meter.pktps { "pktps" } else { "kbps" });
    for (word, is_set) in [("burst ", meter.burst), ("stats ", meter.stats)] {
        text.push_str(if is_set { word } else { "" });
    }
    text.push_str("bands=");
    for band in &meter.bands {
        let kind = if band.kind == BandKind::Drop { "drop" } else { "dscp_remark" };
        write!(text, "\ntype={kind} rate={}", band.rate).unwrap_or_default();
        if meter.burst {
            write!(text, " burst_size={}", band.burst_size).unwrap_or_default();
        }
        if let BandKind::DscpRemark(level) = band.kind {
            write!(text, " prec_level={level}").unwrap_or_default();
        }
    }
    text
}

/// What `meter-stats` prints, a line per band.
#[must_use]
pub fn format_meter_stats(id: u32, stats: &MeterStats) -> String {
    let MeterStats { age_ms, flows, total: (packets, bytes), bands } = stats;
    let duration = Duration(*age_ms);
    let mut text = format!("meter:{} flow_count:{flows} packet_in_count:{packets} byte_in_count:{bytes} ", name(id));
    write!(text, "duration:{duration} bands:").unwrap_or_default();
    for (place, (packets, bytes)) in bands.iter().enumerate() {
        write!(text, "\n{place}: packet_count:{packets} byte_count:{bytes}").unwrap_or_default();
    }
    text
}

fn name(id: u32) -> String {
    let named = NAMED.iter().find(|(_, named)| *named == id);
    named.map_or_else(|| id.to_string(), |(name, _)| (*name).to_owned())
}
