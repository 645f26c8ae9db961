//! `multipart/form-data` bodies (RFC 7578): text parts, and JSON parts for lists and objects. No files.

use std::collections::BTreeMap;

use super::{Budget, Param, flat, json};
use crate::error::{ApiError, ErrorCode};

/// The longest boundary (RFC 2046, section 5.1.1), in bytes.
const BOUNDARY_BYTES_MAX: usize = 70;
/// The longest head of a part, in bytes.
const PART_HEAD_BYTES_MAX: usize = 4096;

/// Reads a body.
pub(super) fn read(content_type: &str, body: &[u8]) -> Result<Param, ApiError> {
    let boundary = boundary(content_type).ok_or_else(|| {
        malformed("Content-Type names no boundary of 1 to 70 characters (multipart/form-data; boundary=…)")
    })?;
    let delimiter = [b"\r\n--", boundary.as_bytes()].concat();
    // The first delimiter has no line break before it.
    let mut rest = body
        .strip_prefix(&delimiter[2..])
        .ok_or_else(|| malformed("the body does not begin with its boundary"))?;
    let mut root = BTreeMap::new();
    let mut budget = Budget::new();
    loop {
        if let Some(end) = rest.strip_prefix(b"--") {
            let ended = end.trim_ascii().is_empty();
            return if ended {
                Ok(Param::Object(root))
            } else {
                Err(malformed("data follows the last boundary"))
            };
        }
        // RFC 2046 allows spaces after a boundary.
        let spaces = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let part = rest[spaces..]
            .strip_prefix(b"\r\n")
            .ok_or_else(|| malformed("a boundary is not followed by a line break"))?;
        let length = find(part, &delimiter).ok_or_else(|| malformed("the last boundary is missing"))?;
        let (name, value) = read_part(&part[..length], &mut budget)?;
        flat::insert(&mut root, &name, value, &mut budget)?;
        rest = &part[length + delimiter.len()..];
    }
}

fn boundary(content_type: &str) -> Option<&str> {
    let parameter = content_type.split(';').skip(1).map(str::trim_ascii).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim_ascii().eq_ignore_ascii_case("boundary").then_some(value.trim_ascii())
    })?;
    let bare = parameter.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(parameter);
    (!bare.is_empty() && bare.len() <= BOUNDARY_BYTES_MAX).then_some(bare)
}

fn read_part(part: &[u8], budget: &mut Budget) -> Result<(String, Param), ApiError> {
    let head_length =
        find(part, b"\r\n\r\n").ok_or_else(|| malformed("a part has no empty line after its head"))?;
    if head_length > PART_HEAD_BYTES_MAX {
        return Err(malformed("the head of a part is longer than 4096 bytes"));
    }
    let head = std::str::from_utf8(&part[..head_length])
        .map_err(|_| malformed("the head of a part is not UTF-8"))?;
    let content = &part[head_length + 4..];
    let (mut name, mut is_json) = (None, false);
    for line in head.split("\r\n") {
        let (header, value) =
            line.split_once(':').ok_or_else(|| malformed("a line in the head of a part has no colon"))?;
        if header.eq_ignore_ascii_case("content-disposition") {
            name = Some(disposition_name(value.trim_ascii())?);
        } else if header.eq_ignore_ascii_case("content-type") {
            is_json = super::media_type(value) == "application/json";
        }
    }
    let name = name.ok_or_else(|| malformed("a part has no Content-Disposition"))?;
    if is_json {
        return Ok((name, json::value(content, budget)?));
    }
    let text =
        String::from_utf8(content.to_vec()).map_err(|_| malformed("the text of a part is not UTF-8"))?;
    Ok((name, Param::Text(text)))
}

/// The name in `form-data; name="ZoneId"`.
fn disposition_name(value: &str) -> Result<String, ApiError> {
    let wrong = || malformed("Content-Disposition of a part must read form-data; name=\"…\"");
    let rest = value.strip_prefix("form-data").ok_or_else(wrong)?.trim_ascii_start();
    let rest = rest.strip_prefix(';').ok_or_else(wrong)?.trim_ascii_start();
    let (name, after) =
        rest.strip_prefix("name=\"").and_then(|rest| rest.split_once('"')).ok_or_else(wrong)?;
    if name.is_empty() || name.contains('\\') {
        return Err(wrong());
    }
    if after.trim_ascii().is_empty() { Ok(name.to_owned()) } else { Err(malformed("files cannot be sent")) }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let first = *needle.first()?;
    let mut from = 0;
    loop {
        let at = from + haystack.get(from..)?.iter().position(|byte| *byte == first)?;
        if haystack[at..].starts_with(needle) {
            return Some(at);
        }
        from = at + 1;
    }
}

fn malformed(what: &str) -> ApiError {
    ApiError::new(ErrorCode::InvalidRequest, format!("the multipart body is malformed: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: &str = "multipart/form-data; boundary=XX";
    const GOOD: &str = "--XX\r\nContent-Disposition: form-data; name=\"ZoneId\"\r\n\r\nz\r\n1\r\n--XX\r\n\
                        content-disposition: form-data; name=\"Targets\"\r\nContent-Type: application/json\r\n\r\n\
                        [\"a\"]\r\n--XX\r\nContent-Disposition: form-data; name=\"Filters.0.Name\"\r\n\r\n\r\n--XX--\r\n";

    #[test]
    fn text_json_and_flattened_parts_are_read() {
        let Param::Object(fields) = read(KIND, GOOD.as_bytes()).unwrap() else { panic!("no object") };
        assert_eq!(fields["ZoneId"], Param::Text("z\r\n1".into()));
        assert_eq!(fields["Targets"], Param::List(vec![Param::String("a".into())]));
        assert!(matches!(&fields["Filters"], Param::Branch(_)));
        assert_eq!(read("multipart/form-data; boundary=\"XX\"", b"--XX--"), Ok(Param::empty()));
    }

    #[test]
    fn every_cut_of_a_body_is_refused_as_malformed() {
        for length in 0..GOOD.len() - "\r\n".len() {
            let cut = &GOOD.as_bytes()[..length];
            assert_eq!(read(KIND, cut).map_err(|e| e.code), Err(ErrorCode::InvalidRequest), "{length}");
        }
    }

    #[test]
    fn malformed_bodies_say_so() {
        let part = |head: &str| format!("--XX\r\n{head}\r\n\r\nv\r\n--XX--");
        for (kind, body) in [
            ("multipart/form-data", GOOD.to_owned()),
            ("multipart/form-data; boundary=", GOOD.to_owned()),
            ("multipart/form-data; boundary=YY", GOOD.to_owned()),
            (KIND, part("X: y")),
            (KIND, part("no colon")),
            (KIND, part("Content-Disposition: form-data")),
            (KIND, part("Content-Disposition: attachment; name=\"a\"")),
            (KIND, part("Content-Disposition: form-data; name=\"\"")),
            (KIND, part("Content-Disposition: form-data; name=\"a\"; filename=\"b\"")),
            (
                KIND,
                part(&format!(
                    "Content-Disposition: form-data; name=\"{}\"",
                    "a".repeat(PART_HEAD_BYTES_MAX)
                )),
            ),
            (KIND, format!("{GOOD}more")),
        ] {
            let code = read(kind, body.as_bytes()).map(drop).map_err(|error| error.code);
            assert_eq!(code, Err(ErrorCode::InvalidRequest), "{kind} {body}");
        }
        let long = format!("multipart/form-data; boundary={}", "b".repeat(BOUNDARY_BYTES_MAX + 1));
        assert!(read(&long, b"").is_err());
    }
}
