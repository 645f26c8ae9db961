//! What is logged: from the environment at the start, and later by the admin server.

use edge::LogLevel;
use std::io::IsTerminal as _;
use std::sync::Arc;
use tracing_subscriber::EnvFilter;

/// The words that are levels by themselves.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Starts logging to the standard error, and returns what changes it. `asked` is the environment's word, if it has one.
pub(crate) fn start(asked: Option<&str>, default: &str) -> LogLevel {
    let filter = asked.and_then(|text| EnvFilter::try_new(text).ok());
    let subscriber = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(filter.unwrap_or_else(|| default.into()))
        .with_filter_reloading()
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal());
    let (set, get) = (subscriber.reload_handle(), subscriber.reload_handle());
    subscriber.init();
    LogLevel {
        set: Arc::new(move |text| {
            let filter = parse(text)?;
            set.reload(filter).map_err(|error| error.to_string())
        }),
        get: Arc::new(move || get.with_current(ToString::to_string).unwrap_or_default()),
    }
}

/// A filter, or what is wrong with its text. A lone word that is no level would count as the name of a target, and turn
/// everything else off: hardly what is meant.
fn parse(text: &str) -> Result<EnvFilter, String> {
    let wrong =
        |what: &str| format!("{what}; write a level ({}), or for example info,edge=debug", LEVELS.join(", "));
    let directives: Vec<&str> = text.split(',').map(str::trim).collect();
    for directive in &directives {
        let is_level = LEVELS.iter().any(|level| level.eq_ignore_ascii_case(directive));
        if !is_level && !directive.contains(['=', '[']) {
            return Err(wrong(&format!("{directive:?} is no level")));
        }
    }
    EnvFilter::try_new(directives.join(",")).map_err(|error| wrong(&error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read_and_refused() {
        for good in ["info", "DEBUG", "info,edge=debug", "warn, control=trace", "off"] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in ["", "debg", "info,", "edge", "info,edge=loud", "edge=debug=info"] {
            let wrong = parse(bad).expect_err(bad);
            assert!(wrong.contains("write a level (off, error,"), "{bad}: {wrong}");
        }
    }
}
