//! How far a run is: what it is at, on standard error, and that it comes to an end.

use std::io::Write;
use std::time::{Duration, Instant};

/// Looks at the time of one run.
pub(crate) struct Watch {
    began: Instant,
    time_max: Duration,
    left_out: Vec<String>,
}

impl Watch {
    pub(crate) fn start(time_max: Duration) -> Self {
        Self { began: Instant::now(), time_max, left_out: Vec::new() }
    }

    /// Tells what comes next, and whether there is time for it.
    pub(crate) fn begin(&mut self, what: &str) -> bool {
        let elapsed = self.began.elapsed();
        let has_time = elapsed < self.time_max;
        let left_out = if has_time { "" } else { ": left out, time is up" };
        // Nobody has to be able to read it.
        let _ = writeln!(std::io::stderr(), "{} {what}{left_out}", clock(elapsed));
        if !has_time {
            self.left_out.push(what.to_owned());
        }
        has_time
    }

    /// What was left out.
    pub(crate) fn end(self) -> Vec<String> {
        let _ = writeln!(std::io::stderr(), "{} done", clock(self.began.elapsed()));
        self.left_out
    }
}

/// Minutes and seconds.
fn clock(elapsed: Duration) -> String {
    let secs = elapsed.as_secs();
    format!("{:02}:{:02}", secs / 60, secs % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_begins_too_late_is_left_out() {
        let mut watch = Watch::start(Duration::from_secs(3600));
        assert!(watch.begin("a"));
        watch.time_max = Duration::ZERO;
        assert!(!watch.begin("b"));
        assert_eq!(watch.end(), ["b"]);
        assert_eq!(clock(Duration::from_secs(3605)), "60:05");
    }
}
