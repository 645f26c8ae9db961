//! Finding the operation that a request calls.
//!
//! Two products share one endpoint and one way of signing; the version tells them apart.

use serde_json::{Map, Value};

use crate::error::{ApiError, ErrorCode, clipped};
use crate::params::Param;
use crate::sign::Authenticated;
use crate::wire::{Shape, ShapeSpec};
use crate::{edgeone, everfresh};

/// The declaration of an operation.
#[derive(Clone, Copy, Debug)]
pub struct ActionSpec {
    /// The name on the wire.
    pub name: &'static str,
    /// The product it belongs to.
    pub product: &'static str,
    /// The product's version.
    pub version: &'static str,
    /// What it does.
    pub doc: &'static str,
    /// Its parameters.
    pub request: &'static ShapeSpec,
    /// The fields of its answer, without `RequestId`.
    pub response: &'static ShapeSpec,
}

/// The parameters of an operation, as a type that knows its operation and its answer.
pub trait Operation: Shape {
    /// What the operation answers.
    type Response: Shape;
    /// Which operation it is.
    const ACTION: Action;
}

/// A product of the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Product {
    /// EdgeOne's API, to which nothing foreign is added.
    Teo,
    /// Ours, for what EdgeOne has no word for.
    Everfresh,
}

impl Product {
    /// Every product.
    pub const ALL: &'static [Product] = &[Product::Teo, Product::Everfresh];

    /// The name in the credential scope.
    pub const fn name(self) -> &'static str {
        match self {
            Product::Teo => edgeone::NAME,
            Product::Everfresh => everfresh::NAME,
        }
    }

    /// The version, as `X-TC-Version` gives it.
    pub const fn version(self) -> &'static str {
        match self {
            Product::Teo => edgeone::VERSION,
            Product::Everfresh => everfresh::VERSION,
        }
    }
}

/// An operation of either product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// One of EdgeOne's.
    Teo(edgeone::Action),
    /// One of ours.
    Everfresh(everfresh::Action),
}

impl Action {
    /// Every operation of every product.
    pub fn all() -> impl Iterator<Item = Action> {
        let teo = edgeone::Action::ALL.iter().copied().map(Action::Teo);
        teo.chain(everfresh::Action::ALL.iter().copied().map(Action::Everfresh))
    }

    /// The operation of this name in this version.
    ///
    /// # Errors
    /// `NoSuchVersion`, `InvalidAction`.
    pub fn find(version: &str, name: &str) -> Result<Action, ApiError> {
        let Some(product) = Product::ALL.iter().copied().find(|product| product.version() == version) else {
            let text = format!(
                "there is no version \"{}\"; there are {} (product {}) and {} (product {})",
                clipped(version),
                edgeone::VERSION,
                edgeone::NAME,
                everfresh::VERSION,
                everfresh::NAME,
            );
            return Err(ApiError::new(ErrorCode::NoSuchVersion, text));
        };
        let found = Action::all().find(|action| action.product() == product && action.name() == name);
        found.ok_or_else(|| {
            let near = Action::all().find(|action| action.name().eq_ignore_ascii_case(name));
            let hint = match near {
                Some(action) => {
                    format!("; did you mean {} of version {}?", action.name(), action.product().version())
                }
                None => String::new(),
            };
            let text = format!("there is no operation \"{}\" in version {version}{hint}", clipped(name));
            ApiError::new(ErrorCode::InvalidAction, text)
        })
    }

    /// Reads parameters as this operation declares them.
    ///
    /// # Errors
    /// Those of [`crate::wire::decode_request`].
    pub fn decode(self, given: Param) -> Result<Request, ApiError> {
        match self {
            Action::Teo(action) => action.decode(given).map(Request::Teo),
            Action::Everfresh(action) => action.decode(given).map(Request::Everfresh),
        }
    }

    /// The product it belongs to.
    pub const fn product(self) -> Product {
        match self {
            Action::Teo(_) => Product::Teo,
            Action::Everfresh(_) => Product::Everfresh,
        }
    }

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Action::Teo(action) => action.name(),
            Action::Everfresh(action) => action.name(),
        }
    }

    /// Its declaration.
    pub const fn spec(self) -> &'static ActionSpec {
        match self {
            Action::Teo(action) => action.spec(),
            Action::Everfresh(action) => action.spec(),
        }
    }
}

/// A call, its parameters read and held against the operation's declaration.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "one at a time, matched at once; a box would only be in the way"
)]
pub enum Request {
    /// Of EdgeOne's API.
    Teo(edgeone::Request),
    /// Of ours.
    Everfresh(everfresh::Request),
}

impl Request {
    /// The operation called.
    pub const fn action(&self) -> Action {
        match self {
            Request::Teo(request) => Action::Teo(request.action()),
            Request::Everfresh(request) => Action::Everfresh(request.action()),
        }
    }

    /// The parameters, written as a JSON body would have them, defaults filled in.
    pub fn encode_fields(&self) -> Map<String, Value> {
        match self {
            Request::Teo(request) => request.encode_fields(),
            Request::Everfresh(request) => request.encode_fields(),
        }
    }
}

impl Authenticated<'_> {
    /// The operation that the request calls. Version first, then name.
    ///
    /// # Errors
    /// `MissingParameter`, `NoSuchVersion`, `InvalidAction`.
    pub fn action(&self) -> Result<Action, ApiError> {
        let missing = |name: &str, example: &str| {
            let text = format!("{name} is missing; give it as the header X-TC-{name}, such as {example}");
            ApiError::new(ErrorCode::MissingParameter, text)
        };
        let version = self.version().ok_or_else(|| missing("Version", edgeone::VERSION))?;
        let name = self.action_name();
        Action::find(version, name.unwrap_or("")).map_err(|error| match (name, error.code) {
            (None, ErrorCode::InvalidAction) => missing("Action", "DescribeZones"),
            _ => error,
        })
    }

    /// The call: [`Authenticated::action`], then its parameters.
    ///
    /// # Errors
    /// Those of [`Authenticated::action`], [`Authenticated::parameters`] and [`crate::wire::decode_request`].
    pub fn decode(&self) -> Result<Request, ApiError> {
        let action = self.action()?;
        action.decode(self.parameters()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(version: &str, name: &str, expected: Result<Action, ErrorCode>) {
        assert_eq!(Action::find(version, name).map_err(|error| error.code), expected, "{version} {name}");
    }

    #[test]
    fn the_version_comes_before_the_name() {
        check("2022-09-01", "CreatePurgeTask", Ok(Action::Teo(edgeone::Action::CreatePurgeTask)));
        check("2026-11-01", "CreateKey", Ok(Action::Everfresh(everfresh::Action::CreateKey)));
        check("2022-01-06", "CreatePurgeTask", Err(ErrorCode::NoSuchVersion));
        check("", "", Err(ErrorCode::NoSuchVersion));
        check("2022-09-01", "CreateKey", Err(ErrorCode::InvalidAction));
        check("2022-09-01", "createpurgetask", Err(ErrorCode::InvalidAction));
        check("2022-09-01", "CreateOriginGroup", Err(ErrorCode::InvalidAction));
    }

    #[test]
    fn every_operation_is_found_by_its_own_name_and_described() {
        for action in Action::all() {
            check(action.product().version(), action.name(), Ok(action));
            let spec = action.spec();
            assert!(spec.doc.ends_with('.'), "{}", spec.name);
            for field in spec.request.fields.iter().chain(spec.response.fields) {
                assert!(field.doc.len() > 3 && field.doc.ends_with('.'), "{}.{}", spec.name, field.name);
            }
        }
    }
}
