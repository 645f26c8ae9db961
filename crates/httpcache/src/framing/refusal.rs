//! Why a message is not read.

use http::StatusCode;

/// Why bytes on a connection are refused. After one of these nothing on the connection has a meaning that all parsers
/// agree on, so that it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum FramingRefusal {
    /// An empty line where a message should begin.
    #[error("an empty line stands before the start line; begin with the start line")]
    EmptyLine,
    /// A line that ends with LF alone.
    #[error("a line ends with LF alone; end lines with CR LF")]
    BareLf,
    /// CR without LF.
    #[error("a CR stands without LF; CR belongs to the end of a line only")]
    BareCr,
    /// A control character within a line.
    #[error("a control character stands in the head; only HTAB may, within a value")]
    Control,
    /// The method is no name of upper-case letters.
    #[error(
        "the method is not made of upper-case letters and \"-\" alone, or longer than {} bytes",
        super::METHOD_BYTES_MAX
    )]
    MethodForm,
    /// CONNECT.
    #[error("a cache does not answer CONNECT")]
    Connect,
    /// The start line is not made of three words with one space between each.
    #[error("the request line is not METHOD SP TARGET SP HTTP/1.1")]
    RequestLine,
    /// The target has none of the four forms.
    #[error(
        "the request target is neither a path that begins with \"/\", nor an http or https URL, and \"*\" is for OPTIONS only; no fragment, no user information, no character that URLs can't have, nothing that is not UTF-8"
    )]
    TargetForm,
    /// The target is too long.
    #[error("the request target is longer than this edge reads")]
    TargetTooLong,
    /// A version other than 1.0 and 1.1.
    #[error("the version is neither HTTP/1.1 nor HTTP/1.0")]
    Version,
    /// A field that goes on in a second line.
    #[error("a field line begins with white space; write each field in one line")]
    FoldedLine,
    /// A field line without a colon.
    #[error("a field line has no colon")]
    NoColon,
    /// White space between name and colon.
    #[error("white space stands between a field's name and the colon")]
    SpaceBeforeColon,
    /// A name that is no token.
    #[error("a field's name is empty or holds a character that names can't have")]
    FieldName,
    /// `Content_Length` and the like.
    #[error("a field is named like a framing field but for \"_\", which some servers read as \"-\"")]
    LookAlike,
    /// The head is too large.
    #[error("the head is larger than this edge reads")]
    HeadTooLarge,
    /// Too many fields.
    #[error("the head has more fields than this edge reads")]
    TooManyFields,
    /// `Content-Length` is no plain number.
    #[error("Content-Length is not one decimal number without sign, list, tab or leading zero")]
    LengthForm,
    /// `Content-Length` twice, equal or not.
    #[error("Content-Length stands there more than once")]
    LengthRepeated,
    /// `Transfer-Encoding` is not exactly `chunked`.
    #[error("Transfer-Encoding is anything but the one word chunked")]
    CodingForm,
    /// `Transfer-Encoding` twice.
    #[error("Transfer-Encoding stands there more than once")]
    CodingRepeated,
    /// Both.
    #[error("Content-Length and Transfer-Encoding stand in one message; send one of them")]
    LengthAndCoding,
    /// `Transfer-Encoding` in HTTP/1.0.
    #[error("Transfer-Encoding stands in a message of HTTP/1.0, which has none")]
    CodingInHttp10,
    /// A request that came in frames has a field of HTTP/1.1's connections.
    #[error("a request of HTTP/2 has Transfer-Encoding or Connection")]
    HopField,
    /// No `Host`.
    #[error("the request has no Host field")]
    HostMissing,
    /// `Host` twice.
    #[error("the request has more than one Host field")]
    HostRepeated,
    /// `Host` holds what no host and port do.
    #[error("the host is empty or holds a character that a host and port can't have")]
    HostForm,
    /// The target's host is not that of `Host`.
    #[error("the request target names another host than the Host field")]
    HostMismatch,
    /// The size of a chunk is malformed or too large.
    #[error("the size of a chunk is not 1 to 16 hexadecimal digits, or too large")]
    ChunkSize,
    /// A chunk extension.
    #[error("a chunk has an extension; nothing here reads them, and parsers disagree where they end")]
    ChunkExtension,
    /// A chunk's data is not followed by CR LF.
    #[error("a chunk is longer or shorter than its size says: no CR LF follows it")]
    ChunkEnd,
    /// A trailer field that a head must have.
    #[error("a trailer field belongs into the head: framing, routing, or credentials")]
    TrailerField,
    /// The trailer section is too large.
    #[error("the trailer section is larger than {} bytes", super::TRAILER_BYTES_MAX)]
    TrailersTooLarge,
    /// The connection ended within a message.
    #[error("the connection ended before the message did")]
    CutOff,
}

impl FramingRefusal {
    /// All of them.
    pub const ALL: [Self; 34] = [
        Self::EmptyLine,
        Self::BareLf,
        Self::BareCr,
        Self::Control,
        Self::MethodForm,
        Self::Connect,
        Self::RequestLine,
        Self::TargetForm,
        Self::TargetTooLong,
        Self::Version,
        Self::FoldedLine,
        Self::NoColon,
        Self::SpaceBeforeColon,
        Self::FieldName,
        Self::LookAlike,
        Self::HeadTooLarge,
        Self::TooManyFields,
        Self::LengthForm,
        Self::LengthRepeated,
        Self::CodingForm,
        Self::CodingRepeated,
        Self::LengthAndCoding,
        Self::CodingInHttp10,
        Self::HopField,
        Self::HostMissing,
        Self::HostRepeated,
        Self::HostForm,
        Self::HostMismatch,
        Self::ChunkSize,
        Self::ChunkExtension,
        Self::ChunkEnd,
        Self::TrailerField,
        Self::TrailersTooLarge,
        Self::CutOff,
    ];

    /// The name by which programs know it.
    pub fn name(self) -> &'static str {
        match self {
            Self::EmptyLine => "empty-line",
            Self::BareLf => "bare-lf",
            Self::BareCr => "bare-cr",
            Self::Control => "control-character",
            Self::MethodForm => "method-form",
            Self::Connect => "method",
            Self::RequestLine => "request-line",
            Self::TargetForm => "target-form",
            Self::TargetTooLong => "url-too-long",
            Self::Version => "http-version",
            Self::FoldedLine => "folded-line",
            Self::NoColon => "no-colon",
            Self::SpaceBeforeColon => "space-before-colon",
            Self::FieldName => "field-name",
            Self::LookAlike => "look-alike-field",
            Self::HeadTooLarge => "head-too-large",
            Self::TooManyFields => "too-many-fields",
            Self::LengthForm => "length-form",
            Self::LengthRepeated => "length-repeated",
            Self::CodingForm => "coding-form",
            Self::CodingRepeated => "coding-repeated",
            Self::LengthAndCoding => "length-and-coding",
            Self::CodingInHttp10 => "coding-in-http-1.0",
            Self::HopField => "hop-field",
            Self::HostMissing => "host-missing",
            Self::HostRepeated => "host-repeated",
            Self::HostForm => "host-form",
            Self::HostMismatch => "host-mismatch",
            Self::ChunkSize => "chunk-size",
            Self::ChunkExtension => "chunk-extension",
            Self::ChunkEnd => "chunk-end",
            Self::TrailerField => "trailer-field",
            Self::TrailersTooLarge => "trailers-too-large",
            Self::CutOff => "cut-off",
        }
    }

    /// How a request is answered that is refused for this.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Connect => StatusCode::METHOD_NOT_ALLOWED,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::HeadTooLarge | Self::TooManyFields => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}
