//! Types of fields: how a value as given becomes a typed one, how a typed one is written, and what can be told of
//! either in a table.
//!
//! The declarations in `edgeone` and `everfresh` are the only users of most of this; an explorer or a generator of
//! documentation reads [`ShapeSpec`]s.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

use crate::envelope::{self, RequestId};
use crate::error::{ApiError, ErrorCode, clipped};
use crate::params::Param;

/// What can be told of a field's type.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Text.
    String,
    /// A 64-bit integer.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// One of these texts.
    Choice(&'static [&'static str]),
    /// A list of values of one kind.
    List(&'static Kind),
    /// An object with declared fields.
    Object(&'static ShapeSpec),
    /// Always an empty list: a field that clients expect and we have nothing for.
    EmptyList,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::String => f.write_str("string"),
            Kind::Integer => f.write_str("integer"),
            Kind::Boolean => f.write_str("boolean"),
            Kind::Choice(values) => write!(f, "one of {}", values.join(", ")),
            Kind::List(Kind::Object(shape)) => write!(f, "list of {} objects", shape.name),
            Kind::List(item) => write!(f, "list of {item}"),
            Kind::Object(shape) => write!(f, "{} object", shape.name),
            Kind::EmptyList => f.write_str("list"),
        }
    }
}

/// A declared object: the parameters of an operation, its answer, or a part of either.
#[derive(Clone, Copy, Debug)]
pub struct ShapeSpec {
    /// The name of the Rust type.
    pub name: &'static str,
    /// What it is.
    pub doc: &'static str,
    /// Its fields, in the order declared.
    pub fields: &'static [FieldSpec],
}

/// When a field is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Must be given; is always answered.
    Required,
    /// May be left out, and then means what its doc says; an answer leaves it out when there is nothing to say.
    Optional,
    /// May be left out, and then has the default.
    Default,
    /// Always answered, as `null` when there is nothing to say.
    Nullable,
}

/// A declared field.
#[derive(Clone, Copy, Debug)]
pub struct FieldSpec {
    /// The name on the wire.
    pub name: &'static str,
    /// What it means, with units.
    pub doc: &'static str,
    /// Its type.
    pub kind: &'static Kind,
    /// When it is there.
    pub presence: Presence,
    /// The default, for [`Presence::Default`].
    pub default: Option<fn() -> Value>,
    /// Bounds on its value.
    pub limits: Limits,
}

/// Bounds on a field's value, beyond its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The least and the greatest integer.
    pub range: Option<(i64, i64)>,
    /// The most items of a list, and the code that one more is answered with.
    pub items_max: Option<(usize, ErrorCode)>,
    /// The longest string (or item of a list of strings), in bytes.
    pub bytes_max: Option<usize>,
    /// Not in the newest documentation, though some clients still send it.
    pub hidden: bool,
}

impl Limits {
    /// No bounds but those of the request as a whole.
    pub const NONE: Limits = Limits { range: None, items_max: None, bytes_max: None, hidden: false };

    /// Bounds an integer.
    pub const fn range(mut self, min: i64, max: i64) -> Self {
        self.range = Some((min, max));
        self
    }

    /// Bounds a list.
    pub const fn items(mut self, max: usize, code: ErrorCode) -> Self {
        self.items_max = Some((max, code));
        self
    }

    /// Bounds a string.
    pub const fn bytes(mut self, max: usize) -> Self {
        self.bytes_max = Some(max);
        self
    }

    /// Marks a field as hidden.
    pub const fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }
}

/// Why a value does not fit its declaration. The path grows as the refusal travels outwards.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    code: ErrorCode,
    path: String,
    text: String,
}

impl Fault {
    pub(crate) fn new(code: ErrorCode, text: impl Into<String>) -> Self {
        Self { code, path: String::new(), text: text.into() }
    }

    fn wrong_kind(wanted: impl fmt::Display, given: &Param) -> Self {
        Self::new(ErrorCode::InvalidParameter, format!("must be {wanted}, not {}", given.kind()))
    }

    fn within(mut self, outer: &str) -> Self {
        self.path = if self.path.is_empty() { outer.to_owned() } else { format!("{outer}.{}", self.path) };
        self
    }
}

impl From<Fault> for ApiError {
    fn from(fault: Fault) -> Self {
        let message =
            if fault.path.is_empty() { fault.text } else { format!("{}: {}", fault.path, fault.text) };
        ApiError::new(fault.code, message)
    }
}

/// What to do about names that no declaration knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// Requests: `UnknownParameter`.
    Refused,
    /// Answers: a newer server may say more.
    Ignored,
}

/// A type of field.
pub trait Wire: Sized {
    /// What can be told of it.
    const KIND: &'static Kind;

    /// Reads a value as given; one that came as text is converted.
    fn decode(given: Param, limits: &Limits, unknown: Unknown) -> Result<Self, Fault>;

    /// Writes the value.
    fn encode(&self) -> Value;
}

/// A declared object.
pub trait Shape: Wire {
    /// Its declaration.
    const SPEC: &'static ShapeSpec;

    /// Writes all its fields.
    fn encode_fields(&self) -> Map<String, Value>;
}

/// Reads an operation's parameters.
///
/// # Errors
/// `UnknownParameter`, `MissingParameter`, `InvalidParameter` and what a field's limits name.
pub fn decode_request<T: Shape>(given: Param) -> Result<T, ApiError> {
    Ok(T::decode(given, &Limits::NONE, Unknown::Refused)?)
}

/// Reads the fields of an answer, on the client's side. Fields that are not declared are ignored.
///
/// # Errors
/// Any, if the answer is not of the declared form.
pub fn decode_answer<T: Shape>(fields: Map<String, Value>) -> Result<T, ApiError> {
    Ok(T::decode(from_json(Value::Object(fields)), &Limits::NONE, Unknown::Ignored)?)
}

/// The JSON body of a request.
pub fn encode_request<T: Shape>(request: &T) -> Vec<u8> {
    Value::Object(request.encode_fields()).to_string().into_bytes()
}

/// The body of an answer, in its envelope.
pub fn encode_answer<T: Shape>(answer: &T, id: RequestId) -> Vec<u8> {
    envelope::success(answer.encode_fields(), id)
}

fn from_json(value: Value) -> Param {
    match value {
        Value::Null => Param::Null,
        Value::Bool(value) => Param::Boolean(value),
        Value::Number(number) => {
            number.as_i64().map_or(Param::Number(number.as_f64().unwrap_or(f64::NAN)), Param::Integer)
        }
        Value::String(text) => Param::String(text),
        Value::Array(items) => Param::List(items.into_iter().map(from_json).collect()),
        Value::Object(fields) => {
            Param::Object(fields.into_iter().map(|(name, value)| (name, from_json(value))).collect())
        }
    }
}

impl Wire for String {
    const KIND: &'static Kind = &Kind::String;

    fn decode(given: Param, limits: &Limits, _: Unknown) -> Result<Self, Fault> {
        let text = match given {
            Param::String(text) | Param::Text(text) => text,
            other => return Err(Fault::wrong_kind("a string", &other)),
        };
        match limits.bytes_max {
            Some(max) if text.len() > max => Err(Fault::new(
                ErrorCode::InvalidParameter,
                format!("has {} bytes; at most {max} are allowed", text.len()),
            )),
            _ => Ok(text),
        }
    }

    fn encode(&self) -> Value {
        Value::String(self.clone())
    }
}

impl Wire for i64 {
    const KIND: &'static Kind = &Kind::Integer;

    fn decode(given: Param, limits: &Limits, _: Unknown) -> Result<Self, Fault> {
        let number = match &given {
            Param::Integer(number) => *number,
            Param::Text(text) => text.parse().map_err(|_| {
                let text = format!("must be an integer, not \"{}\"", clipped(text));
                Fault::new(ErrorCode::InvalidParameter, text)
            })?,
            other => return Err(Fault::wrong_kind("an integer", other)),
        };
        match limits.range {
            Some((min, i64::MAX)) if number < min => Err(Fault::new(
                ErrorCode::InvalidParameter,
                format!("is {number}; it must be at least {min}"),
            )),
            Some((min, max)) if number < min || number > max => Err(Fault::new(
                ErrorCode::InvalidParameter,
                format!("is {number}; it must be between {min} and {max}"),
            )),
            _ => Ok(number),
        }
    }

    fn encode(&self) -> Value {
        (*self).into()
    }
}

impl Wire for bool {
    const KIND: &'static Kind = &Kind::Boolean;

    fn decode(given: Param, _: &Limits, _: Unknown) -> Result<Self, Fault> {
        match &given {
            Param::Boolean(value) => Ok(*value),
            // Python's spelling and everybody else's.
            Param::Text(text) if text == "true" || text == "True" => Ok(true),
            Param::Text(text) if text == "false" || text == "False" => Ok(false),
            Param::Text(text) => {
                let text = format!("must be true or false, not \"{}\"", clipped(text));
                Err(Fault::new(ErrorCode::InvalidParameter, text))
            }
            other => Err(Fault::wrong_kind("true or false", other)),
        }
    }

    fn encode(&self) -> Value {
        (*self).into()
    }
}

impl<T: Wire> Wire for Vec<T> {
    const KIND: &'static Kind = &Kind::List(T::KIND);

    fn decode(given: Param, limits: &Limits, unknown: Unknown) -> Result<Self, Fault> {
        let items = match given {
            Param::List(items) => items,
            Param::Branch(fields) => in_numeric_order(fields)?,
            Param::Text(_) => {
                let text = "must be a list: number its items from 0, as in Name.0=…&Name.1=…";
                return Err(Fault::new(ErrorCode::InvalidParameter, text));
            }
            other => return Err(Fault::wrong_kind("a list", &other)),
        };
        if let Some((max, code)) = limits.items_max
            && items.len() > max
        {
            return Err(Fault::new(code, format!("has {} items; at most {max} are allowed", items.len())));
        }
        let decode = |(index, item)| {
            T::decode(item, limits, unknown).map_err(|fault| fault.within(&usize::to_string(&index)))
        };
        items.into_iter().enumerate().map(decode).collect()
    }

    fn encode(&self) -> Value {
        self.iter().map(Wire::encode).collect()
    }
}

/// The items of a flattened list. Gaps in the numbering are closed.
fn in_numeric_order(fields: BTreeMap<String, Param>) -> Result<Vec<Param>, Fault> {
    let mut items = BTreeMap::new();
    for (name, value) in fields {
        let digits = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
        let Some(index) = digits.then(|| name.parse::<u64>().ok()).flatten() else {
            let text = format!("must be a list: number its items from 0, not \"{}\"", clipped(&name));
            return Err(Fault::new(ErrorCode::InvalidParameter, text));
        };
        if items.insert(index, value).is_some() {
            return Err(Fault::new(ErrorCode::InvalidParameter, format!("has two items number {index}")));
        }
    }
    Ok(items.into_values().collect())
}

/// Text that must not appear in logs: the secret half of a new key. No `Debug` of its content.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(pub String);

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(hidden)")
    }
}

impl Wire for SecretText {
    const KIND: &'static Kind = &Kind::String;

    fn decode(given: Param, limits: &Limits, unknown: Unknown) -> Result<Self, Fault> {
        String::decode(given, limits, unknown).map(Self)
    }

    fn encode(&self) -> Value {
        self.0.encode()
    }
}

/// A list that is always empty: clients expect the field, and we have nothing to put in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EmptyList;

impl Wire for EmptyList {
    const KIND: &'static Kind = &Kind::EmptyList;

    fn decode(given: Param, _: &Limits, _: Unknown) -> Result<Self, Fault> {
        match given {
            Param::List(_) | Param::Branch(_) => Ok(Self),
            other => Err(Fault::wrong_kind("a list", &other)),
        }
    }

    fn encode(&self) -> Value {
        Value::Array(Vec::new())
    }
}

/// Puts a field into an answer or a request that is being written, if there is anything to put.
pub(crate) fn put(mut fields: Map<String, Value>, name: &str, value: Option<Value>) -> Map<String, Value> {
    if let Some(value) = value {
        fields.insert(name.to_owned(), value);
    }
    fields
}

/// The fields of an object while they are taken out one by one, in the order declared.
#[derive(Debug)]
pub(crate) struct Fields {
    given: BTreeMap<String, Param>,
    declared: std::slice::Iter<'static, FieldSpec>,
    unknown: Unknown,
}

impl Fields {
    /// Opens an object; names that the shape does not declare are refused here.
    pub(crate) fn open(given: Param, spec: &'static ShapeSpec, unknown: Unknown) -> Result<Self, Fault> {
        let mut given = match given {
            Param::Object(fields) | Param::Branch(fields) => fields,
            other => return Err(Fault::wrong_kind("an object", &other)),
        };
        given.retain(|_, value| *value != Param::Null);
        if unknown == Unknown::Refused {
            let stranger = given.keys().find(|name| spec.fields.iter().all(|field| field.name != **name));
            if let Some(name) = stranger {
                return Err(not_declared(name, spec));
            }
        }
        Ok(Self { given, declared: spec.fields.iter(), unknown })
    }

    /// Takes the next field, which must be there.
    pub(crate) fn required<T: Wire>(&mut self) -> Result<T, Fault> {
        let spec = self.next_declared();
        self.take(spec)?.ok_or_else(|| {
            let text = format!("is required ({})", spec.kind);
            Fault::new(ErrorCode::MissingParameter, text).within(spec.name)
        })
    }

    /// Takes the next field, which may be there.
    pub(crate) fn optional<T: Wire>(&mut self) -> Result<Option<T>, Fault> {
        let spec = self.next_declared();
        self.take(spec)
    }

    fn next_declared(&mut self) -> &'static FieldSpec {
        self.declared.next().expect("shape! takes each field of its own table once")
    }

    fn take<T: Wire>(&mut self, spec: &FieldSpec) -> Result<Option<T>, Fault> {
        let Some(given) = self.given.remove(spec.name) else { return Ok(None) };
        T::decode(given, &spec.limits, self.unknown).map(Some).map_err(|fault| fault.within(spec.name))
    }
}

fn not_declared(name: &str, spec: &ShapeSpec) -> Fault {
    let near = spec.fields.iter().find(|field| field.name.eq_ignore_ascii_case(name));
    let text = match near {
        Some(field) => format!("is not defined; did you mean {}?", field.name),
        None if spec.fields.is_empty() => "is not defined; there are no parameters here".to_owned(),
        None => {
            let visible = spec.fields.iter().filter(|field| !field.limits.hidden).map(|field| field.name);
            format!("is not defined; defined are {}", visible.collect::<Vec<_>>().join(", "))
        }
    };
    Fault::new(ErrorCode::UnknownParameter, text).within(&clipped(name))
}

/// Reads one of a closed set of texts.
pub(crate) fn decode_choice<T: Copy>(given: &Param, all: &[(T, &'static str)]) -> Result<T, Fault> {
    let (Param::String(text) | Param::Text(text)) = given else {
        return Err(Fault::wrong_kind("a string", given));
    };
    let found = all.iter().find(|(_, name)| name == text).map(|(value, _)| *value);
    found.ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|(_, name)| *name).collect();
        let text = format!("is \"{}\"; it must be one of {}", clipped(text), names.join(", "));
        Fault::new(ErrorCode::InvalidParameter, text)
    })
}
