//! JSON that the user gives, from a file or the standard input, held against the API's own declarations.

use std::io::Read;

use teo::{Param, RawRequest, Shape, decode_request};

use crate::World;
use crate::exit::Failure;

/// The longest input, in bytes: what one call may hold.
const INPUT_BYTES_MAX: u64 = teo::POST_BODY_BYTES_MAX as u64;

/// What `path` holds; `-` is the standard input. One JSON object.
pub(crate) fn read(path: &str, world: &mut World<'_>) -> Result<Param, Failure> {
    let shown = if path == "-" { "the standard input" } else { path };
    let wrong = |why: String| Failure::Usage(format!("cannot use {shown}: {why}"));
    let mut text = Vec::new();
    let read = if path == "-" {
        world.input.take(INPUT_BYTES_MAX + 1).read_to_end(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(INPUT_BYTES_MAX + 1).read_to_end(&mut text))
    };
    read.map_err(|error| wrong(error.to_string()))?;
    if text.len() as u64 > INPUT_BYTES_MAX {
        return Err(wrong(format!("it is longer than {INPUT_BYTES_MAX} bytes")));
    }
    if text.trim_ascii().is_empty() {
        return Err(wrong("it is empty; it should hold one JSON object".to_owned()));
    }
    let trimmed = text.trim_ascii();
    // The API's own reader: no name twice, nothing nested without end.
    let headers = vec![(b"content-type".as_slice(), b"application/json".as_slice())];
    let request = RawRequest { method: "POST", target: b"/", headers, body: trimmed };
    Param::read(&request).map_err(|error| wrong(error.message))
}

/// A shape of the API out of what was read.
pub(crate) fn shaped<T: Shape>(path: &str, given: Param) -> Result<T, Failure> {
    let shown = if path == "-" { "the standard input" } else { path };
    decode_request(given).map_err(|error| Failure::Usage(format!("cannot use {shown}: {}", error.message)))
}
