//! What the system tells about the process, under the names that every program has for it.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

#[derive(Debug)]
pub(super) struct Process {
    /// In seconds since 1970.
    started: f64,
}

impl Default for Process {
    fn default() -> Self {
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started: started.as_secs_f64() }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let start = ConstGauge::new(self.started);
        let text = "Start of the registry, in seconds since 1970";
        start.encode(encoder.encode_descriptor(
            "process_start_time",
            text,
            Some(&Unit::Seconds),
            start.metric_type(),
        )?)?;
        if let Some(seconds) = processor_seconds() {
            let cpu = ConstCounter::new(seconds);
            let text = "Processor time that the process has used";
            cpu.encode(encoder.encode_descriptor("process_cpu", text, Some(&Unit::Seconds), cpu.metric_type())?)?;
        }
        if let Some([total, resident]) = memory() {
            for (name, text, bytes) in [
                ("process_resident_memory", "Memory in use", resident),
                ("process_virtual_memory", "Address space", total),
            ] {
                let gauge = ConstGauge::new(bytes);
                gauge.encode(encoder.encode_descriptor(name, text, Some(&Unit::Bytes), gauge.metric_type())?)?;
            }
        }
        Ok(())
    }
}

/// Reads the time on a processor from the system's clock of this process.
fn processor_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields = stat.rsplit(')').next()?.split_whitespace().skip(11).take(2);
    let ticks: f64 = fields.filter_map(|field| field.parse::<f64>().ok()).sum();
    Some(ticks / 100.0) // of which Linux has 100 a second, whatever else it counts in
}

/// Returns the address space and the memory in use, in bytes.
fn memory() -> Option<[i64; 2]> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let of = |name: &str| -> Option<i64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.split_whitespace().next()?.parse::<i64>().ok()? * 1024)
    };
    Some([of("VmSize:")?, of("VmRSS:")?])
}
