//! The text of flows, groups and meters: whatever is accepted says the same when it is printed and read again; nothing
//! panics.

use std::fmt::Debug;

use ringswitch_dataplane::flow::grammar::{
    GrammarError, format_flow, format_group, format_meter, parse_actions, parse_bucket_change, parse_filter,
    parse_flow, parse_group, parse_group_id, parse_meter, parse_meter_id, parse_modify,
};
use ringswitch_fuzz::{Random, openflow, run, text};

/// Reads a text, prints it, and reads that.
fn there_and_back<T: PartialEq + Debug>(
    text: &str,
    parse: impl Fn(&str) -> Result<T, GrammarError>,
    format: impl Fn(&T) -> String,
) {
    let Ok(value) = parse(text) else { return };
    let printed = format(&value);
    let again = parse(&printed).unwrap_or_else(|error| panic!("{text} is printed as {printed}: {error}"));
    assert_eq!(value, again, "{text} is printed as {printed}");
    assert_eq!(format(&again), printed, "{text}");
}

fn case(random: &mut Random) {
    let mut text = match random.below(6) {
        0 => text::flow(random),
        1 => openflow::group(random),
        2 => openflow::meter(random),
        _ => openflow::flow(random),
    };
    if random.once_in(2) {
        text = text::mutate(random, &text);
    }
    let _ = parse_filter(&text, random.once_in(2), &());
    let _ = parse_modify(&text, random.once_in(2), &());
    let _ = (parse_actions(&text, &()), parse_bucket_change(&text, &()));
    let _ = (parse_group_id(&text), parse_meter_id(&text));
    there_and_back(&text, |text| parse_flow(text, &()), |flow| format_flow(flow, None, &()));
    there_and_back(&text, |text| parse_group(text, &()), |group| format_group(group, &()));
    there_and_back(&text, parse_meter, format_meter);
}

#[test]
fn what_is_printed_reads_the_same() {
    run("grammar", case);
}

#[test]
fn lists_in_lists_end_somewhere() {
    let deep = format!("actions={}", "clone(".repeat(100_000));
    assert!(parse_flow(&deep, &()).is_err());
    let deep = format!("actions={}1{}", "clone(".repeat(10_000), ")".repeat(10_000));
    assert!(parse_flow(&deep, &()).is_err());
    let deep = format!("actions={}1{}", "apply_actions(".repeat(10_000), ")".repeat(10_000));
    assert!(parse_flow(&deep, &()).is_err());
}
