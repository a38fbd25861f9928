use std::path::Path;

use super::*;

fn errors(text: &str) -> Vec<String> {
    let errors = parse(text, Path::new("f.toml"), &[0, 1]).expect_err(text);
    errors.to_string().lines().map(str::to_owned).collect()
}

#[test]
fn a_file_becomes_a_switch_and_a_file_again() {
    let text = r#"
        [workers]
        cpus = [1]
        idle = "sleep"
        [bridges.br0]
        mac-aging-time = 60
        flows = ["priority=10,arp actions=NORMAL", "priority=0 actions=drop"]
        [bridges.br0.ports.vm1]
        type = "vhost-user"
        path = "/run/vm1.sock"
        packed = true
        trunks = [10, "20-22"]
        [bridges.br0.ports.eth1]
        type = "afxdp"
        [bridges.br1]
        [pools.web]
        ports = ["vm1", "br1"]
        filters = ["52:54:00:00:00:01", "52:54:00:00:00:02,10"]
        weight = 200
        max_rate = 1000000
    "#;
    let switch = parse(text, Path::new("f.toml"), &[0, 1]).unwrap();
    let br0 = &switch.bridges["br0"];
    assert_eq!(switch.cpus(), [1]);
    assert_eq!(br0.mac_aging_time(), 60);
    assert_eq!(br0.flows.len(), 2);
    assert_eq!(br0.ports["vm1"].settings.numbers("trunks"), Some(&[10, 20, 21, 22][..]));
    assert_eq!(switch.bridges["br1"].flows.iter().collect::<Vec<_>>(), [crate::model::DEFAULT_FLOW]);
    assert_eq!(switch.pools["web"].filters().unwrap().len(), 2);
    assert_eq!(parse(&to_toml(&switch), Path::new("again.toml"), &[0, 1]).unwrap(), switch);
}

#[test]
fn errors_name_the_place_what_was_found_and_what_was_expected() {
    let port = "[bridges.br0.ports.vm1]\ntype = \"vhost-user\"\npath = \"/run/vm1\"\n";
    let cases = [
        ("[bridge.br0]", "f.toml:1:2: unknown key \"bridge\"; did you mean \"bridges\"?"),
        ("bridges = 3", "f.toml:1:11: bridges: expected a table, found integer 3"),
        (
            "[workers]\ncolour = 1",
            "f.toml:2:1: unknown key \"colour\" in workers; expected one of cpus, cache-entries, idle, spin-us, resume-latency-us, pmd-rxq-isolate, \
             pmd-auto-lb, pmd-auto-lb-rebal-interval, pmd-auto-lb-load-threshold, pmd-auto-lb-improvement-threshold",
        ),
        ("[workers]\ncpus = [7]", "f.toml:2:8: workers.cpus: CPU 7 is not one this process may run on (0, 1)"),
        ("[workers]\ncpus = 1", "f.toml:2:8: workers.cpus: expected a list of numbers from 0 to 1023, found integer 1"),
        (
            &format!("{port}tag = \"10\""),
            "f.toml:4:7: bridges.br0.ports.vm1.tag: expected a number from 0 to 4095, found string \"10\"",
        ),
        (
            &format!("{port}paht = \"\""),
            "f.toml:4:1: unknown key \"paht\" in bridges.br0.ports.vm1; did you mean \"path\"?",
        ),
        (
            &format!("{port}netdev = \"eth0\""),
            "f.toml:4:10: bridges.br0.ports.vm1.netdev: a port of type vhost-user has no option netdev (it has path, mode, \
             owner, group, permissions, queues, packed, mrg-rxbuf, indirect, event-idx, in-order)",
        ),
        (
            &format!("{port}[bridges.br1.ports.vm2]\ntype = \"vhost-user\"\npath = \"/run/vm1\""),
            "f.toml:6:8: bridges.br1.ports.vm2.path: socket /run/vm1 is already used by port vm1",
        ),
        (
            "[bridges.br0.ports.eth0]\ntype = \"afxdp\"\n[bridges.br0.ports.up]\ntype = \"tap\"\nnetdev = \"eth0\"",
            "f.toml:3:20: bridges.br0.ports.up: netdev eth0 is already used by port eth0",
        ),
        (
            "[bridges.br0.ports.a]\n",
            "f.toml:1:20: bridges.br0.ports.a: it has no type; expected one of vhost-user, afxdp, tap, internal",
        ),
        (
            "[bridges.br0.ports.a]\ntype = \"vhost-user\"",
            "f.toml:1:20: bridges.br0.ports.a: a port of type vhost-user needs options:path, its socket",
        ),
        (
            "[bridges.br0.ports.a]\ntype = \"vhost-user\"\npath = \"x.sock\"",
            "f.toml:3:8: bridges.br0.ports.a.path: socket path \"x.sock\" is not an absolute path of at most 107 bytes",
        ),
        (
            "[bridges.br0.ports.e]\ntype = \"afxdp\"\npass = \"arp,ssh\"",
            "f.toml:3:8: bridges.br0.ports.e.pass: \"ssh\" is not a pass filter: expected arp, dl_type=NUMBER, tcp:PORT, \
             udp:PORT or dl_dst=MAC",
        ),
        (
            "[bridges.br0.ports.e]\ntype = \"afxdp\"\nframes = 1000",
            "f.toml:3:10: bridges.br0.ports.e.frames: frames is 1000; expected a power of two",
        ),
        (
            "[bridges.br0]\nflows = [\"table=254 actions=drop\"]",
            "f.toml:2:10: bridges.br0.flows[0]: flow \"table=254 actions=drop\", column 1: table 254; expected a table number, \
             0 to 253",
        ),
        (
            "[bridges.br0]\nflows = [5]",
            "f.toml:2:10: bridges.br0.flows[0]: expected a flow, such as \"priority=10,arp actions=NORMAL\", found integer 5",
        ),
        (
            "[bridges.averyveryverylongname]",
            "f.toml:1:10: bridges.averyveryverylongname: its name \"averyveryverylongname\" has 21 bytes, the kernel allows 15",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(errors(text), [expected], "{text}");
    }
}

#[test]
fn what_is_wrong_with_pools_is_told_with_its_place() {
    let with = |pools: &str| {
        let port = |name: &str| format!("[bridges.br0.ports.{name}]\ntype = \"vhost-user\"\npath = \"/run/{name}\"\n");
        errors(&format!("{}{}{pools}", port("vm1"), port("vm2")))
    };
    let cases = [
        ("[pools.a]\nprots = [\"vm1\"]", "f.toml:8:1: unknown key \"prots\" in pools.a; did you mean \"ports\"?"),
        ("[pools.a]\nweight = 2", "f.toml:7:8: pools.a: it has no ports; expected ports, the names of at least one"),
        (
            "[pools.a]\nports = [\"vm1\"]\nweight = 0",
            "f.toml:9:10: pools.a.weight: expected a number from 1 to 10000, found integer 0",
        ),
        (
            "[pools.a]\nports = [\"vm1\"]\npriority = 8",
            "f.toml:9:12: pools.a.priority: expected a number from 0 to 7, found integer 8",
        ),
        ("[pools.a]\nports = [\"vn1\"]", "f.toml:8:9: pools.a.ports: there is no port vn1; did you mean \"vm1\"?"),
        (
            "[pools.a]\nports = [\"vm1\"]\n[pools.b]\nports = [\"vm2\", \"vm1\"]",
            "f.toml:10:9: pools.b.ports: port vm1 is in pool a already; a port is in one pool at most",
        ),
        (
            "[pools.a]\nports = [\"vm1\"]\nfilters = [\"01:80:c2:00:00:00\"]",
            "f.toml:9:11: pools.a.filters: \"01:80:c2:00:00:00\" is a group address, not one VM's: expected an address such as \
             52:54:00:00:00:01, or 52:54:00:00:00:01,10 in VLAN 10",
        ),
        (
            "[pools.a]\nports = [\"vm1\"]\nfilters = [\"02:00:00:00:00:01,5\"]\n[pools.b]\nports = [\"vm2\"]\nfilters = \
             [\"02:00:00:00:00:01\", \"02:00:00:00:00:01,5\"]",
            "f.toml:12:11: pools.b.filters: 02:00:00:00:00:01,5 is a filter of pool a already, on the same bridge",
        ),
        (
            "[pools.a]\nports = [\"vm1\"]\nfilters = [\"auto\", \"02:00:00:00:00:01\"]",
            "f.toml:9:11: pools.a.filters: \"auto\" among addresses; expected it alone, or addresses only",
        ),
        (
            "[pools.a]\nports = [\"vm1\"]\nmin_rate = 20\nmax_rate = 10",
            "f.toml:9:12: pools.a.min_rate: min_rate is 20; expected at most max_rate, 10",
        ),
        (
            "[pools.vm2]\nports = [\"vm1\"]",
            "f.toml:8:9: pools.vm2.ports: it is named as port vm2, which is not one of its ports",
        ),
    ];
    for (pools, expected) in cases {
        assert_eq!(with(pools), [expected], "{pools}");
    }
}

#[test]
fn a_qos_has_its_queues_inside_or_names_them() {
    let text = r#"
        [qos.uplink]
        type = "linux-htb"
        max-rate = 1000000000
        [qos.uplink.queues.1]
        min-rate = 100000000
        priority = 1
        [qos.uplink.queues]
        2 = "bulk"
        [qos.other]
        type = "linux-hfsc"
        queues = { 0 = "uplink.1", 9 = "bulk" }
        [queues.bulk]
        max-rate = 8000000
        [bridges.br0.ports.eth1]
        type = "afxdp"
        qos = "uplink"
    "#;
    let text = text.replace("priority = 1\n", "\n");
    let switch = parse(&text, Path::new("f.toml"), &[0]).unwrap();
    let uplink = switch.shaping.of(&switch.bridges["br0"].ports["eth1"]).unwrap();
    assert_eq!(switch.shaping.queue(uplink, 1).unwrap().number("min-rate"), Some(100_000_000));
    assert_eq!(switch.shaping.queue(uplink, 2).unwrap().number("max-rate"), Some(8_000_000));
    let again = to_toml(&switch);
    assert!(again.contains("[qos.uplink.queues.1]") && again.contains("[queues.bulk]"), "{again}");
    assert_eq!(parse(&again, Path::new("again.toml"), &[0]).unwrap(), switch);
}

#[test]
fn errors_of_qos_name_their_place() {
    let qos = "[qos.up]\ntype = \"linux-htb\"\nmax-rate = 100\n";
    let cases = [
        ("[qos.up]\nmax-rate = 1", "f.toml:1:6: qos.up: it has no type; expected linux-htb or linux-hfsc"),
        (
            "[qos.up]\ntype = \"egress-policer\"",
            "f.toml:2:8: qos.up.type: expected one of linux-htb, linux-hfsc, found string \"egress-policer\"",
        ),
        (&format!("{qos}max_rate = 1"), "f.toml:4:1: unknown key \"max_rate\" in qos.up; did you mean \"max-rate\"?"),
        (
            &format!("{qos}[qos.up.queues.1]\nmin-rate = 101"),
            "f.toml:3:12: qos.up.max-rate: the min-rates of its queues add up to 101, above its max-rate 100",
        ),
        (
            &format!("{qos}[qos.up.queues.one]\nmin-rate = 1"),
            "f.toml:4:16: qos.up.queues.one: expected a queue's number from 0 to 61439",
        ),
        (
            &format!("{qos}[qos.up.queues.00]\nmin-rate = 1"),
            "f.toml:4:16: qos.up.queues.00: expected a queue's number from 0 to 61439",
        ),
        (
            &format!("{qos}[qos.up.queues.1]\nmin-rate = 9\nmax-rate = 8"),
            "f.toml:5:12: qos.up.queues.1.min-rate: min-rate 9 is above its max-rate 8",
        ),
        (
            &format!("{qos}queues = {{ 1 = \"x\" }}"),
            "f.toml:4:16: qos.up.queues.1: there is no queue named \"x\"; none is there",
        ),
        (
            "[bridges.br0.ports.eth1]\ntype = \"afxdp\"\nqos = \"up\"",
            "f.toml:3:7: bridges.br0.ports.eth1.qos: there is no qos named \"up\"; none is there",
        ),
        (
            &format!("[queues.\"up.1\"]\n{qos}[qos.up.queues.1]\n"),
            "f.toml:1:9: queues.up.1: there are two queues named \"up.1\"",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(errors(text), [expected], "{text}");
    }
}

#[test]
fn a_flow_that_cannot_be_read_is_reported_with_its_line() {
    let errors =
        errors("[bridges.br0]\nflows = [\n  \"arp actions=NORMAL\",\n  \"tcp,nw_dst=10.0.0.300 actions=drop\",\n]");
    assert_eq!(errors.len(), 1);
    assert!(errors[0].starts_with("f.toml:4:3: bridges.br0.flows[1]: "), "{errors:?}");
    assert!(errors[0].contains("10.0.0.300"), "{errors:?}");
}

#[test]
fn all_errors_of_a_file_are_reported_at_once() {
    let errors = errors("[workers]\ncpu = [0]\nidle = \"never\"\n[bridges.br0]\nmac-table-size = 1\n[switch]\n");
    assert_eq!(errors.len(), 4, "{errors:#?}");
    assert!(errors[0].starts_with("f.toml:2:1:") && errors[3].starts_with("f.toml:6:2:"), "{errors:#?}");
}

#[test]
fn text_that_is_not_toml_and_a_file_that_is_not_there_are_errors_too() {
    assert!(errors("[bridges.br0\n")[0].starts_with("f.toml:1:"));
    assert!(errors("a = \"\u{e9}\" b")[0].contains("not TOML"));
    let missing = load(Path::new("/nonexistent/f.toml"), &[0]).unwrap_err().to_string();
    assert!(missing.starts_with("/nonexistent/f.toml: cannot read the file: No such file"), "{missing}");
}

#[test]
fn every_example_is_a_configuration() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
    let mut loaded = 0;
    for entry in std::fs::read_dir(examples).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let switch = load(&path, &[0, 1]).unwrap_or_else(|errors| panic!("{errors}"));
            assert!(!switch.bridges.is_empty(), "{}", path.display());
            loaded += 1;
        }
    }
    assert!(loaded >= 5, "{loaded} examples");
}

#[test]
fn a_file_that_is_not_text_is_refused_by_line_and_column() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), b"[bridges.br0]\n# \xc3\xa4 \xff\n").unwrap();
    let errors = load(file.path(), &[0]).unwrap_err().errors;
    assert_eq!(errors, [ConfigError { at: Some((2, 5)), message: "not UTF-8".to_owned() }]);
}
