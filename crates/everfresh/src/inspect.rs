//! `everfresh inspect`: what an edge holds of a URL, asked of its admin server and printed for people.

use crate::args::InspectArgs;
use anyhow::{Context, bail};
use serde_json::Value;
use std::io::Write;
use std::time::Duration;

/// How long an edge may take to tell.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Asks and prints.
pub(crate) fn run(args: InspectArgs) -> anyhow::Result<()> {
    let InspectArgs { url, admin, json } = args;
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .proxy(None)
        .timeout_global(Some(TIMEOUT))
        .http_status_as_error(false)
        .build()
        .into();
    let mut answer =
        agent.get(format!("http://{admin}/inspect")).query("url", &url).call().with_context(|| {
            format!("no admin server answers at {admin}: is the edge started with --admin-listen?")
        })?;
    let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string()?;
    if answer.status() != 200 {
        bail!("{}", body.trim_end());
    }
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", body.trim_end())?;
    } else {
        let found: Value = serde_json::from_str(&body).context("the answer is no JSON")?;
        out.write_all(in_words(&found).as_bytes())?;
    }
    out.flush().context("the standard output is gone")
}

/// The answer, a line for each fact.
fn in_words(found: &Value) -> String {
    let mut lines = vec![format!("url       {}", text(&found["url"]))];
    if found["served"] != true {
        lines.push(format!("served    no: {}", text(&found["why"])));
        return lines.join("\n") + "\n";
    }
    let lease = match found["lease"]["holds"].as_bool() {
        Some(true) => format!("held for {} ms more", found["lease"]["left_ms"]),
        _ => "none: nothing is answered from the cache".to_owned(),
    };
    lines.push(format!("zone      {}, domain {}", text(&found["zone"]), text(&found["domain"])));
    lines.push(format!("key       {} of {}", text(&found["key"]), text(&found["key_url"])));
    lines.push(format!("lease     {lease}"));
    lines.push(format!("purges    applied up to {}, horizon {}", found["applied"], found["horizon"]));
    let stored = found["stored"].as_array().map(Vec::as_slice).unwrap_or_default();
    if stored.is_empty() {
        lines.push("stored    no".to_owned());
    }
    for object in stored {
        lines.extend(object_in_words(object));
    }
    lines.join("\n") + "\n"
}

fn object_in_words(object: &Value) -> Vec<String> {
    let standing = match (text(&object["standing"]).as_str(), object["purged_by"].as_u64()) {
        ("clear", _) => "no purge since its fetch matches it".to_owned(),
        ("invalidated", Some(seq)) => {
            format!("invalidated by purge {seq}: the origin is asked before it answers")
        }
        ("deleted", Some(seq)) => format!("deleted by purge {seq}: as good as gone"),
        _ => {
            "beyond the horizon: as good as gone, since purges up to there are not known any more".to_owned()
        }
    };
    let mut lines = place_in_words(object);
    lines.push(format!("  purges    {standing}"));
    for mark in object["marks"].as_array().into_iter().flatten() {
        let scope = match (text(&mark["scope"]).as_str(), mark["name"].as_str()) {
            ("host-tag", Some(name)) => format!("tag {} on this host", printable(name)),
            (scope, Some(name)) => format!("{scope} {}", printable(name)),
            (scope, None) => format!("its {scope}"),
        };
        lines.push(format!("            {} {} of {scope}", text(&mark["method"]), mark["seq"]));
    }
    if object["group_marked"] == true {
        lines.push(
            "  groups    made stale by an unsafe request, or by a restart: the origin is asked first"
                .to_owned(),
        );
    }
    lines.push(format!("  born      at {} of the log, checked up to {}", object["born"], object["checked"]));
    let tags: Vec<&str> = object["tags"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if !tags.is_empty() {
        lines.push(format!("  tags      {}", tags.join(" ")));
    }
    if object["tags_ignored"].as_u64().is_some_and(|count| count > 0) {
        lines.push(format!("  tags      {} more could not count", object["tags_ignored"]));
    }
    for (name, key) in [
        ("type", "content_type"),
        ("encoding", "content_encoding"),
        ("etag", "etag"),
        ("modified", "last_modified"),
        ("varies", "vary"),
    ] {
        if let Some(value) = object[key].as_str() {
            lines.push(format!("  {name:<9} {}", printable(value)));
        }
    }
    lines
}

/// Where it is, and how old. What is on disk only is not read for it.
fn place_in_words(object: &Value) -> Vec<String> {
    let place = text(&object["in"]);
    if let Some(bytes) = object["file_bytes"].as_u64() {
        return vec![format!("stored    on {place}: a file of {bytes} bytes")];
    }
    let ttl = object["ttl_secs"].as_i64().unwrap_or_default();
    let freshness = if object["fresh"] == true {
        format!("fresh for {ttl} s")
    } else {
        format!("stale since {} s", -ttl)
    };
    vec![
        format!("stored    in {place}: status {}, {} bytes", object["status"], object["bytes"]),
        format!("  age       {} s, {freshness}", object["age_secs"]),
    ]
}

fn text(value: &Value) -> String {
    printable(value.as_str().unwrap_or_default())
}

/// Nothing that an origin sent commands the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_found_is_told_in_words() {
        let object = json!({
            "in": "memory", "status": 200, "bytes": 12, "age_secs": 3, "ttl_secs": -7, "fresh": false,
            "standing": "invalidated", "purged_by": 9, "born": 4, "checked": 9, "tags": ["a", "b"],
            "tags_ignored": 0, "etag": "\"\u{1b}[1m\"", "vary": null, "group_marked": true,
            "marks": [
                { "seq": 9, "method": "invalidate", "scope": "prefix", "name": "/img/" },
                { "seq": 7, "method": "invalidate", "scope": "host-tag", "name": "a" },
                { "seq": 6, "method": "invalidate", "scope": "zone", "name": null },
            ],
        });
        let on_disk = json!({
            "in": "disk", "file_bytes": 345, "standing": "clear", "purged_by": null, "born": 5, "checked": 9, "tags": [],
        });
        let found = json!({
            "url": "http://www.a.test/x", "served": true, "key": "00ff", "key_url": "www.a.test/x", "zone": "zone-1", "domain": "www.a.test",
            "lease": { "holds": true, "left_ms": 4000 }, "applied": 9, "horizon": 0, "stored": [object, on_disk],
        });
        let expected = "\
url       http://www.a.test/x
zone      zone-1, domain www.a.test
key       00ff of www.a.test/x
lease     held for 4000 ms more
purges    applied up to 9, horizon 0
stored    in memory: status 200, 12 bytes
  age       3 s, stale since 7 s
  purges    invalidated by purge 9: the origin is asked before it answers
            invalidate 9 of prefix /img/
            invalidate 7 of tag a on this host
            invalidate 6 of its zone
  groups    made stale by an unsafe request, or by a restart: the origin is asked first
  born      at 4 of the log, checked up to 9
  tags      a b
  etag      \"\u{fffd}[1m\"
stored    on disk: a file of 345 bytes
  purges    no purge since its fetch matches it
  born      at 5 of the log, checked up to 9
";
        assert_eq!(in_words(&found), expected);
        let unknown = json!({ "url": "x.test/", "served": false, "why": "no such host" });
        assert_eq!(in_words(&unknown), "url       x.test/\nserved    no: no such host\n");
    }
}
