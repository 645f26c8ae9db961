//! Flattened parameters: `Filters.0.Values.1=x`, in a query or a form body.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::{Budget, DEPTH_MAX, NAME_BYTES_MAX, Param, too_deep, too_many};
use crate::error::{ApiError, ErrorCode, clipped};

/// Decodes and unflattens a query or form body.
pub(crate) fn from_flat_bytes(encoded: &[u8]) -> Result<Param, ApiError> {
    unflatten(decode_flat(encoded)?)
}

/// Decodes a query or form body into names and values: `+` is a space, `%XX` a byte, and the whole must be UTF-8.
/// A name given twice is refused.
pub(crate) fn decode_flat(encoded: &[u8]) -> Result<Vec<(String, String)>, ApiError> {
    let mut pairs = Vec::new();
    let mut names = std::collections::BTreeSet::new();
    for pair in encoded.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
        if pairs.len() == super::ELEMENTS_MAX {
            return Err(too_many());
        }
        let at = pair.iter().position(|byte| *byte == b'=');
        let (name, value) = at.map_or((pair, &b""[..]), |at| (&pair[..at], &pair[at + 1..]));
        let name = decode(name)?;
        let value = decode(value)?;
        if !names.insert(name.clone()) {
            return Err(given_twice(&name));
        }
        pairs.push((name, value));
    }
    Ok(pairs)
}

fn decode(encoded: &[u8]) -> Result<String, ApiError> {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut at = 0;
    while at < encoded.len() {
        match (encoded[at], digit(encoded.get(at + 1)), digit(encoded.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                at += 3;
            }
            (b'+', ..) => {
                bytes.push(b' ');
                at += 1;
            }
            (byte, ..) => {
                bytes.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(bytes).map_err(|_| {
        let text = "parameters must be UTF-8 once percent-decoded";
        ApiError::new(ErrorCode::InvalidParameter, text)
    })
}

/// Builds the tree of flattened names.
pub(crate) fn unflatten(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Param, ApiError> {
    let mut root = BTreeMap::new();
    let mut budget = Budget::new();
    for (name, value) in pairs {
        insert(&mut root, &name, Param::Text(value), &mut budget)?;
    }
    Ok(Param::Object(root))
}

/// Puts a value where its flattened name says.
pub(super) fn insert(
    root: &mut BTreeMap<String, Param>,
    name: &str,
    value: Param,
    budget: &mut Budget,
) -> Result<(), ApiError> {
    if name.len() > NAME_BYTES_MAX {
        let text = format!("a parameter's name may have at most {NAME_BYTES_MAX} bytes");
        return Err(ApiError::new(ErrorCode::InvalidParameter, text));
    }
    let mut segments: Vec<&str> = name.split('.').collect();
    if segments.len() > DEPTH_MAX {
        return Err(too_deep());
    }
    let last = segments.pop().unwrap_or(name);
    let mut level = root;
    for segment in segments {
        if !level.contains_key(segment) && !budget.take() {
            return Err(too_many());
        }
        let below = level.entry(segment.to_owned()).or_insert_with(|| Param::Branch(BTreeMap::new()));
        let Param::Branch(below) = below else { return Err(given_twice(name)) };
        level = below;
    }
    match level.entry(last.to_owned()) {
        Entry::Occupied(_) => Err(given_twice(name)),
        Entry::Vacant(_) if !budget.take() => Err(too_many()),
        Entry::Vacant(vacant) => {
            vacant.insert(value);
            Ok(())
        }
    }
}

fn given_twice(name: &str) -> ApiError {
    let text = format!("\"{}\" is given more than once, or both as a value and as a group", clipped(name));
    ApiError::new(ErrorCode::InvalidParameter, text)
}

/// Flattens parameters as the official clients do for GET: indexes from 0, booleans as `true` and `false`, empty lists
/// and objects left out. Names come in the tree's order.
pub fn flatten(parameters: &Param) -> Vec<(String, String)> {
    fn walk(path: &str, param: &Param, pairs: &mut Vec<(String, String)>) {
        let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        match param {
            Param::Null => {}
            Param::Boolean(value) => pairs.push((path.to_owned(), value.to_string())),
            Param::Integer(value) => pairs.push((path.to_owned(), value.to_string())),
            Param::Number(value) => pairs.push((path.to_owned(), value.to_string())),
            Param::String(text) | Param::Text(text) => pairs.push((path.to_owned(), text.clone())),
            Param::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    walk(&below(&index.to_string()), item, pairs);
                }
            }
            Param::Object(fields) | Param::Branch(fields) => {
                for (name, value) in fields {
                    walk(&below(name), value, pairs);
                }
            }
        }
    }
    let mut pairs = Vec::new();
    walk("", parameters, &mut pairs);
    pairs
}

#[cfg(test)]
mod tests {
    use super::super::ELEMENTS_MAX;
    use super::*;

    fn check(encoded: &str, expected: Result<&[(&str, &str)], ErrorCode>) {
        let decoded = decode_flat(encoded.as_bytes()).map_err(|error| error.code);
        let expected = expected.map(|pairs| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vec<_>>()
        });
        assert_eq!(decoded, expected, "{encoded}");
    }

    #[test]
    fn percent_and_plus_are_decoded_whatever_the_client() {
        check("", Ok(&[]));
        check("a=1&b=x+y%20z%2Bw&c", Ok(&[("a", "1"), ("b", "x y z+w"), ("c", "")]));
        check("a=b=c&&d=%E5%9B%BE", Ok(&[("a", "b=c"), ("d", "图")]));
        check("a=100%&b=%zz", Ok(&[("a", "100%"), ("b", "%zz")]));
        check("a=%ff", Err(ErrorCode::InvalidParameter));
        check("a=1&a=2", Err(ErrorCode::InvalidParameter));
        check("a=1&%61=2", Err(ErrorCode::InvalidParameter));
    }

    #[test]
    fn names_that_contradict_each_other_are_refused() {
        for bad in ["a=1&a.0=2", "a.0=1&a=2", "a.0.b=1&a.0=2"] {
            let code = from_flat_bytes(bad.as_bytes()).map_err(|error| error.code);
            assert_eq!(code, Err(ErrorCode::InvalidParameter), "{bad}");
        }
    }

    #[test]
    fn depth_name_and_number_are_bounded() {
        let code = |text: String| from_flat_bytes(text.as_bytes()).map(drop).map_err(|error| error.code);
        assert_eq!(code(format!("a{}=1", ".a".repeat(DEPTH_MAX - 1))), Ok(()));
        assert_eq!(code(format!("a{}=1", ".a".repeat(DEPTH_MAX))), Err(ErrorCode::InvalidParameter));
        assert_eq!(code(format!("{}=1", "a".repeat(NAME_BYTES_MAX))), Ok(()));
        assert_eq!(code(format!("{}=1", "a".repeat(NAME_BYTES_MAX + 1))), Err(ErrorCode::InvalidParameter));
        let many = |number: usize| (0..number).map(|n| format!("p{n}=&")).collect::<String>();
        assert_eq!(code(many(ELEMENTS_MAX)), Ok(()));
        assert_eq!(code(many(ELEMENTS_MAX + 1)), Err(ErrorCode::RequestSizeLimitExceeded));
    }
}
