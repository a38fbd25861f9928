//! The text of flows: whatever is accepted says the same when it is printed and read again; nothing panics.

use ringswitch_dataplane::flow::grammar::{format_flow, parse_filter, parse_flow, parse_modify};
use ringswitch_fuzz::text::{flow, mutate};
use ringswitch_fuzz::{Random, run};

fn case(random: &mut Random) {
    let mut text = flow(random);
    if random.once_in(2) {
        text = mutate(random, &text);
    }
    let _ = parse_filter(&text, random.once_in(2), &());
    let _ = parse_modify(&text, random.once_in(2), &());
    let Ok(flow) = parse_flow(&text, &()) else { return };
    let printed = format_flow(&flow, None, &());
    let again = parse_flow(&printed, &()).unwrap_or_else(|error| panic!("{text} is printed as {printed}: {error}"));
    assert_eq!(flow, again, "{text} is printed as {printed}");
    assert_eq!(format_flow(&again, None, &()), printed, "{text}");
}

#[test]
fn what_is_printed_reads_the_same() {
    run("grammar", case);
}
