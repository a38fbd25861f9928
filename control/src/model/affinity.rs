//! `0:3,1:7`: which CPU polls which receive queue of a port, as Open vSwitch writes it.
//!
//! Trust: text from operators; every refusal says what was expected.

use std::collections::BTreeMap;

/// Reads the list: CPUs by queue.
///
/// # Errors
/// What is no pair, or a queue that is there twice.
pub fn parse_affinity(text: &str) -> Result<BTreeMap<u16, usize>, String> {
    let mut cpus = BTreeMap::new();
    for pair in text.split(',').map(str::trim) {
        let numbers = pair.split_once(':').and_then(|(queue, cpu)| Some((queue.parse().ok()?, cpu.parse().ok()?)));
        let Some((queue, cpu)) = numbers else {
            return Err(format!("\"{pair}\" is not QUEUE:CPU, such as 0:3"));
        };
        if cpus.insert(queue, cpu).is_some() {
            return Err(format!("queue {queue} is there twice"));
        }
    }
    Ok(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_and_their_cpus() {
        assert_eq!(parse_affinity("0:3, 1:7"), Ok(BTreeMap::from([(0, 3), (1, 7)])));
        for (text, why) in [
            ("", "\"\" is not QUEUE:CPU, such as 0:3"),
            ("0:3,1", "\"1\" is not QUEUE:CPU, such as 0:3"),
            ("0:-1", "\"0:-1\" is not QUEUE:CPU, such as 0:3"),
            ("70000:1", "\"70000:1\" is not QUEUE:CPU, such as 0:3"),
            ("0:1,0:2", "queue 0 is there twice"),
        ] {
            assert_eq!(parse_affinity(text), Err(why.to_owned()));
        }
    }
}
