//! The other way: a switch as the file that makes it.

use toml::{Table, Value as Toml};

use crate::model::{Settings, Shaping, Switch, Value};

/// A configuration file that describes this switch. Reading it back gives the same switch.
#[must_use]
pub fn to_toml(switch: &Switch) -> String {
    let mut bridges = Table::new();
    for (name, bridge) in &switch.bridges {
        let mut table = settings(&bridge.settings);
        let flows = bridge.flows.iter().cloned().map(Toml::String).collect();
        table.insert("flows".to_owned(), Toml::Array(flows));
        for (name, texts) in [("groups", &bridge.groups), ("meters", &bridge.meters)] {
            if !texts.is_empty() {
                let texts = texts.values().cloned().map(Toml::String).collect();
                table.insert(name.to_owned(), Toml::Array(texts));
            }
        }
        let ports: Table =
            bridge.ports.iter().map(|(name, port)| (name.clone(), Toml::Table(settings(&port.settings)))).collect();
        if !ports.is_empty() {
            table.insert("ports".to_owned(), Toml::Table(ports));
        }
        bridges.insert(name.clone(), Toml::Table(table));
    }
    let mut file = Table::new();
    let workers = settings(&switch.workers);
    if !workers.is_empty() {
        file.insert("workers".to_owned(), Toml::Table(workers));
    }
    let ssl = settings(&switch.ssl);
    if !ssl.is_empty() {
        file.insert("ssl".to_owned(), Toml::Table(ssl));
    }
    let (qos, queues) = shaping(&switch.shaping);
    for (name, records) in [("qos", qos), ("queues", queues)] {
        if !records.is_empty() {
            file.insert(name.to_owned(), Toml::Table(records));
        }
    }
    file.insert("bridges".to_owned(), Toml::Table(bridges));
    let pools: Table =
        switch.pools.iter().map(|(name, pool)| (name.clone(), Toml::Table(settings(&pool.settings)))).collect();
    if !pools.is_empty() {
        file.insert("pools".to_owned(), Toml::Table(pools));
    }
    file.to_string()
}

/// Every QoS, with the queues that its file described inside it, and the other queues.
fn shaping(shaping: &Shaping) -> (Table, Table) {
    let mut all = Table::new();
    for (name, qos) in &shaping.qos {
        let mut table = settings(&qos.settings);
        let queue = |(number, queue): (&u32, &String)| {
            let nested = shaping.queues.get(queue).filter(|_| *queue == format!("{name}.{number}"));
            let value = nested.map_or_else(|| Toml::String(queue.clone()), |queue| Toml::Table(settings(queue)));
            (number.to_string(), value)
        };
        let queues: Table = qos.queues.iter().map(queue).collect();
        if !queues.is_empty() {
            table.insert("queues".to_owned(), Toml::Table(queues));
        }
        all.insert(name.clone(), Toml::Table(table));
    }
    let others = shaping.queues.iter().filter(|(name, _)| !shaping.is_nested(name));
    (all, others.map(|(name, queue)| (name.clone(), Toml::Table(settings(queue)))).collect())
}

fn settings(settings: &Settings) -> Table {
    settings.iter().map(|(name, value)| (name.to_owned(), toml(value))).collect()
}

fn toml(value: &Value) -> Toml {
    match value {
        Value::Text(text) => Toml::String(text.clone()),
        Value::Number(number) => Toml::Integer(*number as i64),
        Value::Numbers(list) => Toml::Array(list.iter().map(|&number| Toml::Integer(number as i64)).collect()),
        Value::List(list) => Toml::Array(list.iter().cloned().map(Toml::String).collect()),
        Value::Flag(flag) => Toml::Boolean(*flag),
    }
}
