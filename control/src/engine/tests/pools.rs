//! Pools: who is in which, what sorters and workers are told, when.

use super::*;

/// A switch with guests vm1, vm2 (ports 1, 2) and uplink eth1 (port 3), port 0 being the bridge's own.
fn bench() -> Bench {
    let mut bench = Bench::new(&["vm1", "vm2"]);
    let columns = vec!["type=afxdp".to_owned(), "netdev=eth1".to_owned()];
    let (bridge, port) = ("br0".to_owned(), "eth1".to_owned());
    bench.engine.transact(&[Command::AddPort { bridge, port, may_exist: false, columns }]).unwrap();
    bench.taken();
    bench
}

fn pool(name: &str, columns: &[&str]) -> Command {
    let columns = columns.iter().map(|&column| column.to_owned()).collect();
    Command::PoolSet { pool: name.to_owned(), columns }
}

fn learned(mac: u8, vlan: u16, port: u16) -> FdbEntry {
    FdbEntry { vlan, mac: [2, 0, 0, 0, 0, mac], port: PortId(port), age: Some(1) }
}

fn in_pools(bench: &Bench) -> String {
    let ports = bench.engine.state.ports();
    let words = ports.map(|port| format!("{}:{}*{}", port.name, port.pool.id().0, port.pool.spec().weight));
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn a_port_in_no_pool_is_one_of_its_own_and_made_explicit_by_its_name() {
    let mut bench = bench();
    assert_eq!(in_pools(&bench), "br0:0*100 vm1:1*100 vm2:2*100 eth1:3*100");
    bench.engine.transact(&[pool("vm1", &["weight=200"]), pool("web", &["ports=vm2,br0", "weight=7"])]).unwrap();
    assert_eq!(in_pools(&bench), "br0:1025*7 vm1:1024*200 vm2:1025*7 eth1:3*100");
    let get = Command::Get {
        table: "pool".to_owned(),
        record: "vm1".to_owned(),
        columns: ["ports", "weight", "filters"].map(str::to_owned).to_vec(),
        if_exists: false,
    };
    let answer = bench.engine.transact(&[get]).unwrap();
    assert_eq!(answer[0], serde_json::json!({ "ports": ["vm1"], "weight": 200, "filters": [] }));
    let gone = Command::PoolDel { pool: "web".to_owned(), if_exists: false };
    bench.engine.transact(&[gone, set("pool", "vm2", "weight=5")]).unwrap();
    assert_eq!(in_pools(&bench), "br0:0*100 vm1:1024*200 vm2:1026*5 eth1:3*100");
}

#[test]
fn a_pool_that_did_not_change_keeps_its_buckets_and_a_weight_is_one_publication() {
    let mut bench = bench();
    bench.engine.transact(&[pool("web", &["ports=vm1", "max_rate=8000", "filters=02:00:00:00:00:01"])]).unwrap();
    let of = |bench: &Bench| Arc::clone(&bench.engine.state.port_named("vm1").unwrap().pool);
    let before = of(&bench);
    bench.engine.transact(&[pool("web", &["ports=vm1,vm2"]), pool("web", &["filters=auto"])]).unwrap();
    assert!(Arc::ptr_eq(&before, &of(&bench)), "a pool got other buckets because a port joined it");
    assert_eq!(before.spec().max.shape_bytes.map(|rate| rate.per_second), Some(1000));
    bench.taken();
    bench.engine.transact(&[pool("web", &["weight=300"])]).unwrap();
    assert_eq!(bench.taken(), ["publish vm1=1 vm2=2 eth1=3"]);
    assert_eq!(of(&bench).spec().weight, 300);
    assert_eq!(of(&bench).id(), before.id());
}

#[test]
fn uplinks_sort_by_what_the_operator_said_and_by_what_is_learned() {
    let mut bench = bench();
    *bench.addresses.borrow_mut() = vec![learned(9, 0, 2), learned(8, 5, 2), learned(1, 0, 2), learned(7, 0, 3)];
    bench.engine.transact(&[pool("web", &["ports=vm1", "filters=02:00:00:00:00:01,02:00:00:00:00:02,10"])]).unwrap();
    let said = "web*100 02:00:00:00:00:01 02:00:00:00:00:02,10";
    let all = format!("sort 3: vm2*100 02:00:00:00:00:08,5 02:00:00:00:00:09; {said}");
    assert_eq!(
        bench.taken(),
        ["publish vm1=1 vm2=2 eth1=3", &all],
        "what two claim is the one's who was said to have it"
    );

    // Nothing new, nothing done; soon after not even looked at.
    bench.engine.tend(10_000);
    assert_eq!(bench.taken(), [""; 0]);
    bench.addresses.borrow_mut().retain(|entry| entry.mac[5] != 9);
    bench.engine.tend(10_500);
    assert_eq!(bench.taken(), [""; 0]);
    bench.engine.tend(11_000);
    let fewer = format!("sort 3: vm2*100 02:00:00:00:00:08,5; {said}");
    assert_eq!(bench.taken(), ["publish vm1=1 vm2=2 eth1=3", &fewer]);

    // The port's device is another one: it has to be told.
    bench.engine.transact(&[set("interface", "eth1", "options:n_rxq=1")]).unwrap();
    assert_eq!(bench.taken().last(), Some(&fewer));
    bench.engine.transact(&[pool("web", &["weight=5"])]).unwrap();
    assert!(bench.taken().last().unwrap().contains("web*5"), "its weight counts there too");

    // Another sorter is no other device.
    bench.engine.transact(&[set("interface", "eth1", "options:sorter=xdp")]).unwrap();
    let by_xdp = fewer.replace("sort 3:", "sort 3 by xdp:").replace("web*100", "web*5");
    assert_eq!(bench.taken(), ["publish vm1=1 vm2=2 eth1=3", &by_xdp]);
}

#[test]
fn an_address_that_flows_and_learning_see_at_different_pools_is_nobodys() {
    let mut bench = bench();
    bench.engine.add_flows("br0", &["dl_dst=02:00:00:00:00:05 actions=output:vm1".to_owned()]).unwrap();
    bench.taken();
    bench.engine.tend(5_000);
    assert_eq!(bench.taken(), ["publish vm1=1 vm2=2 eth1=3", "sort 3: vm1*100 02:00:00:00:00:05"]);
    let trace = |bench: &mut Bench, address: &str| bench.engine.pool_trace(None, address).unwrap().remove(0);
    let found = trace(&mut bench, "02:00:00:00:00:05");
    assert_eq!((found.pool.as_deref(), found.origin.as_deref()), (Some("vm1"), Some("flow")));
    assert_eq!(found.uplinks[0].sorting.uplink, "eth1");
    bench.addresses.borrow_mut().push(learned(5, 0, 2));
    let why = trace(&mut bench, "02:00:00:00:00:05").why.unwrap();
    assert_eq!(why, "pools vm1 and vm2 both claim it, so it is sorted for neither");
    assert_eq!(bench.taken(), ["publish vm1=1 vm2=2 eth1=3", "sort 3: "]);
    bench.addresses.borrow_mut().push(learned(6, 0, 3));
    assert_eq!(trace(&mut bench, "02:00:00:00:00:06").why.as_deref(), Some("it is behind eth1, an uplink"));
    assert!(bench.engine.pool_trace(Some("br9"), "02:00:00:00:00:06").is_err());
    assert!(bench.engine.pool_trace(None, "02:00:00").unwrap_err().contains("expected an address"));
}

#[test]
fn a_port_that_goes_leaves_its_pool_and_the_last_one_takes_the_pool_along() {
    let mut bench = bench();
    bench.engine.transact(&[pool("web", &["ports=vm1,vm2"])]).unwrap();
    bench.engine.transact(&[del("vm1")]).unwrap();
    let names = |bench: &Bench| {
        bench.engine.pool_list().into_iter().map(|pool| (pool.name, pool.ports.join(","))).collect::<Vec<_>>()
    };
    let pair = |name: &str, ports: &str| (name.to_owned(), ports.to_owned());
    assert_eq!(names(&bench), [pair("br0", "br0"), pair("eth1", "eth1"), pair("web", "vm2")]);
    bench.engine.transact(&[del("vm2")]).unwrap();
    assert_eq!(names(&bench), [pair("br0", "br0"), pair("eth1", "eth1")]);
    assert!(!bench.engine.to_toml().contains("pools"));
}

#[test]
fn a_transaction_with_a_wrong_pool_changes_nothing() {
    let mut bench = bench();
    bench.engine.transact(&[pool("web", &["ports=vm1", "filters=02:00:00:00:00:01"])]).unwrap();
    bench.taken();
    let cases = [
        (pool("db", &["ports=vm1"]), "pool web: port vm1 is in pool db already; a port is in one pool at most"),
        (pool("db", &["ports=vm3"]), "pool db: there is no port vm3; did you mean \"vm1\"?"),
        (pool("db", &["weight=5"]), "pool db: it has no ports; expected ports, the names of at least one"),
        (
            pool("db", &["ports=vm2", "filters=02:00:00:00:00:01"]),
            "pool web: 02:00:00:00:00:01 is a filter of pool db already, on the same bridge",
        ),
        (pool("vm2", &["ports=br0"]), "pool vm2: it is named as port vm2, which is not one of its ports"),
        (pool("web", &["weight=0"]), "weight: \"0\" is not a number from 1 to 10000"),
        (pool("web", &["wieght=1"]), "Pool does not contain a column \"wieght\" (did you mean \"weight\"?)"),
        (pool("web", &["min_rate=9", "max_rate=8"]), "pool web: min_rate is 9; expected at most max_rate, 8"),
        (
            pool("web", &["filters=01:00:5e:00:00:01"]),
            "pool web: \"01:00:5e:00:00:01\" is a group address, not one VM's: expected an address such as \
             52:54:00:00:00:01, or 52:54:00:00:00:01,10 in VLAN 10",
        ),
        (Command::PoolDel { pool: "wbe".to_owned(), if_exists: false }, "no pool named wbe; did you mean \"web\"?"),
        (
            Command::PoolDel { pool: "vm2".to_owned(), if_exists: false },
            "port vm2 is a pool of its own, which goes with the port",
        ),
        (set("pool", "db", "weight=1"), "no row \"db\" in table Pool"),
    ];
    let before = bench.engine.to_toml();
    for (command, expected) in cases {
        let commands = [set("port", "vm2", "tag=5"), command];
        assert_eq!(bench.engine.transact(&commands).unwrap_err(), expected);
        assert_eq!(bench.engine.to_toml(), before);
        assert_eq!(bench.taken(), [""; 0]);
    }
}

#[test]
fn many_flows_are_read_in_turns_and_one_more_in_one() {
    let mut bench = bench();
    let mut flows: Vec<_> = (0..5000)
        .map(std::net::Ipv4Addr::from_bits)
        .map(|address| format!("tcp,nw_src={address} actions=drop"))
        .collect();
    flows.push("dl_dst=02:00:00:00:00:05 actions=output:vm1".to_owned());
    bench.engine.add_flows("br0", &flows).unwrap();
    bench.taken();
    let turns = |bench: &mut Bench, now_ms| {
        bench.engine.tend(now_ms);
        let mut turns = 1;
        while bench.engine.is_busy() {
            bench.engine.go_on(now_ms);
            turns += 1;
        }
        turns
    };
    let many = turns(&mut bench, 5_000);
    assert!(many >= 5, "{many} turns");
    assert_eq!(bench.taken(), ["publish vm1=1 vm2=2 eth1=3", "sort 3: vm1*100 02:00:00:00:00:05"]);

    bench.engine.add_flows("br0", &["dl_dst=02:00:00:00:00:06 actions=output:vm2".to_owned()]).unwrap();
    bench.taken();
    assert_eq!(turns(&mut bench, 7_000), 1);
    let both = "sort 3: vm1*100 02:00:00:00:00:05; vm2*100 02:00:00:00:00:06";
    assert_eq!(bench.taken(), ["publish vm1=1 vm2=2 eth1=3", both]);

    // Another port's pool is another basis: all is read again, and what was known counts until then.
    bench.engine.transact(&[pool("web", &["ports=vm2"])]).unwrap();
    assert_eq!(bench.taken(), ["publish vm1=1 vm2=2 eth1=3", "sort 3: vm1*100 02:00:00:00:00:05"]);
    assert!(turns(&mut bench, 9_000) >= 4, "the first turn was the transaction's");
    let moved = "sort 3: vm1*100 02:00:00:00:00:05; web*100 02:00:00:00:00:06";
    assert_eq!(bench.taken(), ["publish vm1=1 vm2=2 eth1=3", moved]);

    bench.engine.del_flows("br0", Some("dl_dst=02:00:00:00:00:05"), false).unwrap();
    bench.taken();
    assert_eq!(turns(&mut bench, 11_000), 1);
    assert_eq!(bench.taken(), ["publish vm1=1 vm2=2 eth1=3", "sort 3: web*100 02:00:00:00:00:06"]);
}
