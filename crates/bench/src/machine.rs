//! The machine that the numbers are of.

use anyhow::Context;
use std::fs;

/// What stands beside every result.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_mib: u64,
    pub(crate) kernel: String,
    /// The load averages before the run: above zero, others were at work.
    pub(crate) load: String,
}

impl Machine {
    pub(crate) fn read() -> anyhow::Result<Self> {
        let file = |path: &str| fs::read_to_string(path).with_context(|| format!("{path} can't be read"));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let memory_kib = field(&file("/proc/meminfo")?, "MemTotal").and_then(|text| number(&text));
        Ok(Self {
            processor: field(&file("/proc/cpuinfo")?, "model name").unwrap_or_else(|| "unknown".into()),
            cores,
            memory_mib: memory_kib.unwrap_or(0) / 1024,
            kernel: file("/proc/sys/kernel/osrelease")?.trim().into(),
            load: load(),
        })
    }
}

/// The load averages of now.
pub(crate) fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// The value of the first line `name: value`.
pub(crate) fn field(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        (found.trim() == name).then(|| value.trim().to_owned())
    })
}

/// The number in front.
pub(crate) fn number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_proc_are_read() {
        let text = "processor\t: 0\nmodel name\t: AMD EPYC\nVmRSS:\t   1234 kB\n";
        assert_eq!(field(text, "model name").as_deref(), Some("AMD EPYC"));
        assert_eq!(field(text, "VmRSS").and_then(|value| number(&value)), Some(1234));
        assert_eq!(field(text, "VmSize"), None);
    }
}
