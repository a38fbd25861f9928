//! Counters, as `rsctl dump-ports` tells them.

use serde_json::Value;

/// What `dump-ports` says.
#[derive(Debug)]
pub struct Totals(pub Vec<Value>);

impl Totals {
    /// Is there such a port?
    pub fn has(&self, port: &str) -> bool {
        self.0.iter().any(|found| found["name"] == port)
    }

    /// A port's counter.
    pub fn of(&self, port: &str, counter: &str) -> u64 {
        self.port(port)[counter].as_u64().expect("a number")
    }

    /// A port's drops for this reason.
    pub fn drops(&self, port: &str, reason: &str) -> u64 {
        self.port(port)["drops"][reason].as_u64().unwrap_or(0)
    }

    /// All ports' drops for all reasons.
    pub fn all_drops(&self) -> u64 {
        let drops = self.0.iter().filter_map(|port| port["drops"].as_object());
        drops.flat_map(|drops| drops.values()).filter_map(Value::as_u64).sum()
    }

    /// A counter, over all ports.
    pub fn sum(&self, counter: &str) -> u64 {
        self.0.iter().map(|port| port[counter].as_u64().expect("a number")).sum()
    }

    fn port(&self, name: &str) -> &Value {
        self.0.iter().find(|port| port["name"] == name).unwrap_or_else(|| panic!("no port {name}"))
    }
}
