//! JSON bodies, bounded while they are parsed: nothing beyond the limits is ever built.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::{Budget, DEPTH_MAX, Param, too_deep, too_many};
use crate::error::{ApiError, ErrorCode, clipped};

/// Reads a body that must be one JSON object.
pub(crate) fn object(bytes: &[u8], budget: &mut Budget) -> Result<Param, ApiError> {
    match value(bytes, budget)? {
        object @ Param::Object(_) => Ok(object),
        other => {
            let text = format!("the body must be one JSON object, not {}", other.kind());
            Err(ApiError::new(ErrorCode::InvalidParameter, text))
        }
    }
}

/// Reads any JSON value.
pub(crate) fn value(bytes: &[u8], budget: &mut Budget) -> Result<Param, ApiError> {
    let mut refusal = None;
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let read = Reader { depth: 0, budget, refusal: &mut refusal }
        .deserialize(&mut deserializer)
        .and_then(|param| deserializer.end().map(|()| param));
    read.map_err(|error| {
        refusal.unwrap_or_else(|| {
            let text = format!("the body is not valid JSON: {error}");
            ApiError::new(ErrorCode::InvalidParameter, text)
        })
    })
}

/// Reads one value; a refusal of ours goes out by the side, since serde's errors are text only.
struct Reader<'r> {
    depth: usize,
    budget: &'r mut Budget,
    refusal: &'r mut Option<ApiError>,
}

impl Reader<'_> {
    fn refuse<E: Error>(&mut self, error: ApiError) -> E {
        *self.refusal = Some(error);
        E::custom("refused")
    }

    fn inner(&mut self) -> Reader<'_> {
        Reader { depth: self.depth + 1, budget: self.budget, refusal: self.refusal }
    }

    fn enter<E: Error>(&mut self) -> Result<(), E> {
        if self.depth < DEPTH_MAX { Ok(()) } else { Err(self.refuse(too_deep())) }
    }
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Param;

    fn deserialize<D: Deserializer<'de>>(mut self, deserializer: D) -> Result<Param, D::Error> {
        if !self.budget.take() {
            return Err(self.refuse(too_many()));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Param;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Param, E> {
        Ok(Param::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Param, E> {
        Ok(Param::Boolean(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Param, E> {
        Ok(Param::Integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Param, E> {
        Ok(i64::try_from(value).map_or(Param::Number(value as f64), Param::Integer))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Param, E> {
        Ok(Param::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Param, E> {
        Ok(Param::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Param, E> {
        Ok(Param::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Param, A::Error> {
        self.enter()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self.inner())? {
            list.push(item);
        }
        Ok(Param::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<Param, A::Error> {
        self.enter()?;
        let mut object = BTreeMap::new();
        while let Some(name) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(self.inner())?;
            if object.contains_key(&name) {
                // Two readers of one body must not see two different requests.
                let text = format!("\"{}\" is given more than once", clipped(&name));
                return Err(self.refuse(ApiError::new(ErrorCode::InvalidParameter, text)));
            }
            object.insert(name, value);
        }
        Ok(Param::Object(object))
    }
}
