//! Closed sets of values on the command line: those that the API declares.

use clap::builder::{PossibleValuesParser, TypedValueParser};

/// Parses one of the API's texts; `--help` lists them.
pub(crate) fn choice<T: Copy + Send + Sync + 'static>(
    all: &'static [(T, &'static str)],
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(all.iter().map(|(_, text)| *text)).try_map(move |text| {
        let found = all.iter().find(|(_, known)| *known == text).map(|(value, _)| *value);
        found.ok_or("not one of the values listed")
    })
}
