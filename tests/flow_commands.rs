//! Tables, groups, meters and packets through rsctl, in ovs-ofctl's words.

mod common;

use std::fs;
use std::process::{Command, Stdio};

use common::{BRIDGE, Daemon, TWO_PORTS, eventually};
use serde_json::json;

#[test]
fn flows_of_all_tables_are_shown_by_table() {
    let daemon = Daemon::start(TWO_PORTS);
    daemon.ok(&["add-flow", BRIDGE, "table=9,ip actions=set_field:10.0.0.1->ip_dst,output:vm2"]);
    let first =
        "priority=5,in_port=vm1,send_flow_rem,importance=3 actions=load:5->reg0,write_metadata:7/0xff,goto_table:9";
    daemon.ok(&["add-flow", BRIDGE, first]);
    let all = " send_flow_rem importance=3, priority=5,in_port=1 actions=load:0x5->NXM_NX_REG0[],\
        write_metadata:0x7/0xff,goto_table:9\n priority=0 actions=NORMAL\n \
        table=9, ip actions=set_field:10.0.0.1->ip_dst,output:2\n";
    assert_eq!(daemon.ok(&["--no-stats", "dump-flows", BRIDGE]), all);
    let named = " table=9, ip actions=set_field:10.0.0.1->ip_dst,output:vm2\n";
    assert_eq!(daemon.ok(&["--no-stats", "--names", "dump-flows", BRIDGE, "table=9"]), named);
    let tables = daemon.ok(&["dump-tables", BRIDGE]);
    assert!(tables.starts_with("  table 0:\n    active=2, lookup="), "{tables}");
    assert!(tables.contains("  tables 2...8: ditto\n\n  table 9:\n    active=1, "), "{tables}");
    assert_eq!(daemon.ok(&["dump-aggregate", BRIDGE, "ip"]), "packet_count=0 byte_count=0 flow_count=1\n");
    assert_eq!(daemon.json(&["dump-aggregate", BRIDGE])["flow_count"], 3);
    daemon.ok(&["del-flows", BRIDGE, "table=9"]);
    assert_eq!(daemon.json(&["dump-aggregate", BRIDGE])["flow_count"], 2);
    let refused = daemon.refused(&["add-flow", BRIDGE, "table=9 actions=goto_table:3"]);
    assert!(refused.contains("column 17") && refused.contains("a later table"), "{refused}");
}

#[test]
fn groups_come_change_and_go_with_the_flows_that_use_them() {
    let daemon = Daemon::start(TWO_PORTS);
    let refused = daemon.refused(&["add-flow", BRIDGE, "tcp actions=group:1"]);
    assert!(refused.contains("OFPBAC_BAD_OUT_GROUP"), "{refused}");
    daemon.ok(&["add-group", BRIDGE, "group_id=1,type=select,bucket=output:vm1,bucket=weight:3,output:2"]);
    daemon.ok(&["add-flow", BRIDGE, "tcp actions=group:1"]);
    let shown =
        " group_id=1,type=select,bucket=bucket_id:0,actions=output:1,bucket=bucket_id:1,weight:3,actions=output:2\n";
    assert_eq!(daemon.ok(&["dump-groups", BRIDGE]), shown);
    assert!(daemon.ok(&["--names", "dump-groups", BRIDGE, "group_id=1"]).contains("output:vm2"));
    let report = daemon.json(&["dump-groups", BRIDGE, "1"]);
    assert_eq!(
        report[0]["buckets"][1],
        json!({"bucket_id": 1, "weight": 3, "watch_port": null, "watch_group": null, "actions": "output:2"})
    );
    daemon.ok(&["insert-buckets", BRIDGE, "group_id=1,command_bucket_id=0,bucket=bucket_id:7,actions=drop"]);
    daemon.ok(&["remove-buckets", BRIDGE, "group_id=1,command_bucket_id=first"]);
    let shown =
        " group_id=1,type=select,bucket=bucket_id:7,actions=drop,bucket=bucket_id:1,weight:3,actions=output:2\n";
    assert_eq!(daemon.ok(&["dump-groups", BRIDGE]), shown);
    let stats = daemon.ok(&["dump-group-stats", BRIDGE]);
    assert!(stats.starts_with(" group_id=1,duration=") && stats.contains(",ref_count=1,packet_count=0,"), "{stats}");
    assert!(stats.ends_with(",bucket1:packet_count=0,byte_count=0\n"), "{stats}");

    assert!(daemon.refused(&["mod-group", BRIDGE, "group_id=2,type=all"]).contains("OFPGMFC_UNKNOWN_GROUP"));
    daemon.ok(&["--may-create", "mod-group", BRIDGE, "group_id=2,type=ff,bucket=watch_port:1,output:1"]);
    fs::write(daemon.path("groups"), "modify group_id=2,type=all,bucket=2 # a comment\ngroup_id=2,type=all\n").unwrap();
    let refused = daemon.refused(&["add-groups", BRIDGE, "DIR/groups"]);
    assert!(refused.starts_with("DIR/groups: line 2: ") && refused.contains("OFPGMFC_GROUP_EXISTS"), "{refused}");
    assert!(daemon.ok(&["dump-groups", BRIDGE, "2"]).contains("type=ff"), "all or nothing");
    fs::write(daemon.path("groups"), "delete group_id=2\nadd group_id=3,type=indirect,bucket=2\n").unwrap();
    assert_eq!(daemon.json(&["add-groups", BRIDGE, "DIR/groups"]), json!({"count": 2}));
    daemon.ok(&["del-groups", BRIDGE, "group_id=1"]);
    assert_eq!(daemon.ok(&["dump-flows", BRIDGE, "tcp"]), "", "the flow went with its group");
    daemon.ok(&["del-groups", BRIDGE]);
    assert_eq!(daemon.ok(&["dump-groups", BRIDGE]), "");
    daemon.ok(&["del-groups", BRIDGE]);
}

#[test]
fn meters_come_change_and_go_with_the_flows_that_use_them() {
    let daemon = Daemon::start(TWO_PORTS);
    daemon.ok(&["add-meter", BRIDGE, "meter=1,kbps,burst,stats,bands=type=drop,rate=1000,burst_size=100"]);
    daemon.ok(&["add-flow", BRIDGE, "udp actions=meter:1,NORMAL"]);
    let shown = "meter=1 kbps burst stats bands=\ntype=drop rate=1000 burst_size=100\n";
    assert_eq!(daemon.ok(&["dump-meters", BRIDGE]), shown);
    daemon.ok(&["mod-meter", BRIDGE, "meter=1,pktps,bands=type=dscp_remark,rate=5,prec_level=1"]);
    let report = daemon.json(&["dump-meter", BRIDGE, "meter=1"]);
    let band = json!({"type": "dscp_remark", "rate": 5, "burst_size": null, "prec_level": 1});
    assert_eq!((&report[0]["unit"], &report[0]["bands"][0]), (&json!("pktps"), &band));
    let stats = daemon.ok(&["meter-stats", BRIDGE]);
    assert!(stats.starts_with("meter:1 flow_count:1 packet_in_count:0 byte_in_count:0 duration:"), "{stats}");
    assert!(stats.ends_with(" bands:\n0: packet_count:0 byte_count:0\n"), "{stats}");
    assert!(daemon.refused(&["meter-stats", BRIDGE, "meter=7"]).contains("OFPMMFC_UNKNOWN_METER"));
    let refused = daemon.refused(&["add-meter", BRIDGE, "meter=2,bands=type=drop,rate=1"]);
    assert!(refused.contains("no unit") && refused.contains("kbps or pktps"), "{refused}");
    daemon.ok(&["del-meter", BRIDGE, "meter=1"]);
    assert_eq!(daemon.ok(&["dump-flows", BRIDGE, "udp"]), "", "the flow went with its meter");
    daemon.ok(&["del-meters", BRIDGE]);
}

#[test]
fn a_file_says_which_flows_a_bridge_has() {
    let daemon = Daemon::start(TWO_PORTS);
    daemon.ok(&["add-flow", BRIDGE, "cookie=1,tcp actions=1"]);
    daemon.ok(&["add-flow", BRIDGE, "udp actions=2"]);
    fs::write(daemon.path("flows"), "tcp cookie=1 actions=output:vm1\ntable=3,arp actions=drop\nudp actions=1\n")
        .unwrap();
    let output = daemon.run(&["diff-flows", BRIDGE, "DIR/flows"]);
    let differences =
        "-udp actions=output:2\n+udp actions=output:1\n-priority=0 actions=NORMAL\n+table=3, arp actions=drop\n";
    assert_eq!((String::from_utf8_lossy(&output.stdout).as_ref(), output.status.code()), (differences, Some(2)));
    assert_eq!(daemon.json(&["replace-flows", BRIDGE, "DIR/flows"]), json!({"count": 3}));
    assert_eq!(daemon.ok(&["diff-flows", "DIR/flows", BRIDGE]), "");
    assert_eq!(daemon.ok(&["replace-flows", BRIDGE, "DIR/flows"]), "nothing to change\n");
    assert_eq!(daemon.ok(&["diff-flows", BRIDGE, BRIDGE]), "");
    fs::write(daemon.path("flows"), "icmp actions=drop\nnonsense actions=drop\n").unwrap();
    assert!(daemon.refused(&["replace-flows", BRIDGE, "DIR/flows"]).starts_with("DIR/flows: line 2: "));
    assert_eq!(daemon.json(&["dump-aggregate", BRIDGE])["flow_count"], 3, "all or nothing");
}

#[test]
fn a_packet_out_says_what_is_wrong_with_it() {
    let daemon = Daemon::start(TWO_PORTS);
    let frame = "ffffffffffff0200000000010806";
    daemon.ok(&["packet-out", BRIDGE, &format!("in_port=controller packet={frame} actions=output:1")]);
    daemon.ok(&["packet-out", BRIDGE, "none", "output:1", frame, frame]);
    for (text, parts) in [
        (format!("in_port=1 packet={frame}"), ["no actions", "actions="]),
        (format!("packet={frame} actions=1"), ["no in_port", "in_port=controller"]),
        ("in_port=1 actions=1".to_owned(), ["no packet", "packet=HEX"]),
        ("in_port=1 packet=0102 actions=1".to_owned(), ["packet is \"0102\"", "14 bytes"]),
        (format!("in_port=1,ip packet={frame} actions=1"), ["fields of the frame", "registers"]),
        (format!("in_port=1 packet={frame} actions=group:9"), ["refused", "OFPBAC_BAD_OUT_GROUP"]),
        (format!("in_port=1 packet={frame} actions=goto_table:9"), ["goto_table", "among actions"]),
    ] {
        let refused = daemon.refused(&["packet-out", BRIDGE, &text]);
        assert!(parts.iter().all(|part| refused.contains(part)), "{text}: {refused}");
    }
    assert_eq!(daemon.run(&["packet-out", BRIDGE, "1", "output:1"]).status.code(), Some(2));
}

#[test]
fn a_file_has_groups_and_meters_and_a_reload_touches_what_changed_in_it() {
    let config = |groups: &str, meters: &str, flow: &str| {
        format!("[bridges.br0]\nflows = [\"{flow}\"]\ngroups = [{groups}]\nmeters = [{meters}]\n")
    };
    // Each names the other one behind it: they come together.
    let chain = "\"group_id=1,type=all,bucket=group:2\", \"group_id=2,type=indirect,bucket=output:LOCAL\"";
    let meter = "\"meter=1,kbps,bands=type=drop,rate=1000,type=drop,rate=2000\"";
    let flow = "table=3,tcp actions=meter:1,group:1";
    let daemon = Daemon::start(&config(chain, meter, flow));
    let shown = |words: &[&str]| daemon.ok(words);
    let groups = " group_id=1,type=all,bucket=bucket_id:0,actions=group:2\n \
        group_id=2,type=indirect,bucket=bucket_id:0,actions=LOCAL\n";
    assert_eq!(shown(&["dump-groups", BRIDGE]), groups);
    assert_eq!(shown(&["--no-stats", "dump-flows", BRIDGE]), " table=3, tcp actions=meter:1,group:1\n");
    let dumped = shown(&["dump-config"]);
    assert!(dumped.contains("meters = [\"meter=1 kbps bands= type=drop rate=1000 type=drop rate=2000\"]"), "{dumped}");

    daemon.ok(&["add-group", BRIDGE, "group_id=9,type=all"]);
    let other = "\"group_id=1,type=all,bucket=group:2\", \"group_id=2,type=indirect,bucket=drop\"";
    daemon.write_config(&config(other, meter, flow));
    daemon.ok(&["reload"]);
    assert!(shown(&["dump-groups", BRIDGE, "2"]).ends_with("actions=drop\n"));
    assert_eq!(daemon.json(&["dump-groups", BRIDGE]).as_array().unwrap().len(), 3, "what was added by command stays");
    assert_eq!(daemon.json(&["dump-aggregate", BRIDGE])["flow_count"], 1);

    for (groups, meters, flow, parts) in [
        ("", meter, flow, ["bridges.br0.flows[0]", "names group 1"]),
        ("\"group_id=2,type=all\"", meter, "tcp actions=meter:2", ["bridges.br0.flows[0]", "names meter 2"]),
        ("\"group_id=1,type=all,bucket=group:7\"", meter, "actions=drop", ["group 1", "OFPBAC_BAD_OUT_GROUP"]),
        ("\"group_id=1,type=all,bucket=group:1\"", meter, "actions=drop", ["group 1", "OFPGMFC_LOOP"]),
        ("\"group_id=1\"", meter, flow, ["bridges.br0.groups[0]", "no type"]),
        (
            chain,
            "\"meter=1,kbps,bands=\", \"meter=1,kbps,bands=\"",
            flow,
            ["bridges.br0.meters[1]", "number 1 a second"],
        ),
        (chain, "5", flow, ["bridges.br0.meters[0]", "a meter as text"]),
    ] {
        daemon.write_config(&config(groups, meters, flow));
        let refused = daemon.refused(&["reload"]);
        assert!(parts.iter().all(|part| refused.contains(part)), "{groups} {meters} {flow}: {refused}");
        assert_eq!(daemon.json(&["dump-groups", BRIDGE]).as_array().unwrap().len(), 3, "nothing changed");
    }
    daemon.write_config(&config("", "", "actions=drop"));
    daemon.ok(&["reload"]);
    assert_eq!(shown(&["dump-groups", BRIDGE]), " group_id=9,type=all\n");
    assert_eq!(shown(&["dump-meters", BRIDGE]), "");
}

#[test]
fn a_trace_tells_what_would_become_of_a_packet() {
    let daemon = Daemon::start(TWO_PORTS);
    daemon.ok(&["add-group", BRIDGE, "group_id=1,type=indirect,bucket=set_field:1:2:3:4:5:6->eth_dst,output:2"]);
    for flow in [
        "priority=10,ip,in_port=1 actions=load:5->reg0,resubmit(,1),set_field:1.2.3.4->ip_src,goto_table:2",
        "table=1,cookie=7,tcp,tp_dst=80 actions=note:01",
        "table=2,ip,nw_dst=10.0.0.0/8 actions=write_actions(group:1)",
    ] {
        daemon.ok(&["add-flow", BRIDGE, flow]);
    }
    let told = daemon.ok(&["trace", BRIDGE, "in_port=vm1,tcp,nw_src=1.1.1.1,nw_dst=10.0.0.1,tp_dst=80"]);
    let lines = [
        "Flow: tcp,in_port=1,vlan_tci=0x0000,dl_src=00:00:00:00:00:00,dl_dst=00:00:00:00:00:00,nw_src=1.1.1.1,nw_dst=10.0.0.1,",
        "\nbridge(\"br0\")\n-------------\n 0. ip,in_port=1, priority 10\n    load:0x5->NXM_NX_REG0[]\n    resubmit(,1)\n",
        "\n     1. tcp,tp_dst=80, priority 32768, cookie 0x7\n            note:01\n    set_field:1.2.3.4->ip_src\n",
        "\n 2. ip,nw_dst=10.0.0.0/8, priority 32768\n    write_actions(group:1)\n",
        "    group:1\n",
        "set_field:01:02:03:04:05:06->eth_dst\n",
        "-> output to port 2\n",
        "\nFinal flow: tcp,reg0=0x5,in_port=1,",
        "dl_dst=00:00:00:00:00:00,nw_src=1.2.3.4,",
        "\nMegaflow: tcp,in_port=1,",
        "\nDatapath actions: 2\n",
    ];
    for line in lines {
        assert!(told.contains(line), "{line} is not in\n{told}");
    }
    let missed = daemon.ok(&["--names", "trace", BRIDGE, "in_port=vm1,udp,nw_dst=11.0.0.1"]);
    assert!(missed.contains("in_port=vm1") && missed.contains("\n 2. No match.\n"), "{missed}");
    assert!(missed.ends_with("Datapath actions: drop (no_rule)\n"), "{missed}");
    let arp = "ffffffffffff0200000000010806000108000604000102000000000101010101000000000000020202020000";
    let report = daemon.json(&["trace", BRIDGE, "in_port=2", arp]);
    assert!(report["flow"].as_str().unwrap().contains("arp_spa=1.1.1.1,arp_tpa=2.2.2.2,arp_op=1"), "{report}");
    assert_eq!((&report["outputs"], &report["dropped"]), (&json!(["flood"]), &json!(null)), "{report}");
    assert_eq!(daemon.json(&["dump-aggregate", BRIDGE])["packet_count"], 0, "nothing is counted");
    assert!(daemon.refused(&["trace", BRIDGE, "in_port=1", "0102"]).contains("14 bytes or more"));
    assert!(daemon.refused(&["trace", BRIDGE, "in_port=9x"]).contains("in_port"));
}

/// What `rsctl monitor` or `snoop` prints of so many messages, while `cause` happens again and again.
fn watched(daemon: &Daemon, words: &[&str], mut cause: impl FnMut()) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rsctl"));
    command.arg("--socket").arg(daemon.path("ctl.sock")).args(words).stdout(Stdio::piped());
    let mut child = command.spawn().expect("rsctl runs");
    eventually("the messages come", || {
        cause();
        child.try_wait().expect("it was started by us").is_some()
    });
    let output = child.wait_with_output().expect("rsctl ends");
    assert!(output.status.success(), "{words:?}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn what_controllers_are_told_is_shown() {
    let daemon = Daemon::start(TWO_PORTS);
    let frame = "ffffffffffff0200000000010806000108000604000102000000000a0a000001ffffffffffff0a000002";
    let told = watched(&daemon, &["monitor", "--count", "1", BRIDGE], || {
        daemon.ok(&["packet-out", BRIDGE, "controller", "controller", frame]);
    });
    assert!(told.starts_with("packet_in (xid=0x0): table=0 cookie="), "{told}");
    assert!(
        told.contains("total_len=42") && told.contains("data_len=42 arp,") && told.contains("arp_tpa=10.0.0.2"),
        "{told}"
    );
    assert!(told.contains("dl_src=02:00:00:00:00:01,dl_dst=ff:ff:ff:ff:ff:ff"), "{told}");
    let told = watched(&daemon, &["--json", "monitor", "--count", "1", BRIDGE], || {
        daemon.ok(&["add-flow", BRIDGE, "udp,cookie=0x5,send_flow_rem actions=drop"]);
        daemon.ok(&["del-flows", BRIDGE, "udp"]);
    });
    let told: serde_json::Value = serde_json::from_str(&told).expect("an object a line");
    assert_eq!(told["message"], "flow_removed");
    assert!(
        told["text"].as_str().is_some_and(|text| text.starts_with("udp reason=Delete table=0 cookie=0x5 ")),
        "{told}"
    );
    let told = watched(&daemon, &["snoop", "--count", "3", BRIDGE], || {
        watched(&daemon, &["monitor", "--count", "1", BRIDGE], || {
            daemon.ok(&["packet-out", BRIDGE, "controller", "controller", frame]);
        });
    });
    assert!(told.contains("hello (xid=") || told.contains("set_config (xid="), "{told}");
    let refused = daemon.refused(&["monitor", "nobr"]);
    assert!(refused.contains("nobr.mgmt") && refused.contains("is there a bridge named nobr?"), "{refused}");
}
