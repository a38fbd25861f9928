//! Groups and meters: against themselves, against the real `ovs-ofctl` where it is installed, and what is wrong with them.

use super::*;
use crate::flow::{BandKind, WATCH_ANY};

fn ovs_group(text: &str) -> Option<String> {
    let output = Command::new("ovs-ofctl").args(["-O", "OpenFlow15", "parse-group", text]).output().ok()?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    let group = stdout.lines().find_map(|line| line.trim().strip_prefix("ADD ").map(ToOwned::to_owned));
    Some(group.unwrap_or_else(|| panic!("{text}: {stdout}{}", String::from_utf8_lossy(&output.stderr))))
}

const GROUPS: &[&str] = &[
    "group_id=1,type=select,bucket=output:1,bucket=output:2",
    "group_id=1234,type=select,selection_method=hash,fields(ip_src,ip_dst),bucket=weight:100,actions=output:1",
    "group_id=1234,type=select,selection_method=hash,fields=ip_src,bucket=weight:100,actions=output:1",
    "group_id=9,type=select,selection_method=hash,selection_method_param=5,fields(\
        eth_dst=ff:ff:ff:00:00:00,ip_src=255.255.0.0,nw_proto,tcp_src),bucket=bucket_id:7,weight:100,watch_port:3,actions=output:1,\
        bucket=weight:0,actions=2",
    "group_id=1,type=select,selection_method=hash,fields(metadata=0xff,reg0,vlan_vid=0xfff,tcp_src=0xf0),bucket=1",
    "group_id=1,type=select,selection_method=dp_hash,bucket=output:1",
    "group_id=1,type=all,bucket=output:1,2,set_field:1:2:3:4:5:6->eth_src",
    "group_id=1,type=all,bucket=actions=output:1,2",
    "group_id=1,type=all",
    "group_id=0,type=indirect,bucket=drop",
    "group_id=1,type=ff,bucket=watch_port:1,output:1,bucket=watch_group:5,actions=output:2",
    "group_id=1,type=fast_failover,bucket=watch_port:1,watch_group:3,output:1",
    "group_id=4294967040 type=all bucket=output:1 bucket=output:2",
    "group_id=1,type=select,bucket=weight:5,bucket_id:3,output:1,set_field:1.2.3.4->ip_src,bucket=bucket_id=5,output:2",
    "group_id=1,type=select,bucket=weight:5,actions=",
    "group_id=1,type=all,bucket=group:2,resubmit(,3)",
];

#[test]
fn groups_print_as_ovs_ofctl_prints_them() {
    for text in GROUPS {
        let group = parse_group(text, &()).unwrap_or_else(|error| panic!("{error}"));
        let printed = format_group(&group, &());
        assert_eq!(parse_group(&printed, &()), Ok(group), "{text} -> {printed}");
        match ovs_group(text) {
            Some(wanted) => assert_eq!(printed, wanted, "{text}"),
            None => eprintln!("skipped: ovs-ofctl is not installed"),
        }
    }
}

#[test]
fn buckets_are_numbered_and_weighed_where_the_text_does_not_say() {
    let text = "group_id=1,type=select,bucket=bucket_id:1,output:1,bucket=output:2,bucket=weight:7,output:3";
    let group = parse_group(text, &()).expect("sound");
    let numbers: Vec<_> = group.buckets.iter().map(|bucket| (bucket.id, bucket.weight)).collect();
    assert_eq!(numbers, [(1, 1), (0, 1), (2, 7)]);
    assert_eq!(group.buckets[0].watch_port, WATCH_ANY);
    assert_eq!(parse_group("group_id=1,type=all,bucket=1", &()).expect("sound").buckets[0].weight, 0);
}

#[test]
fn a_command_says_which_buckets_it_means() {
    let change = parse_bucket_change("group_id=1,command_bucket_id=first,bucket=1", &()).expect("sound");
    assert_eq!((change.group, change.place, change.buckets.len()), (1, BucketPlace::First, 1));
    let change = parse_bucket_change("group_id=1,command_bucket_id=7", &()).expect("sound");
    assert_eq!((change.place, change.buckets.len()), (BucketPlace::Id(7), 0));
    assert_eq!(parse_bucket_change("group_id=1", &()).expect("sound").place, BucketPlace::All);
    assert_eq!(parse_bucket_change("group_id=1,bucket=1", &()).expect("sound").place, BucketPlace::Last);
    for (text, id) in [("", None), ("all", None), ("group_id=all", None), ("group_id=7", Some(7)), ("7", Some(7))] {
        assert_eq!(parse_group_id(text), Ok(id), "{text}");
    }
    for (text, id) in [("", None), ("meter=all", None), ("meter=7", Some(7)), ("7", Some(7))] {
        assert_eq!(parse_meter_id(text), Ok(id), "{text}");
    }
    assert_eq!(parse_meter_id("meter=controller"), Ok(Some(crate::flow::METER_CONTROLLER)));
}

#[test]
fn meters_read_and_print_as_ovs_has_them() {
    let text =
        "meter=1,pktps,stats,burst,bands=type=drop,rate=1000,burst_size=100,type=dscp_remark rate=7 prec_level=2";
    let meter = parse_meter(text).expect("sound");
    assert_eq!((meter.id, meter.pktps, meter.burst, meter.stats), (1, true, true, true));
    assert_eq!(meter.bands[1].kind, BandKind::DscpRemark(2));
    let wanted = "meter=1 pktps burst stats bands=\ntype=drop rate=1000 burst_size=100\n\
        type=dscp_remark rate=7 burst_size=0 prec_level=2";
    assert_eq!(format_meter(&meter), wanted);
    assert_eq!(parse_meter(wanted), Ok(meter));
    let slow = parse_meter("meter=slowpath kbps bands=type=drop rate=5").expect("sound");
    assert_eq!(format_meter(&slow), "meter=slowpath kbps bands=\ntype=drop rate=5");
}

#[test]
fn lines_of_statistics() {
    let stats = GroupStats { age_ms: 3025, references: 2, total: (7, 8), buckets: vec![(1, 2), (3, 4)] };
    let wanted = "group_id=1,duration=3.025s,ref_count=2,packet_count=7,byte_count=8,\
        bucket0:packet_count=1,byte_count=2,bucket1:packet_count=3,byte_count=4";
    assert_eq!(format_group_stats(1, &stats), wanted);
    let stats = MeterStats { age_ms: 5500, flows: 3, total: (10, 20), bands: vec![(1, 2)] };
    let wanted = "meter:1 flow_count:3 packet_in_count:10 byte_in_count:20 duration:5.500s bands:\n\
        0: packet_count:1 byte_count:2";
    assert_eq!(format_meter_stats(1, &stats), wanted);
}

#[test]
fn errors_in_groups_and_meters_say_what_where_and_what_was_expected() {
    for (text, column, parts) in [
        ("type=all,bucket=1", 18, ["group \"type", "no group_id", "group_id=NUMBER"]),
        ("group_id=1,bucket=1", 20, ["no type", "expected", "type=all"]),
        ("group_id=1,type=foo", 17, ["type", "foo", "fast_failover"]),
        ("group_id=0xffffff01,type=all", 10, ["group_id", "0xffffff01", "0 to 4294967040"]),
        ("group_id=1,type=indirect", 25, ["0 buckets", "expected", "one bucket"]),
        ("group_id=1,type=indirect,bucket=1,bucket=2", 35, ["2 buckets", "expected", "one bucket"]),
        ("group_id=1,type=ff,bucket=1", 20, ["watches nothing", "expected", "watch_port"]),
        ("group_id=1,type=all,bucket=weight:3,1", 21, ["weight", "expected", "select"]),
        ("group_id=1,type=all,bucket=fly", 28, ["unknown action", "fly", "output"]),
        ("group_id=1,type=all,bucket=1,bucket=actions=outptu:1", 45, ["unknown action", "outptu", "did you mean"]),
        ("group_id=1,type=all,bucket=goto_table:1", 28, ["goto_table", "among actions", "outside"]),
        ("group_id=1,type=all,bucket=", 28, ["without actions", "expected", "drop"]),
        ("group_id=1,type=all,bucket=bucket_id:1,1,bucket=bucket_id:1,2", 42, ["bucket_id 1", "second", "each bucket"]),
        ("group_id=1,type=all,selection_method=hash,bucket=1", 21, ["selection_method", "expected", "select"]),
        ("group_id=1,type=select,fields(ip_src),bucket=1", 24, ["selection", "expected", "selection_method=hash"]),
        ("group_id=1,type=select,selection_method=foo,bucket=1", 41, ["selection_method", "foo", "dp_hash"]),
        (
            "group_id=1,type=select,selection_method=hash,fields(foo),bucket=1",
            53,
            ["unknown field", "foo", "ovs-fields"],
        ),
    ] {
        let error = parse_group(text, &Ports).expect_err(text);
        let printed = error.to_string();
        assert!(parts.iter().all(|part| printed.contains(part)), "{text}: {printed}");
        assert_eq!(error.column, column, "{printed}");
    }
    for (text, column, parts) in [
        ("meter=0,kbps,bands=type=drop,rate=1", 7, ["meter", "\"0\"", "1 to 4294901760"]),
        ("meter=1,bands=type=drop,rate=1", 31, ["no unit", "expected", "kbps or pktps"]),
        ("meter=1,kbps,pktps,bands=type=drop,rate=1", 14, ["pktps", "another unit", "kbps or pktps"]),
        ("meter=1,kbps", 13, ["no bands", "expected", "type=drop"]),
        ("meter=1,kbps,bands=rate=1", 20, ["rate", "in front of a band", "type=drop"]),
        ("meter=1,kbps,bands=type=drop", 20, ["without a rate", "expected", "rate=RATE"]),
        ("meter=1,kbps,bands=type=drop,rate=1,prec_level=1", 37, ["prec_level", "drop band", "dscp_remark"]),
        ("meter=1,kbps,bnads=type=drop,rate=1", 14, ["unknown part", "bnads", "bands"]),
    ] {
        let error = parse_meter(text).expect_err(text);
        let printed = error.to_string();
        assert!(parts.iter().all(|part| printed.contains(part)), "{text}: {printed}");
        assert_eq!(error.column, column, "{printed}");
    }
}
