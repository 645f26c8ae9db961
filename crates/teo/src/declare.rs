//! The macros in which operations are declared, once each.
//!
//! `choice!` makes an enum of texts, `shape!` an object, `product!` all operations of a product version. From each
//! declaration come the Rust type, the table that describes it, decoding and encoding; nothing is written twice.

/// Declares a closed set of texts.
macro_rules! choice {
    (
        $(#[doc = $doc:literal])+
        pub enum $name:ident { $( $(#[doc = $variant_doc:literal])+ $variant:ident = $text:literal, )+ }
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $( $(#[doc = $variant_doc])+ $variant, )+ }

        impl $name {
            /// Every value with its text on the wire.
            pub const ALL: &'static [($name, &'static str)] = &[ $( ($name::$variant, $text), )+ ];

            /// The text on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $( $name::$variant => $text, )+ }
            }
        }

        impl $crate::wire::Wire for $name {
            const KIND: &'static $crate::wire::Kind = &$crate::wire::Kind::Choice(&[ $( $text, )+ ]);

            fn decode(
                given: $crate::params::Param,
                _: &$crate::wire::Limits,
                _: $crate::wire::Unknown,
            ) -> Result<Self, $crate::wire::Fault> {
                $crate::wire::decode_choice(&given, Self::ALL)
            }

            fn encode(&self) -> serde_json::Value {
                self.as_str().into()
            }
        }
    };
}

/// Declares an object. Each field: doc, Rust name, wire name, type, presence (`required`, `optional`, `nullable` or
/// `default(value)`) and, behind dots, limits.
macro_rules! shape {
    (
        $(#[doc = $doc:literal])+
        pub struct $name:ident {
            $(
                $(#[doc = $field_doc:literal])+
                $field:ident $wire:literal : $ty:ty, $presence:ident $(($default:expr))? $(. $limit:ident ($($arg:expr),*))* ;
            )*
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $( $(#[doc = $field_doc])+ pub $field: shape!(@type $presence $ty), )*
        }

        impl $crate::wire::Shape for $name {
            const SPEC: &'static $crate::wire::ShapeSpec = &$crate::wire::ShapeSpec {
                name: stringify!($name),
                doc: concat!($($doc),+).trim_ascii(),
                fields: &[ $(
                    $crate::wire::FieldSpec {
                        name: $wire,
                        doc: concat!($($field_doc),+).trim_ascii(),
                        kind: <$ty as $crate::wire::Wire>::KIND,
                        presence: shape!(@presence $presence),
                        default: shape!(@default $ty $(, $default)?),
                        limits: $crate::wire::Limits::NONE $(. $limit ($($arg),*))*,
                    },
                )* ],
            };

            fn encode_fields(&self) -> serde_json::Map<String, serde_json::Value> {
                let fields = serde_json::Map::new();
                $( let fields = shape!(@encode $presence fields, $wire, &self.$field); )*
                fields
            }
        }

        impl $crate::wire::Wire for $name {
            const KIND: &'static $crate::wire::Kind =
                &$crate::wire::Kind::Object(<Self as $crate::wire::Shape>::SPEC);

            fn decode(
                given: $crate::params::Param,
                _: &$crate::wire::Limits,
                unknown: $crate::wire::Unknown,
            ) -> Result<Self, $crate::wire::Fault> {
                let fields = &mut $crate::wire::Fields::open(given, <Self as $crate::wire::Shape>::SPEC, unknown)?;
                // Fields are taken in the order of the table; a shape without any takes none.
                let _ = &fields;
                Ok(Self { $( $field: shape!(@decode $presence fields, $ty $(, $default)?), )* })
            }

            fn encode(&self) -> serde_json::Value {
                serde_json::Value::Object($crate::wire::Shape::encode_fields(self))
            }
        }
    };

    (@type required $ty:ty) => { $ty };
    (@type default $ty:ty) => { $ty };
    (@type optional $ty:ty) => { Option<$ty> };
    (@type nullable $ty:ty) => { Option<$ty> };

    (@presence required) => { $crate::wire::Presence::Required };
    (@presence default) => { $crate::wire::Presence::Default };
    (@presence optional) => { $crate::wire::Presence::Optional };
    (@presence nullable) => { $crate::wire::Presence::Nullable };

    (@default $ty:ty) => { None };
    (@default $ty:ty, $default:expr) => { Some(|| <$ty as $crate::wire::Wire>::encode(&$default)) };

    (@decode required $fields:ident, $ty:ty) => { $fields.required::<$ty>()? };
    (@decode default $fields:ident, $ty:ty, $default:expr) => {
        match $fields.optional::<$ty>()? {
            Some(given) => given,
            None => $default,
        }
    };
    (@decode optional $fields:ident, $ty:ty) => { $fields.optional::<$ty>()? };
    (@decode nullable $fields:ident, $ty:ty) => { $fields.optional::<$ty>()? };

    (@encode required $fields:ident, $wire:literal, $value:expr) => {
        $crate::wire::put($fields, $wire, Some($crate::wire::Wire::encode($value)))
    };
    (@encode default $fields:ident, $wire:literal, $value:expr) => {
        $crate::wire::put($fields, $wire, Some($crate::wire::Wire::encode($value)))
    };
    (@encode optional $fields:ident, $wire:literal, $value:expr) => {
        $crate::wire::put($fields, $wire, $value.as_ref().map($crate::wire::Wire::encode))
    };
    (@encode nullable $fields:ident, $wire:literal, $value:expr) => {
        $crate::wire::put(
            $fields,
            $wire,
            Some($value.as_ref().map_or(serde_json::Value::Null, $crate::wire::Wire::encode)),
        )
    };
}

/// Declares all operations of one product version.
macro_rules! product {
    (
        $variant:ident, $product:literal, $version:literal;
        $(
            $(#[doc = $doc:literal])+
            $action:ident {
                request $request:ident { $($request_fields:tt)* }
                response $response:ident { $($response_fields:tt)* }
            }
        )+
    ) => {
        /// The product's name in the credential scope.
        pub const NAME: &str = $product;
        /// The version, as `X-TC-Version` gives it.
        pub const VERSION: &str = $version;

        /// An operation of this product.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Action { $( $(#[doc = $doc])+ $action, )+ }

        impl Action {
            /// Every operation.
            pub const ALL: &'static [Action] = &[ $( Action::$action, )+ ];

            /// The name on the wire.
            pub const fn name(self) -> &'static str {
                match self { $( Action::$action => stringify!($action), )+ }
            }

            /// Its declaration.
            pub const fn spec(self) -> &'static $crate::action::ActionSpec {
                match self { $(
                    Action::$action => const {
                        &$crate::action::ActionSpec {
                            name: stringify!($action),
                            product: NAME,
                            version: VERSION,
                            doc: concat!($($doc),+).trim_ascii(),
                            request: <$request as $crate::wire::Shape>::SPEC,
                            response: <$response as $crate::wire::Shape>::SPEC,
                        }
                    },
                )+ }
            }

            /// Reads parameters as this operation declares them.
            pub fn decode(
                self,
                given: $crate::params::Param,
            ) -> Result<Request, $crate::error::ApiError> {
                match self { $(
                    Action::$action => $crate::wire::decode_request(given).map(Request::$action),
                )+ }
            }
        }

        /// A call of one of this product's operations, its parameters read.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Request { $( $(#[doc = $doc])+ $action($request), )+ }

        impl Request {
            /// The operation called.
            pub const fn action(&self) -> Action {
                match self { $( Request::$action(_) => Action::$action, )+ }
            }

            /// The parameters, written as a JSON body would have them, defaults filled in.
            pub fn encode_fields(&self) -> serde_json::Map<String, serde_json::Value> {
                match self { $( Request::$action(request) => $crate::wire::Shape::encode_fields(request), )+ }
            }
        }

        $(
            shape! {
                $(#[doc = $doc])+
                pub struct $request { $($request_fields)* }
            }

            shape! {
                /// What the operation answers.
                pub struct $response { $($response_fields)* }
            }

            impl $crate::action::Operation for $request {
                type Response = $response;
                const ACTION: $crate::action::Action = $crate::action::Action::$variant(Action::$action);
            }
        )+
    };
}

pub(crate) use {choice, product, shape};
