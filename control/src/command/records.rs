//! Records that are created and destroyed by themselves: tables QoS and Queue.
//!
//! Open vSwitch answers UUIDs and knows `--id=@name` within one command line. Here a record keeps that name, with a number
//! behind it when it is taken, and `create` answers it: scripts that keep the answer work with both.

use std::collections::{BTreeMap, BTreeSet};

use super::{Command, Table};
use crate::model::{Qos, Settings, Switch, qos_column, queue_column};

/// The transaction with real names: every `create` has one, and no `@name` is left. Pure.
///
/// # Errors
/// A name that is created twice, never, or is none.
pub fn resolve(switch: &Switch, commands: &[Command]) -> Result<Vec<Command>, String> {
    let mut names = Names { taken: BTreeSet::new(), by_id: BTreeMap::new() };
    let shaping = &switch.shaping;
    names.taken.extend(shaping.qos.keys().map(|name| (Table::QoS, name.clone())));
    names.taken.extend(shaping.queues.keys().map(|name| (Table::Queue, name.clone())));
    let mut resolved = commands.to_vec();
    for command in &mut resolved {
        if let Command::Create { table, id, .. } = command {
            *id = Some(names.create(Table::parse(table)?, id.as_deref())?);
        }
    }
    for command in &mut resolved {
        match command {
            Command::Set { columns, .. } | Command::Create { columns, .. } | Command::AddPort { columns, .. } => {
                columns.iter_mut().try_for_each(|column| names.replace(column))?;
            }
            _ => {}
        }
    }
    Ok(resolved)
}

struct Names {
    taken: BTreeSet<(Table, String)>,
    by_id: BTreeMap<String, String>,
}

impl Names {
    /// A name for a new record, and what it is called until the transaction ends.
    fn create(&mut self, table: Table, id: Option<&str>) -> Result<String, String> {
        let word = match id {
            Some(id) => id.strip_prefix('@').ok_or_else(|| format!("row id \"{id}\" does not begin with \"@\""))?,
            None => "",
        };
        let base = if word.is_empty() { format!("{table:?}").to_lowercase() } else { word.to_owned() };
        let numbered = |number: u32| match (number, word.is_empty()) {
            (1, false) => base.clone(),
            (_, false) => format!("{base}-{number}"),
            (_, true) => format!("{base}{number}"),
        };
        let free = |name: &String| !self.taken.contains(&(table, name.clone()));
        let name = (1..).map(numbered).find(free).unwrap_or_default();
        self.taken.insert((table, name.clone()));
        if let Some(id) = id
            && self.by_id.insert(id.to_owned(), name.clone()).is_some()
        {
            return Err(format!("row id \"{id}\" may only be specified on one --id option"));
        }
        Ok(name)
    }

    /// Puts names where a column that refers to records has ids.
    fn replace(&self, argument: &mut String) -> Result<(), String> {
        let Some((place, value)) = argument.split_once('=') else { return Ok(()) };
        let column = place.split(':').next().unwrap_or_default().to_ascii_lowercase();
        if !matches!(column.as_str(), "qos" | "queues") {
            return Ok(());
        }
        let mut replaced = format!("{place}=");
        for piece in value.split_inclusive(['=', ',', ' ', '{', '[']) {
            let id = piece.trim_end_matches(['=', ',', ' ', '{', '[', '}', ']']);
            if !id.starts_with('@') {
                replaced += piece;
                continue;
            }
            let never =
                || format!("row id \"{id}\" is referenced but never created (e.g. with \"-- --id={id} create ...\")");
            replaced += self.by_id.get(id).ok_or_else(never)?;
            replaced += &piece[id.len()..];
        }
        *argument = replaced;
        Ok(())
    }
}

/// Makes a record.
pub(super) fn create(switch: &mut Switch, table: Table, name: &str, columns: &[String]) -> Result<(), String> {
    let shaping = &mut switch.shaping;
    match table {
        Table::QoS => {
            let mut qos = Qos::default();
            columns.iter().try_for_each(|column| qos_column(&mut qos, column)).map_err(|error| error.to_string())?;
            shaping.qos.insert(name.to_owned(), qos);
        }
        Table::Queue => {
            let mut queue = Settings::default();
            let mut set = columns.iter().map(|column| queue_column(&mut queue, column));
            set.try_for_each(|done| done.map_err(|error| error.to_string()))?;
            shaping.queues.insert(name.to_owned(), queue);
        }
        _ => {
            return Err(format!(
                "create makes records of tables qos and queue; for a {table:?} there is add-br or add-port"
            ));
        }
    }
    Ok(())
}

/// Removes records; whether somebody still needs them is seen when the transaction is complete.
pub(super) fn destroy(
    switch: &mut Switch,
    table: Table,
    records: &[String],
    all: bool,
    if_exists: bool,
) -> Result<(), String> {
    match (all, records) {
        (true, [_, ..]) => return Err("--all and records argument should not be specified together".to_owned()),
        (false, []) => return Err("either --all or records argument should be specified".to_owned()),
        _ => {}
    }
    let shaping = &mut switch.shaping;
    match table {
        Table::QoS => remove(&mut shaping.qos, table, records, all, if_exists),
        Table::Queue => remove(&mut shaping.queues, table, records, all, if_exists),
        _ => Err(format!(
            "destroy is for tables qos and queue; a {table:?} goes with del-br, del-port or del-controller"
        )),
    }
}

fn remove<T>(
    from: &mut BTreeMap<String, T>,
    table: Table,
    records: &[String],
    all: bool,
    if_exists: bool,
) -> Result<(), String> {
    if all {
        from.clear();
    }
    for name in records {
        if from.remove(name).is_none() && !if_exists {
            return Err(format!("no row \"{name}\" in table {table:?}"));
        }
    }
    Ok(())
}

/// Records that go although another one names them: Open vSwitch's referential integrity.
///
/// # Errors
/// The first one.
pub fn check_references(before: &Switch, after: &Switch) -> Result<(), String> {
    let gone = |name: &str| before.shaping.qos.contains_key(name) && !after.shaping.qos.contains_key(name);
    for (name, port) in after.bridges.values().flat_map(|bridge| &bridge.ports) {
        if let Some(qos) = port.settings.text("qos").filter(|qos| gone(qos)) {
            return Err(format!("cannot delete QoS row {qos}: port {name} uses it"));
        }
    }
    let gone = |name: &str| before.shaping.queues.contains_key(name) && !after.shaping.queues.contains_key(name);
    for (name, qos) in &after.shaping.qos {
        if let Some(queue) = qos.queues.values().find(|queue| gone(queue)) {
            return Err(format!("cannot delete Queue row {queue}: qos {name} uses it"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::edit;
    use super::*;

    /// `set port vm1 qos=@x -- --id=@x create qos ...` on a switch with port vm1.
    fn run(switch: &mut Switch, line: &str) -> Result<Vec<String>, String> {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let command = |text: &str| {
            let mut all = words(text);
            let id = all[0].strip_prefix("--id=").map(str::to_owned);
            all.drain(..usize::from(id.is_some()));
            let (verb, table) = (all.remove(0), all.remove(0));
            match verb.as_str() {
                "create" => Command::Create { table, id, columns: all },
                "destroy" if table == "--all" => {
                    Command::Destroy { table: all.remove(0), records: all, all: true, if_exists: false }
                }
                "destroy" => Command::Destroy { table, records: all, all: false, if_exists: false },
                "clear" => Command::Clear { table, record: all.remove(0), columns: all },
                "remove" => Command::Remove { table, record: all.remove(0), column: all.remove(0), keys: all },
                _ => Command::Set { table, record: all.remove(0), columns: all },
            }
        };
        let commands = resolve(switch, &line.split(" -- ").map(command).collect::<Vec<_>>())?;
        let mut after = switch.clone();
        commands.iter().try_for_each(|command| edit(&mut after, command))?;
        check_references(switch, &after)?;
        let problems = crate::model::check(&after, &[0]);
        if let Some(problem) = problems.first() {
            return Err(problem.to_string());
        }
        *switch = after;
        let created = |command: &Command| match command {
            Command::Create { id, .. } => id.clone(),
            _ => None,
        };
        Ok(commands.iter().filter_map(created).collect())
    }

    fn switch() -> Switch {
        let bridge = "br0".to_owned();
        let columns = vec!["type=vhost-user".to_owned(), "path=/run/vm1".to_owned()];
        let port = Command::AddPort { bridge: bridge.clone(), port: "vm1".to_owned(), may_exist: false, columns };
        let mut switch = Switch::default();
        edit(&mut switch, &Command::AddBr { bridge, may_exist: false }).unwrap();
        edit(&mut switch, &port).unwrap();
        switch
    }

    const UPLINK: &str = "set port vm1 qos=@up -- --id=@up create qos type=linux-htb other-config:max-rate=1000000000 \
        queues:0=@q0 queues:1=@q1 -- --id=@q0 create queue other-config:min-rate=100000000 \
        other-config:max-rate=500000000 -- --id=@q1 create queue other-config:priority=1";

    #[test]
    fn a_line_for_ovs_vsctl_makes_records_that_refer_to_each_other_before_they_are_there() {
        let mut switch = switch();
        assert_eq!(run(&mut switch, UPLINK).unwrap(), ["up", "q0", "q1"]);
        let port = switch.port("vm1").unwrap().1;
        let qos = switch.shaping.of(port).unwrap();
        assert_eq!(qos.settings.number("max-rate"), Some(1_000_000_000));
        assert_eq!(switch.shaping.queue(qos, 0).unwrap().number("min-rate"), Some(100_000_000));
        assert_eq!(switch.shaping.queue(qos, 1).unwrap().number("priority"), Some(1));
        let second = run(&mut switch, UPLINK).unwrap();
        assert_eq!(second, ["up-2", "q0-2", "q1-2"], "names that are taken get a number");
        assert_eq!(switch.port("vm1").unwrap().1.settings.text("qos"), Some("up-2"));
        assert_eq!(run(&mut switch, "create queue other_config:max-rate=8").unwrap(), ["queue1"]);
        assert_eq!(
            run(&mut switch, "set qos up queues={0=@a,5=q1} -- --id=@a create queue other_config={}").unwrap(),
            ["a"]
        );
        assert_eq!(switch.shaping.qos["up"].queues, BTreeMap::from([(0, "a".to_owned()), (5, "q1".to_owned())]));
        run(&mut switch, "remove qos up queues 5").unwrap();
        assert_eq!(switch.shaping.qos["up"].queues.len(), 1);
    }

    #[test]
    fn names_that_lead_nowhere_are_refused_and_nothing_is_changed() {
        let mut switch = switch();
        run(&mut switch, UPLINK).unwrap();
        let before = switch.clone();
        let never = "row id \"@x\" is referenced but never created (e.g. with \"-- --id=@x create ...\")";
        let cases = [
            ("set port vm1 qos=@x", never),
            ("create qos type=linux-htb queues=0=q0,1=@x", never),
            ("--id=x create qos type=linux-htb", "row id \"x\" does not begin with \"@\""),
            (
                "--id=@a create queue other_config={} -- --id=@a create queue other_config={}",
                "row id \"@a\" may only be specified on one --id option",
            ),
            ("set port vm1 qos=nope", "port vm1: there is no qos named \"nope\"; there are up"),
            ("set qos up queues:3=nope", "qos up: queue 3: there is no queue named \"nope\"; there are q0, q1"),
            ("set qos nope type=linux-htb", "no row \"nope\" in table QoS"),
            ("destroy qos up", "cannot delete QoS row up: port vm1 uses it"),
            ("destroy --all qos", "cannot delete QoS row up: port vm1 uses it"),
            ("destroy queue q1", "cannot delete Queue row q1: qos up uses it"),
            ("destroy queue nope", "no row \"nope\" in table Queue"),
            ("destroy --all qos up", "--all and records argument should not be specified together"),
            (
                "destroy port vm1",
                "destroy is for tables qos and queue; a Port goes with del-br, del-port or del-controller",
            ),
            (
                "create bridge name=x",
                "create makes records of tables qos and queue; for a Bridge there is add-br or add-port",
            ),
            (
                "set queue q0 other_config:min-rate=600000000",
                "qos up: queue 0: min-rate 600000000 is above its max-rate 500000000",
            ),
            (
                "set queue q1 other_config:min-rate=900000001",
                "qos up: the min-rates of its queues add up to 1000000001, above its max-rate 1000000000",
            ),
            (
                "set qos up type=linux-hfsc",
                "qos up: queue 1: linux-hfsc has no priority; expected min-rate and max-rate, or linux-htb",
            ),
            ("clear qos up type", "qos up: it has no type; expected linux-htb or linux-hfsc"),
        ];
        for (line, said) in cases {
            assert_eq!(run(&mut switch, line).unwrap_err(), said, "{line}");
            assert_eq!(switch, before, "{line}");
        }
    }

    #[test]
    fn everything_goes_in_the_order_that_scripts_use() {
        let mut switch = switch();
        run(&mut switch, UPLINK).unwrap();
        run(&mut switch, "clear port vm1 qos -- destroy --all qos -- destroy --all queue").unwrap();
        assert_eq!((switch.shaping.qos.len(), switch.shaping.queues.len()), (0, 0));
        run(&mut switch, UPLINK).unwrap();
        run(&mut switch, "clear port vm1 qos").unwrap();
        run(&mut switch, "destroy qos up").unwrap();
        run(&mut switch, "destroy queue q0 q1").unwrap();
        assert_eq!((switch.shaping.qos.len(), switch.shaping.queues.len()), (0, 0));
    }
}
