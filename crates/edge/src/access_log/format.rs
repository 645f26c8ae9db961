//! Lines of the access log. What clients send is escaped: no request can begin a line or a field of its own.

use super::{AccessLogFormat, Entry};
use http::{HeaderValue, Version};
use serde::Serialize;
use std::borrow::Cow;
use std::io::Write;
use std::time::{Duration, SystemTime};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// One line as JSON, in this order.
#[derive(Serialize)]
struct Line<'e> {
    time: String,
    edge: &'e str,
    client: String,
    method: &'e str,
    host: Cow<'e, str>,
    url: Cow<'e, str>,
    protocol: &'static str,
    tls: bool,
    /// 0 if the client left before there was an answer.
    status: u16,
    bytes: u64,
    duration_ms: f64,
    whole: bool,
    cache: &'static str,
    reason: &'static str,
    collapsed: bool,
    fenced: bool,
    stored: bool,
    seq: u64,
    request_id: u64,
    origin_ms: Option<f64>,
    user_agent: Cow<'e, str>,
    referer: Cow<'e, str>,
}

/// Appends the line of one request, with its end.
pub(super) fn line(format: AccessLogFormat, edge: &str, entry: &Entry, into: &mut Vec<u8>) {
    match format {
        AccessLogFormat::Json => {
            // Nothing of it can fail to be written to memory.
            let _ = serde_json::to_writer(&mut *into, &json(edge, entry));
        }
        AccessLogFormat::Combined => combined(entry, into),
    }
    into.push(b'\n');
}

fn json<'e>(edge: &'e str, entry: &'e Entry) -> Line<'e> {
    let captured = &entry.captured;
    let outcome = entry.answered.map(|(_, outcome)| outcome);
    Line {
        time: utc(captured.at).format(&Rfc3339).unwrap_or_default(),
        edge,
        client: captured.client.ip().to_canonical().to_string(),
        method: captured.method.as_str(),
        host: host(entry),
        url: Cow::Owned(url(entry)),
        protocol: protocol(captured.version),
        tls: captured.is_encrypted,
        status: status(entry),
        bytes: entry.bytes,
        duration_ms: millis(entry.ended.saturating_sub(captured.started)),
        whole: entry.is_whole,
        cache: outcome.map_or("none", |outcome| outcome.kind.name()),
        reason: outcome.map_or("client-left", |outcome| outcome.reason),
        collapsed: outcome.is_some_and(|outcome| outcome.collapsed),
        fenced: outcome.is_some_and(|outcome| outcome.fenced),
        stored: outcome.is_some_and(|outcome| outcome.stored),
        seq: outcome.map_or(0, |outcome| outcome.seen.number()),
        request_id: outcome.map_or(0, |outcome| outcome.request_id),
        origin_ms: outcome.and_then(|outcome| outcome.origin_wait).map(millis),
        user_agent: text(captured.user_agent.as_ref()),
        referer: text(captured.referer.as_ref()),
    }
}

fn combined(entry: &Entry, into: &mut Vec<u8>) {
    let captured = &entry.captured;
    let at = utc(captured.at);
    let month: String = at.month().to_string().chars().take(3).collect();
    let _ = write!(
        into,
        "{} - - [{:02}/{month}/{:04}:{:02}:{:02}:{:02} +0000] \"",
        captured.client.ip().to_canonical(),
        at.day(),
        at.year(),
        at.hour(),
        at.minute(),
        at.second(),
    );
    quoted(captured.method.as_str().as_bytes(), into);
    into.push(b' ');
    quoted(captured.uri.to_string().as_bytes(), into);
    let _ = write!(into, " {}\" {} {} \"", protocol(captured.version), status(entry), entry.bytes);
    for (index, field) in [&captured.referer, &captured.user_agent].into_iter().enumerate() {
        if index > 0 {
            into.extend_from_slice(b"\" \"");
        }
        quoted(field.as_ref().map_or(b"-", HeaderValue::as_bytes), into);
    }
    into.push(b'"');
}

/// As nginx does: what could end the quotes or the line becomes `\xHH`.
fn quoted(bytes: &[u8], into: &mut Vec<u8>) {
    for byte in bytes {
        match byte {
            b'"' | b'\\' | 0..=0x1f | 0x7f.. => {
                let _ = write!(into, "\\x{byte:02X}");
            }
            _ => into.push(*byte),
        }
    }
}

fn status(entry: &Entry) -> u16 {
    entry.answered.map_or(0, |(status, _)| status.as_u16())
}

fn host(entry: &Entry) -> Cow<'_, str> {
    match entry.captured.uri.authority() {
        Some(authority) => Cow::Borrowed(authority.as_str()),
        None => text(entry.captured.host.as_ref()),
    }
}

/// The whole URL, as it was asked for.
fn url(entry: &Entry) -> String {
    let scheme = if entry.captured.is_encrypted { "https" } else { "http" };
    let target = entry.captured.uri.path_and_query().map_or("", |target| target.as_str());
    format!("{scheme}://{}{target}", host(entry))
}

fn text(value: Option<&HeaderValue>) -> Cow<'_, str> {
    value.map_or(Cow::Borrowed(""), |value| String::from_utf8_lossy(value.as_bytes()))
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_3 => "HTTP/3.0",
        _ => "HTTP/1.1",
    }
}

fn millis(time: Duration) -> f64 {
    // Whole microseconds: nobody needs more, and lines stay short.
    (time.as_secs_f64() * 1_000_000.0).round() / 1_000.0
}

fn utc(time: SystemTime) -> OffsetDateTime {
    OffsetDateTime::from(time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access_log::Captured;
    use crate::clock::Clocks;
    use crate::outcome::{Outcome, OutcomeKind};
    use http::{Request, StatusCode};

    fn entry(request: Request<()>) -> Entry {
        let clocks = Clocks {
            wall: || SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_250),
            boot: || Duration::from_secs(5),
        };
        let client = "[::ffff:192.0.2.7]:4711".parse().unwrap();
        let mut outcome = Outcome::new(OutcomeKind::Miss, "uri-miss");
        outcome.request_id = 42;
        outcome.origin_wait = Some(Duration::from_micros(1500));
        Entry {
            captured: Box::new(Captured::of(&request, client, true, &clocks)),
            answered: Some((StatusCode::OK, outcome)),
            bytes: 12,
            is_whole: true,
            ended: Duration::from_millis(5_002),
        }
    }

    fn line_of(format: AccessLogFormat, entry: &Entry) -> String {
        let mut line = Vec::new();
        line_into(format, entry, &mut line);
        String::from_utf8(line).unwrap()
    }

    fn line_into(format: AccessLogFormat, entry: &Entry, into: &mut Vec<u8>) {
        super::line(format, "e", entry, into);
    }

    fn request() -> Request<()> {
        let agent = HeaderValue::from_bytes(b"a \"b\" \\ \xff \t").unwrap();
        Request::get("/a?b=%22").header("host", "www.a.test").header("user-agent", agent).body(()).unwrap()
    }

    #[test]
    fn a_line_of_json_has_all_fields_and_no_way_out_of_them() {
        let expected = concat!(
            r#"{"time":"2023-11-14T22:13:20.25Z","edge":"e","client":"192.0.2.7","method":"GET","host":"www.a.test","#,
            r#""url":"https://www.a.test/a?b=%22","protocol":"HTTP/1.1","tls":true,"status":200,"bytes":12,"#,
            r#""duration_ms":2.0,"whole":true,"cache":"miss","reason":"uri-miss","collapsed":false,"fenced":false,"#,
            r#""stored":false,"seq":0,"request_id":42,"origin_ms":1.5,"user_agent":"a \"b\" \\ "#,
            "\u{fffd}",
            r#" \t","referer":""}"#,
            "\n"
        );
        assert_eq!(line_of(AccessLogFormat::Json, &entry(request())), expected);
    }

    #[test]
    fn a_combined_line_is_escaped() {
        let expected = "192.0.2.7 - - [14/Nov/2023:22:13:20 +0000] \"GET /a?b=%22 HTTP/1.1\" 200 12 \"-\" \
                        \"a \\x22b\\x22 \\x5C \\xFF \\x09\"\n";
        assert_eq!(line_of(AccessLogFormat::Combined, &entry(request())), expected);
    }

    #[test]
    fn a_client_that_left_has_no_status() {
        let left = Entry { answered: None, is_whole: false, bytes: 0, ..entry(request()) };
        let line = line_of(AccessLogFormat::Json, &left);
        assert!(line.contains(r#""status":0,"#) && line.contains(r#""reason":"client-left""#), "{line}");
    }
}
