//! Open vSwitch's configuration commands, and what each does to the wanted switch. Pure.
//!
//! Several commands are one transaction: they edit a copy of the model one after the other, and only the result is applied.
//! Trust: text from operators; an error names the command's object and changes nothing. Neighbours: `rpc` carries
//! commands, `engine` applies the edited model and answers the queries.

mod records;

use serde::{Deserialize, Serialize};

use crate::model::{
    Bridge, Pool, Port, Record, Settings, Switch, Value, bridge_column, controller_column, near_miss, pool_column,
    port_column, qos_column, queue_column, workers_column,
};
pub use records::{check_references, resolve};

/// A command of a transaction. Queries among them see the switch after the transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
#[allow(missing_docs)]
pub enum Command {
    /// A new bridge.
    AddBr {
        bridge: String,
        #[serde(default)]
        may_exist: bool,
    },
    /// A bridge and its ports go.
    DelBr {
        bridge: String,
        #[serde(default)]
        if_exists: bool,
    },
    /// The bridges' names.
    ListBr {},
    /// A new port.
    AddPort {
        bridge: String,
        port: String,
        #[serde(default)]
        may_exist: bool,
        #[serde(default)]
        columns: Vec<String>,
    },
    /// A port goes; of this bridge, or of whichever has it.
    DelPort {
        bridge: Option<String>,
        port: String,
        #[serde(default)]
        if_exists: bool,
    },
    /// A bridge's ports' names.
    ListPorts { bridge: String },
    /// Columns of a record.
    Set { table: String, record: String, columns: Vec<String> },
    /// Columns of a record go back to their default.
    Clear { table: String, record: String, columns: Vec<String> },
    /// Keys of a column that is a map go.
    Remove { table: String, record: String, column: String, keys: Vec<String> },
    /// A new record of table `qos` or `queue`; `id` is how other commands of the transaction call it. The answer is its name.
    Create { table: String, id: Option<String>, columns: Vec<String> },
    /// Records of these tables go: the named ones, or all.
    Destroy {
        table: String,
        #[serde(default)]
        records: Vec<String>,
        #[serde(default)]
        all: bool,
        #[serde(default)]
        if_exists: bool,
    },
    /// All columns of records; of all records when none is named.
    List {
        table: String,
        #[serde(default)]
        records: Vec<String>,
    },
    /// The same, read. Without columns: all.
    Get {
        table: String,
        record: String,
        #[serde(default)]
        columns: Vec<String>,
        #[serde(default)]
        if_exists: bool,
    },
    /// What a bridge does without a controller: `standalone` or `secure`.
    SetFailMode { bridge: String, mode: String },
    /// The same, read.
    GetFailMode { bridge: String },
    /// Back to the default.
    DelFailMode { bridge: String },
    /// The controllers of a bridge.
    SetController { bridge: String, targets: Vec<String> },
    /// The same, read.
    GetController { bridge: String },
    /// No controllers.
    DelController { bridge: String },
    /// Key, certificate and authority for TLS.
    SetSsl { private_key: String, certificate: String, ca_cert: String },
    /// The same, read.
    GetSsl {},
    /// No TLS.
    DelSsl {},
    /// Columns of a pool, which is made when there is none.
    PoolSet { pool: String, columns: Vec<String> },
    /// A pool goes; its ports are pools of their own then.
    PoolDel {
        pool: String,
        #[serde(default)]
        if_exists: bool,
    },
    /// All pools, ports that are in none included.
    PoolList {},
    /// Everything at a glance.
    Show {},
}

/// The tables that `set` and `get` know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// Bridges by name.
    Bridge,
    /// Ports by name.
    Port,
    /// The ports' interfaces, by the port's name.
    Interface,
    /// A bridge's controllers, by the bridge's name.
    Controller,
    /// The switch itself, whose name is `.`.
    OpenVSwitch,
    /// Pools by name.
    Pool,
    /// How senders share a port.
    QoS,
    /// Queues of these.
    Queue,
}

impl Table {
    const NAMES: [(&'static str, Self); 8] = [
        ("bridge", Self::Bridge),
        ("port", Self::Port),
        ("interface", Self::Interface),
        ("controller", Self::Controller),
        ("open_vswitch", Self::OpenVSwitch),
        ("pool", Self::Pool),
        ("qos", Self::QoS),
        ("queue", Self::Queue),
    ];

    /// From the operator's word; a beginning is enough, and case does not count.
    ///
    /// # Errors
    /// When there is no such table.
    pub fn parse(word: &str) -> Result<Self, String> {
        let lower = word.to_ascii_lowercase();
        let known = |(name, _): &&(&str, Self)| !lower.is_empty() && name.starts_with(&lower);
        Self::NAMES.iter().find(known).map(|(_, table)| *table).ok_or_else(|| {
            let hint = near_miss(&lower, Self::NAMES.map(|(name, _)| name));
            let hint = hint.map(|name| format!("; did you mean \"{name}\"?")).unwrap_or_default();
            format!(
                "unknown table \"{word}\"; expected bridge, port, interface, controller, pool, qos, queue or open_vswitch{hint}"
            )
        })
    }
}

/// Makes one command's change in `switch`; queries change nothing.
///
/// # Errors
/// What is wrong, in `ovs-vsctl`'s words where it has some. `switch` may be half edited then: throw it away.
pub fn edit(switch: &mut Switch, command: &Command) -> Result<(), String> {
    match command {
        Command::AddBr { bridge, may_exist } => add_bridge(switch, bridge, *may_exist),
        Command::DelBr { bridge, if_exists } => del_bridge(switch, bridge, *if_exists),
        Command::AddPort { bridge, port, may_exist, columns } => add_port(switch, bridge, port, *may_exist, columns),
        Command::DelPort { bridge, port, if_exists } => del_port(switch, bridge.as_deref(), port, *if_exists),
        Command::Set { table, record, columns } => set(switch, Table::parse(table)?, record, columns),
        Command::Clear { table, record, columns } => {
            let cleared: Vec<String> = columns.iter().map(|column| format!("{column}=[]")).collect();
            set(switch, Table::parse(table)?, record, &cleared)
        }
        Command::Remove { table, record, column, keys } => {
            let cleared: Vec<String> = keys.iter().map(|key| format!("{column}:{key}=[]")).collect();
            set(switch, Table::parse(table)?, record, &cleared)
        }
        Command::Create { table, id, columns } => {
            records::create(switch, Table::parse(table)?, id.as_deref().unwrap_or_default(), columns)
        }
        Command::Destroy { table, records, all, if_exists } => {
            records::destroy(switch, Table::parse(table)?, records, *all, *if_exists)
        }
        Command::SetFailMode { bridge, mode } => column_of(switch, bridge, &format!("fail_mode={mode}")),
        Command::DelFailMode { bridge } => column_of(switch, bridge, "fail_mode=[]"),
        Command::SetController { bridge, targets } => {
            column_of(switch, bridge, &format!("controller={}", targets.join(",")))
        }
        Command::DelController { bridge } => column_of(switch, bridge, "controller=[]"),
        Command::SetSsl { private_key, certificate, ca_cert } => {
            let files = [("private-key", private_key), ("certificate", certificate), ("ca-cert", ca_cert)];
            files.into_iter().for_each(|(name, file)| switch.ssl.replace(name, Some(Value::Text(file.clone()))));
            Ok(())
        }
        Command::DelSsl {} => {
            switch.ssl = Settings::default();
            Ok(())
        }
        Command::PoolSet { pool, columns } => set_pool(switch, pool, columns),
        Command::PoolDel { pool, if_exists } => del_pool(switch, pool, *if_exists),
        Command::GetFailMode { bridge } | Command::GetController { bridge } => bridge_of(switch, bridge).map(drop),
        Command::ListBr {}
        | Command::ListPorts { .. }
        | Command::Get { .. }
        | Command::List { .. }
        | Command::GetSsl {}
        | Command::PoolList {}
        | Command::Show {} => Ok(()),
    }
}

fn add_bridge(switch: &mut Switch, name: &str, may_exist: bool) -> Result<(), String> {
    let refuse = |what: String| Err(format!("cannot create a bridge named {name} because {what}"));
    if switch.bridges.contains_key(name) {
        return if may_exist { Ok(()) } else { refuse(format!("a bridge named {name} already exists")) };
    }
    if let Some((bridge, _)) = switch.port(name) {
        return refuse(format!("a port named {name} already exists on bridge {bridge}"));
    }
    switch.bridges.insert(name.to_owned(), Bridge::default());
    Ok(())
}

fn del_bridge(switch: &mut Switch, name: &str, if_exists: bool) -> Result<(), String> {
    match switch.bridges.remove(name) {
        None if !if_exists => return Err(format!("no bridge named {name}")),
        None => {}
        Some(bridge) => bridge.ports.keys().map(String::as_str).chain([name]).for_each(|port| switch.leave_pools(port)),
    }
    Ok(())
}

fn add_port(switch: &mut Switch, bridge: &str, name: &str, may_exist: bool, columns: &[String]) -> Result<(), String> {
    let refuse = |what: String| Err(format!("cannot create a port named {name} because {what}"));
    if switch.bridges.contains_key(name) {
        return refuse(format!("a bridge named {name} already exists"));
    }
    match switch.port(name) {
        Some((other, _)) if other != bridge || !may_exist => {
            return refuse(format!("a port named {name} already exists on bridge {other}"));
        }
        Some(_) => return Ok(()),
        None => {}
    }
    let ports = &mut switch.bridges.get_mut(bridge).ok_or_else(|| format!("no bridge named {bridge}"))?.ports;
    let mut port = Port::default();
    for column in columns {
        port_column(&mut port, Record::Any, column).map_err(|error| error.to_string())?;
    }
    ports.insert(name.to_owned(), port);
    Ok(())
}

fn del_port(switch: &mut Switch, bridge: Option<&str>, name: &str, if_exists: bool) -> Result<(), String> {
    if let Some(bridge) = bridge.filter(|bridge| !switch.bridges.contains_key(*bridge)) {
        return if if_exists { Ok(()) } else { Err(format!("no bridge named {bridge}")) };
    }
    let Some(owner) = switch.port(name).map(|(owner, _)| owner.to_owned()) else {
        return match switch.bridges.contains_key(name) {
            true => Err(format!("cannot delete port {name} because it is the local port of bridge {name}")),
            false if if_exists => Ok(()),
            false => Err(format!("no port named {name}")),
        };
    };
    if let Some(bridge) = bridge.filter(|bridge| *bridge != owner) {
        return Err(format!("bridge {bridge} does not have a port {name} (although its bridge {owner} does)"));
    }
    if let Some(bridge) = switch.bridges.get_mut(&owner) {
        bridge.ports.remove(name);
    }
    switch.leave_pools(name);
    Ok(())
}

/// The pool that is to be changed: made when there is none. One that is made with a port's name has that port.
fn pool_mut<'a>(switch: &'a mut Switch, name: &str) -> &'a mut Pool {
    let is_port = switch.bridge_of_port(name).is_some();
    switch.pools.entry(name.to_owned()).or_insert_with(|| {
        let mut pool = Pool::default();
        if is_port {
            pool.settings.replace("ports", Some(Value::List(vec![name.to_owned()])));
        }
        pool
    })
}

fn set_pool(switch: &mut Switch, name: &str, columns: &[String]) -> Result<(), String> {
    let pool = pool_mut(switch, name);
    columns.iter().try_for_each(|column| pool_column(pool, column)).map_err(|error| error.to_string())
}

fn del_pool(switch: &mut Switch, name: &str, if_exists: bool) -> Result<(), String> {
    if switch.pools.remove(name).is_some() || if_exists {
        return Ok(());
    }
    if switch.bridge_of_port(name).is_some() {
        return match switch.pool_of_port(name) {
            Some(pool) => Err(format!("no pool named {name} (port {name} is in pool {pool})")),
            None => Err(format!("port {name} is a pool of its own, which goes with the port")),
        };
    }
    let hint = near_miss(name, switch.pools.keys().map(String::as_str));
    let hint = hint.map(|hint| format!("; did you mean \"{hint}\"?")).unwrap_or_default();
    Err(format!("no pool named {name}{hint}"))
}

fn bridge_of<'a>(switch: &'a mut Switch, name: &str) -> Result<&'a mut Bridge, String> {
    switch.bridges.get_mut(name).ok_or_else(|| format!("no bridge named {name}"))
}

fn column_of(switch: &mut Switch, bridge: &str, column: &str) -> Result<(), String> {
    bridge_column(bridge_of(switch, bridge)?, column).map_err(|error| error.to_string())
}

fn set(switch: &mut Switch, table: Table, name: &str, columns: &[String]) -> Result<(), String> {
    let no_row = || format!("no row \"{name}\" in table {table:?}");
    for column in columns {
        let done = match table {
            Table::QoS => qos_column(switch.shaping.qos.get_mut(name).ok_or_else(no_row)?, column),
            Table::Queue => queue_column(switch.shaping.queues.get_mut(name).ok_or_else(no_row)?, column),
            Table::Bridge | Table::Controller => {
                let bridge = switch.bridges.get_mut(name).ok_or_else(no_row)?;
                if table == Table::Bridge { bridge_column(bridge, column) } else { controller_column(bridge, column) }
            }
            Table::OpenVSwitch if name == "." => workers_column(&mut switch.workers, column),
            Table::OpenVSwitch => return Err(format!("no row \"{name}\" in table Open_vSwitch, whose only one is .")),
            Table::Pool if switch.pools.contains_key(name) || is_own_pool(switch, name) => {
                pool_column(pool_mut(switch, name), column)
            }
            Table::Pool => return Err(format!("no row \"{name}\" in table {table:?}")),
            Table::Port | Table::Interface if switch.bridges.contains_key(name) => {
                return Err(format!("{name} is the bridge's own port, which has no columns that can be set"));
            }
            Table::Port | Table::Interface => {
                let ports = switch.bridges.values_mut().find_map(|bridge| bridge.ports.get_mut(name));
                port_column(
                    ports.ok_or_else(no_row)?,
                    if table == Table::Port { Record::Port } else { Record::Interface },
                    column,
                )
            }
        };
        done.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// A port that was put into no pool.
fn is_own_pool(switch: &Switch, name: &str) -> bool {
    switch.bridge_of_port(name).is_some() && switch.pool_of_port(name).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(commands: &[Command]) -> Result<Switch, String> {
        let mut switch = Switch::default();
        commands.iter().try_for_each(|command| edit(&mut switch, command)).map(|()| switch)
    }

    fn bridge(bridge: &str) -> Command {
        Command::AddBr { bridge: bridge.to_owned(), may_exist: false }
    }

    fn port(bridge: &str, port: &str, columns: &[&str]) -> Command {
        let columns = columns.iter().map(|&column| column.to_owned()).collect();
        Command::AddPort { bridge: bridge.to_owned(), port: port.to_owned(), may_exist: false, columns }
    }

    fn set(table: &str, record: &str, columns: &[&str]) -> Command {
        let columns = columns.iter().map(|&column| column.to_owned()).collect();
        Command::Set { table: table.to_owned(), record: record.to_owned(), columns }
    }

    #[test]
    fn the_long_and_the_short_form_of_add_port_mean_the_same() {
        let columns = ["type=vhost-user", "options:path=/run/vm1.sock", "options:mode=client"];
        let long = run(&[bridge("br0"), port("br0", "vm1", &["tag=3"]), set("Interface", "vm1", &columns)]).unwrap();
        let columns = ["type=vhost-user", "path=/run/vm1.sock", "mode=client", "tag=3"];
        assert_eq!(run(&[bridge("br0"), port("br0", "vm1", &columns)]).unwrap(), long);
    }

    #[test]
    fn refusals_are_those_of_ovs_vsctl() {
        let del_br = |name: &str| Command::DelBr { bridge: name.to_owned(), if_exists: false };
        let del_port = |name: &str| Command::DelPort { bridge: None, port: name.to_owned(), if_exists: false };
        let cases: [(&[Command], &str); 11] = [
            (
                &[bridge("br0"), bridge("br0")],
                "cannot create a bridge named br0 because a bridge named br0 already exists",
            ),
            (&[del_br("br0")], "no bridge named br0"),
            (&[port("br0", "vm1", &[])], "no bridge named br0"),
            (
                &[bridge("br0"), port("br0", "vm1", &[]), port("br0", "vm1", &[])],
                "cannot create a port named vm1 because a port named vm1 already exists on bridge br0",
            ),
            (&[bridge("br0"), del_port("vm1")], "no port named vm1"),
            (&[bridge("br0"), del_port("br0")], "cannot delete port br0 because it is the local port of bridge br0"),
            (
                &[bridge("br0"), port("br0", "vm1", &[]), bridge("vm1")],
                "cannot create a bridge named vm1 because a port named vm1 already exists on bridge br0",
            ),
            (
                &[bridge("br0"), set("port", "br0", &["tag=1"])],
                "br0 is the bridge's own port, which has no columns that can be set",
            ),
            (&[set("port", "vm1", &["tag=1"])], "no row \"vm1\" in table Port"),
            (&[bridge("br0"), set("bridge", "br0", &["mac=1"])], "Bridge does not contain a column \"mac\""),
            (
                &[set("prot", "x", &["a=b"])],
                "unknown table \"prot\"; expected bridge, port, interface, controller, pool, qos, queue or open_vswitch; did you mean \"port\"?",
            ),
        ];
        for (commands, expected) in cases {
            assert_eq!(run(commands).unwrap_err(), expected);
        }
    }
}
