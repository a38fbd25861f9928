//! How long a CPU may take to resume from idle: PM QoS, `pm_qos_resume_latency_us` in the kernel's
//! Documentation/ABI/testing/sysfs-devices-power. The kernel leaves out idle states that take longer.

use std::path::PathBuf;
use std::{fs, io};

/// What the file says when nothing is asked for, and when no time at all may be lost.
const ANY: &str = "0";
const NONE: &str = "n/a";

/// A CPU's limit for as long as this lives. A process that is killed leaves it behind.
#[derive(Debug)]
pub struct ResumeLatency {
    path: PathBuf,
    before: String,
}

impl ResumeLatency {
    /// At most so many microseconds; 0 keeps the CPU from being halted at all.
    ///
    /// # Errors
    /// Names the file: there is no such CPU, no power management, or no permission.
    pub fn limit(cpu: usize, us: u32) -> io::Result<Self> {
        let path = PathBuf::from(format!("/sys/devices/system/cpu/cpu{cpu}/power/pm_qos_resume_latency_us"));
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let wanted = if us == 0 { NONE.to_owned() } else { us.to_string() };
        let found = fs::read_to_string(&path).map_err(named)?;
        fs::write(&path, &wanted).map_err(named)?;
        // The same was left behind by one of us that was killed.
        let before = Some(found.trim()).filter(|&found| found != wanted).unwrap_or(ANY).to_owned();
        Ok(Self { path, before })
    }
}

impl Drop for ResumeLatency {
    fn drop(&mut self) {
        let _ = fs::write(&self.path, &self.before);
    }
}
