//! Commands of operators that are texts of the grammar: groups, meters, packets, and flows that replace others.
//!
//! Neighbours: the grammar reads them, `edit` and its kin carry them out as they do it for controllers.

use ringswitch_dataplane::flow::grammar::{self, BucketChange, BucketPlace};
use ringswitch_dataplane::flow::{Filter, Flow, FlowFlags, Group, GroupKind, Meter};

use super::{Dataplane, Engine};
use crate::flows::{self, Ports};
use crate::openflow::message::{
    BUCKET_ALL, BUCKET_FIRST, BUCKET_LAST, GROUP_ALL, GroupMod, GroupModCommand, METER_ALL, MeterMod, MeterModCommand,
    PacketOut, RemovedReason,
};
use crate::report::{Changed, Difference};

/// Verbs in front of groups, as `ovs-ofctl add-groups` takes them.
const GROUP_VERBS: [(&str, GroupModCommand); 6] = [
    ("add", GroupModCommand::Add),
    ("modify", GroupModCommand::Modify),
    ("add_or_mod", GroupModCommand::AddOrMod),
    ("delete", GroupModCommand::Delete),
    ("insert_bucket", GroupModCommand::InsertBucket),
    ("remove_bucket", GroupModCommand::RemoveBucket),
];
/// The same in front of meters.
const METER_VERBS: [(&str, MeterModCommand); 3] =
    [("add", MeterModCommand::Add), ("modify", MeterModCommand::Modify), ("delete", MeterModCommand::Delete)];

/// The verb in front of a text, the first one when there is none, and the rest.
fn split<'a, T: Copy>(text: &'a str, verbs: &[(&str, T)]) -> (T, &'a str) {
    let (word, rest) = text.split_once([' ', '\t', ',']).unwrap_or((text, ""));
    match verbs.iter().find(|(verb, _)| *verb == word) {
        Some((_, verb)) => (*verb, rest.trim_start()),
        None => (verbs[0].1, text),
    }
}

impl<D: Dataplane> Engine<D> {
    /// Carries out several changes, all of them or none, and publishes them.
    pub(super) fn together<T>(&mut self, change: impl FnOnce(&mut Self) -> Result<T, String>) -> Result<T, String> {
        let (before, told, unpublished) = (self.state.clone(), self.notices.len(), self.unpublished);
        self.origin = None;
        let done = change(self).inspect_err(|_| {
            self.state = before;
            self.notices.truncate(told);
            self.unpublished = unpublished;
        });
        self.flush();
        done
    }

    /// Does what each line asks for; returns how many it did.
    fn each_line(
        &mut self,
        texts: &[String],
        mut change: impl FnMut(&mut Self, &str) -> Result<(), String>,
    ) -> Result<Changed, String> {
        self.together(|engine| {
            let mut count = 0;
            for (number, text) in texts.iter().enumerate() {
                let text = flows::without_comment(text).trim();
                if text.is_empty() {
                    continue;
                }
                let place = |why| if texts.len() > 1 { format!("line {}: {why}", number + 1) } else { why };
                change(engine, text).map_err(place)?;
                count += 1;
            }
            Ok(Changed { count })
        })
    }

    /// Adds groups, or does what the verbs in front of them say (`modify group_id=1,...`), all of it or nothing.
    ///
    /// # Errors
    /// The first text that is not a group or is refused, by its line when there are several.
    pub fn add_groups(&mut self, bridge: &str, texts: &[String]) -> Result<Changed, String> {
        let (index, ports) = (self.state.bridge(bridge)?, self.state.port_names(bridge)?);
        self.each_line(texts, |engine, text| {
            let (command, text) = split(text, &GROUP_VERBS);
            let request = group_mod(command, text, &ports)?;
            let refused = |why| format!("group \"{text}\" is refused: {why}");
            engine.group_mod(index, request).map_err(refused)
        })
    }

    /// Adds meters, or does what the verbs in front of them say (`delete meter=1`), all of it or nothing.
    ///
    /// # Errors
    /// The first text that is not a meter or is refused, by its line when there are several.
    pub fn add_meters(&mut self, bridge: &str, texts: &[String]) -> Result<Changed, String> {
        let index = self.state.bridge(bridge)?;
        self.each_line(texts, |engine, text| {
            let (command, text) = split(text, &METER_VERBS);
            let meter = match command {
                MeterModCommand::Delete => {
                    let id = grammar::parse_meter_id(text).map_err(|error| error.to_string())?;
                    nothing_but(id.unwrap_or(METER_ALL))
                }
                _ => grammar::parse_meter(text).map_err(|error| error.to_string())?,
            };
            let refused = |why| format!("meter \"{text}\" is refused: {why}");
            engine.meter_mod(index, MeterMod { command, meter }).map_err(refused)
        })
    }

    /// Sends a packet through the bridge.
    ///
    /// # Errors
    /// When the text is not a packet-out, or refused.
    pub fn send_packet(&mut self, bridge: &str, text: &str) -> Result<(), String> {
        let (index, ports) = (self.state.bridge(bridge)?, self.state.port_names(bridge)?);
        let packet = grammar::parse_packet_out(text, &ports).map_err(|error| error.to_string())?;
        let grammar::PacketText { key, actions, frame } = packet;
        self.packet_out(index, PacketOut { buffer_id: None, key, actions, frame })
            .map_err(|why| format!("packet-out \"{text}\" is refused: {why}"))
    }

    /// Makes these the bridge's flows: others go, those that are there already are not touched.
    ///
    /// # Errors
    /// The first text that is not a flow or is refused, by its line; nothing is changed then.
    pub fn replace_flows(&mut self, bridge: &str, texts: &[String]) -> Result<Changed, String> {
        let (index, ports) = (self.state.bridge(bridge)?, self.state.port_names(bridge)?);
        let wanted = parse_flows(texts, &ports)?;
        let there = self.flows_of(bridge)?;
        let differences = differences(&there, &wanted);
        let count = differences.len();
        self.together(|engine| {
            let changes = |editor: &mut super::edit::Editor<'_>| {
                for flow in differences.iter().filter_map(|(one, other)| one.filter(|_| other.is_none())) {
                    editor.delete_flows(&Filter::strict(flow), RemovedReason::Delete);
                }
                let mut wanted = differences.iter().filter_map(|(_, flow)| *flow);
                wanted.try_for_each(|flow| editor.add_flow(flow.clone(), false))
            };
            engine.edit(index, changes).map_err(|why| format!("a flow is refused: {why}"))
        })?;
        Ok(Changed { count })
    }

    /// What one side has and the other has not, or has with other actions. A side is a bridge, or the lines of a file.
    ///
    /// # Errors
    /// When there is no such bridge, or a text is not a flow.
    pub fn diff_flows(&self, one: &Source, other: &Source) -> Result<Vec<Difference>, String> {
        let bridge = one.bridge.as_deref().or(other.bridge.as_deref());
        let ports = bridge.map_or_else(|| Ok(Ports::new([])), |bridge| self.state.port_names(bridge))?;
        let read = |source: &Source| match &source.bridge {
            Some(bridge) => self.flows_of(bridge),
            None => parse_flows(&source.flows, &ports),
        };
        let (one, other) = (read(one)?, read(other)?);
        let text = |flow: &Flow| grammar::format_flow(flow, None, &());
        let difference =
            |(one, other): (Option<&Flow>, Option<&Flow>)| Difference { one: one.map(text), other: other.map(text) };
        Ok(differences(&one, &other).into_iter().map(difference).collect())
    }

    fn flows_of(&self, bridge: &str) -> Result<Vec<Flow>, String> {
        let slot = self.state.bridges[self.state.bridge(bridge)?].as_ref();
        let rules = slot.into_iter().flat_map(|slot| slot.program.tables.rules());
        Ok(rules.map(|rule| rule.flow.clone()).collect())
    }
}

/// Where flows come from that are compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// A bridge's, when there is one.
    #[serde(default)]
    pub bridge: Option<String>,
    /// These, otherwise.
    #[serde(default)]
    pub flows: Vec<String>,
}

fn group_mod(command: GroupModCommand, text: &str, ports: &Ports) -> Result<GroupMod, String> {
    let say = |error: grammar::GrammarError| error.to_string();
    let nothing = |id| Group { id, kind: GroupKind::All, selection: None, buckets: Vec::new() };
    Ok(match command {
        GroupModCommand::Delete => {
            let id = grammar::parse_group_id(text).map_err(say)?.unwrap_or(GROUP_ALL);
            GroupMod { command, group: nothing(id), command_bucket: BUCKET_ALL }
        }
        GroupModCommand::InsertBucket | GroupModCommand::RemoveBucket => {
            let BucketChange { group, place, buckets } = grammar::parse_bucket_change(text, ports).map_err(say)?;
            let command_bucket = match place {
                BucketPlace::First => BUCKET_FIRST,
                BucketPlace::Last => BUCKET_LAST,
                BucketPlace::All => BUCKET_ALL,
                BucketPlace::Id(id) => id,
            };
            GroupMod { command, group: Group { buckets, ..nothing(group) }, command_bucket }
        }
        _ => {
            let group = grammar::parse_group(text, ports).map_err(say)?;
            GroupMod { command, group, command_bucket: BUCKET_ALL }
        }
    })
}

fn nothing_but(id: u32) -> Meter {
    Meter { id, pktps: false, burst: false, stats: false, bands: Vec::new() }
}

/// Of flows with the same match and priority, the last one counts.
fn parse_flows(texts: &[String], ports: &Ports) -> Result<Vec<Flow>, String> {
    let mut flows = Vec::new();
    for (number, text) in texts.iter().enumerate() {
        let text = flows::without_comment(text).trim();
        if !text.is_empty() {
            flows.push(flows::parse(text, ports).map_err(|why| format!("line {}: {why}", number + 1))?);
        }
    }
    Ok(flows)
}

/// Pairs of flows that differ, by table, priority and match.
fn differences<'a>(one: &'a [Flow], other: &'a [Flow]) -> Vec<(Option<&'a Flow>, Option<&'a Flow>)> {
    let place =
        |flow: &Flow| (flow.table, std::cmp::Reverse(flow.priority), flow.matches.mask.words, flow.matches.key.words);
    let mut pairs = std::collections::BTreeMap::<_, (Option<&Flow>, Option<&Flow>)>::new();
    one.iter().for_each(|flow| pairs.entry(place(flow)).or_default().0 = Some(flow));
    other.iter().for_each(|flow| pairs.entry(place(flow)).or_default().1 = Some(flow));
    // These are about the request, not about the flow.
    let kept = |flow: &Flow| Flow {
        flags: FlowFlags { check_overlap: false, reset_counts: false, ..flow.flags },
        ..flow.clone()
    };
    let differs = |pair: &(Option<&Flow>, Option<&Flow>)| pair.0.map(kept) != pair.1.map(kept);
    pairs.into_values().filter(differs).collect()
}
