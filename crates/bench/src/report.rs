//! The numbers as tables and as JSON.

use crate::runs::{Results, Served};
use crate::servers::Kind;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Everything as Markdown.
pub(crate) fn table(results: &Results) -> String {
    let mut out = String::new();
    let machine = &results.machine;
    let _ = writeln!(
        out,
        "{}, {} cores, {} MiB, Linux {}. Load averages before the run {}, after it {}.\n",
        machine.processor,
        machine.cores,
        machine.memory_mib,
        machine.kernel,
        machine.load,
        results.load_after
    );
    for hits in &results.hits {
        let _ = writeln!(out, "Hits, {} bytes, {} objects:\n", hits.body_bytes, hits.keys);
        out.push_str("| server | hits per CPU second | user µs | system µs | Everfresh is | failed |\n");
        out.push_str("| --- | ---: | ---: | ---: | ---: | ---: |\n");
        for served in &hits.served {
            let _ = writeln!(
                out,
                "| {} | {:.0} | {:.2} | {:.2} | {} | {} |",
                served.server.name(),
                served.per_cpu_sec(),
                each(served.cpu.user_us, served),
                each(served.cpu.system_us, served),
                times(&hits.served, served),
                served.loaded.failed,
            );
        }
        out.push('\n');
    }
    out.push_str(&purges(results));
    out.push_str("\nMemory:\n\n| server | bytes per object of 1 KiB | bytes per idle connection |\n| --- | ---: | ---: |\n");
    for memory in &results.memory {
        let _ = writeln!(
            out,
            "| {} | {:.0} | {:.0} |",
            memory.server.name(),
            memory.object,
            memory.idle_connection
        );
    }
    if !results.left_out.is_empty() {
        let _ = writeln!(out, "\nLeft out, since time was up: {}.", results.left_out.join("; "));
    }
    out
}

fn purges(results: &Results) -> String {
    let mut out = "Hits of 1 KiB while purges come:\n\n".to_owned();
    out.push_str("| server | purges | asked per second | accepted per second | hits per CPU second | of those without |\n");
    out.push_str("| --- | --- | ---: | ---: | ---: | ---: |\n");
    for quiet in &results.quiet {
        let _ = writeln!(out, "| {} | none | 0 | 0 | {:.0} | |", quiet.server.name(), quiet.per_cpu_sec());
        for row in results.under_purges.iter().filter(|row| row.served.server == quiet.server) {
            let _ = writeln!(
                out,
                "| {} | {} | {} | {:.0} | {:.0} | {:.0} % |",
                quiet.server.name(),
                row.kind.name(),
                row.asked_per_sec,
                row.purges_per_sec,
                row.served.per_cpu_sec(),
                100.0 * row.served.per_cpu_sec() / quiet.per_cpu_sec().max(1.0),
            );
        }
    }
    out.push_str("\nTime of one purge, in milliseconds:\n\n");
    out.push_str("| server | purge | objects | until it is done | until a hit is none |\n| --- | --- | ---: | ---: | ---: |\n");
    for time in &results.purge_times {
        let _ = writeln!(
            out,
            "| {} | {} | {} | {:.2} | {:.2} |",
            time.server.name(),
            time.kind.name(),
            time.objects,
            time.done.as_secs_f64() * 1e3,
            time.shown.as_secs_f64() * 1e3,
        );
    }
    out
}

fn each(used_us: f64, served: &Served) -> f64 {
    used_us / served.loaded.requests.max(1) as f64
}

/// How many times as cheap Everfresh is.
fn times(all: &[Served], other: &Served) -> String {
    let ours = all.iter().find(|served| served.server == Kind::Everfresh).map_or(0.0, Served::per_cpu_sec);
    if other.server == Kind::Everfresh || other.per_cpu_sec() <= 0.0 {
        return String::new();
    }
    format!("{:.2} ×", ours / other.per_cpu_sec())
}

fn served(served: &Served) -> Value {
    json!({
        "server": served.server.name(),
        "requests": served.loaded.requests,
        "secs": served.loaded.secs,
        "failed": served.loaded.failed,
        "user_us": served.cpu.user_us,
        "system_us": served.cpu.system_us,
        "per_cpu_sec": served.per_cpu_sec(),
    })
}

/// Everything as JSON.
pub(crate) fn json(results: &Results) -> Value {
    let machine = &results.machine;
    json!({
        "machine": {
            "processor": machine.processor,
            "cores": machine.cores,
            "memory_mib": machine.memory_mib,
            "kernel": machine.kernel,
            "load_before": machine.load,
            "load_after": results.load_after,
        },
        "hits": results.hits.iter().map(|hits| json!({
            "body_bytes": hits.body_bytes,
            "keys": hits.keys,
            "served": hits.served.iter().map(served).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "without_purges": results.quiet.iter().map(served).collect::<Vec<_>>(),
        "under_purges": results.under_purges.iter().map(|row| json!({
            "purge": row.kind.name(),
            "asked_per_sec": row.asked_per_sec,
            "purges_per_sec": row.purges_per_sec,
            "served": served(&row.served),
        })).collect::<Vec<_>>(),
        "purge_times": results.purge_times.iter().map(|time| json!({
            "server": time.server.name(),
            "purge": time.kind.name(),
            "objects": time.objects,
            "done_ms": time.done.as_secs_f64() * 1e3,
            "shown_ms": time.shown.as_secs_f64() * 1e3,
        })).collect::<Vec<_>>(),
        "memory": results.memory.iter().map(|memory| json!({
            "server": memory.server.name(),
            "bytes_per_object": memory.object,
            "bytes_per_idle_connection": memory.idle_connection,
        })).collect::<Vec<_>>(),
        "left_out": results.left_out,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Loaded;
    use crate::process::Cpu;

    #[test]
    fn ratios_are_of_hits_for_each_second_of_the_processor() {
        let of = |server, user_us| Served {
            server,
            loaded: Loaded { requests: 1000, secs: 1.0, failed: 0 },
            cpu: Cpu { user_us, system_us: 1000.0 },
        };
        let all = [of(Kind::Everfresh, 1000.0), of(Kind::Varnish, 4000.0)];
        assert_eq!((all[0].per_cpu_sec(), all[1].per_cpu_sec()), (500_000.0, 200_000.0));
        assert_eq!(times(&all, &all[1]), "2.50 ×");
        assert_eq!(times(&all, &all[0]), "");
        assert_eq!(each(4000.0, &all[1]), 4.0);
    }
}
