//! Values as a configuration file writes them, and what they mean.
//!
//! A value is read in two steps, so that all that is wrong with a file is said at once: the file's syntax and keys
//! first, then each value with its key and line.

use crate::args::{parse_size, parse_time};
use edge::{AccessLogFormat, EdgeConfigError, Network, OtherStatuses, SetCookie};
use purge::FencePolicy;
use serde::Deserialize;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use toml::{Spanned, Value};

/// How much of a wrong value is shown, in characters.
const SHOWN_MAX: usize = 60;

/// A kind of value.
pub(super) trait Written {
    /// What it becomes.
    type Meant;

    /// As it stands in the file.
    fn as_written(&self) -> &Spanned<Value>;

    /// What it means, or what is wrong with it.
    fn meant(&self) -> Result<Self::Meant, String>;
}

/// A text.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Text(Spanned<Value>);

/// A size: `"64KiB"`, `"256MiB"`, `"10GiB"`.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Size<T>(Spanned<Value>, PhantomData<T>);

/// A time: `"250ms"`, `"30s"`, `"5m"`.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Time(Spanned<Value>);

/// A whole number.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Count<T>(Spanned<Value>, PhantomData<T>);

/// One address or a list of them.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Addresses(Spanned<Value>);

/// One address.
#[derive(Debug)]
pub(super) struct Address(pub(super) Addresses);

/// A list of addresses and networks.
#[derive(Debug)]
pub(super) struct Networks(pub(super) Texts);

/// A list of texts.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Texts(Spanned<Value>);

/// A format of the access log.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct LogFormat(Spanned<Value>);

/// What to do with responses that set cookies.
#[derive(Debug)]
pub(super) struct Cookies(pub(super) Text);

/// Which other statuses are stored.
#[derive(Debug)]
pub(super) struct Statuses(pub(super) Text);

/// What an edge does without a lease.
#[derive(Debug)]
pub(super) struct Policies(pub(super) Text);

/// `true` or `false`.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Switch(Spanned<Value>);

fn text_of<'v>(value: &'v Value, wanted: &str) -> Result<&'v str, String> {
    value.as_str().ok_or_else(|| format!("this is no text; write {wanted}"))
}

fn address_of(value: &Value) -> Result<SocketAddr, String> {
    let text = text_of(value, "an address with a port, for example \"127.0.0.1:8080\"")?;
    text.parse()
        .map_err(|_| format!("{text:?} is no address with a port; write for example \"127.0.0.1:8080\""))
}

impl Written for Text {
    type Meant = String;

    fn as_written(&self) -> &Spanned<Value> {
        &self.0
    }

    fn meant(&self) -> Result<String, String> {
        text_of(self.0.get_ref(), "it in quotes").map(str::to_owned)
    }
}

impl<T: TryFrom<u64>> Written for Size<T> {
    type Meant = T;

    fn as_written(&self) -> &Spanned<Value> {
        &self.0
    }

    fn meant(&self) -> Result<T, String> {
        let bytes = parse_size(text_of(self.0.get_ref(), "a size, for example \"256MiB\"")?)?;
        T::try_from(bytes).map_err(|_| "this is more than the machine can address".to_owned())
    }
}

impl Written for Time {
    type Meant = Duration;

    fn as_written(&self) -> &Spanned<Value> {
        &self.0
    }

    fn meant(&self) -> Result<Duration, String> {
        parse_time(text_of(self.0.get_ref(), "a time, for example \"30s\"")?)
    }
}

impl<T: TryFrom<i64>> Written for Count<T> {
    type Meant = T;

    fn as_written(&self) -> &Spanned<Value> {
        &self.0
    }

    fn meant(&self) -> Result<T, String> {
        let value = self.0.get_ref();
        let wrong = || "this is no whole number from 0, written without quotes".to_owned();
        T::try_from(value.as_integer().ok_or_else(wrong)?).map_err(|_| wrong())
    }
}

impl Written for Addresses {
    type Meant = Vec<SocketAddr>;

    fn as_written(&self) -> &Spanned<Value> {
        &self.0
    }

    fn meant(&self) -> Result<Vec<SocketAddr>, String> {
        match self.0.get_ref() {
            Value::Array(list) if list.is_empty() => Err("the list is empty; name an address".into()),
            Value::Array(list) => list.iter().map(address_of).collect(),
            one => Ok(vec![address_of(one)?]),
        }
    }
}

impl Written for Address {
    type Meant = SocketAddr;

    fn as_written(&self) -> &Spanned<Value> {
        &self.0.0
    }

    fn meant(&self) -> Result<SocketAddr, String> {
        address_of(self.0.0.get_ref())
    }
}

impl Written for Networks {
    type Meant = Vec<Network>;

    fn as_written(&self) -> &Spanned<Value> {
        self.0.as_written()
    }

    fn meant(&self) -> Result<Vec<Network>, String> {
        self.0.meant()?.iter().map(|text| text.parse().map_err(|wrong| format!("{wrong}"))).collect()
    }
}

impl Written for Texts {
    type Meant = Vec<String>;

    fn as_written(&self) -> &Spanned<Value> {
        &self.0
    }

    fn meant(&self) -> Result<Vec<String>, String> {
        let Value::Array(list) = self.0.get_ref() else {
            return Err("this is no list; write it in brackets, for example [\"one\", \"another\"]".into());
        };
        list.iter().map(|text| text_of(text, "each item in quotes").map(str::to_owned)).collect()
    }
}

impl Written for LogFormat {
    type Meant = AccessLogFormat;

    fn as_written(&self) -> &Spanned<Value> {
        &self.0
    }

    fn meant(&self) -> Result<AccessLogFormat, String> {
        match self.0.get_ref().as_str() {
            Some("json") => Ok(AccessLogFormat::Json),
            Some("combined") => Ok(AccessLogFormat::Combined),
            _ => Err("there is no such format; write \"json\" or \"combined\"".into()),
        }
    }
}

impl Written for Switch {
    type Meant = bool;

    fn as_written(&self) -> &Spanned<Value> {
        &self.0
    }

    fn meant(&self) -> Result<bool, String> {
        self.0.get_ref().as_bool().ok_or_else(|| "write true or false, without quotes".to_owned())
    }
}

impl Written for Cookies {
    type Meant = SetCookie;

    fn as_written(&self) -> &Spanned<Value> {
        self.0.as_written()
    }

    fn meant(&self) -> Result<SetCookie, String> {
        match self.0.meant()?.as_str() {
            "dont-store" => Ok(SetCookie::DontStore),
            "store-without" => Ok(SetCookie::StoreWithout),
            "store-if-shared" => Ok(SetCookie::StoreIfShared),
            other => {
                Err(format!("{other:?} is none of \"dont-store\", \"store-without\", \"store-if-shared\""))
            }
        }
    }
}

impl Written for Policies {
    type Meant = FencePolicy;

    fn as_written(&self) -> &Spanned<Value> {
        self.0.as_written()
    }

    fn meant(&self) -> Result<FencePolicy, String> {
        let text = self.0.meant()?;
        FencePolicy::parse(&text).ok_or_else(|| format!("{text:?} is none of {}", fence_policies()))
    }
}

/// All policies, as an error names them.
fn fence_policies() -> String {
    FencePolicy::EVERY.map(|policy| format!("{:?}", policy.as_str())).join(", ")
}

impl Written for Statuses {
    type Meant = OtherStatuses;

    fn as_written(&self) -> &Spanned<Value> {
        self.0.as_written()
    }

    fn meant(&self) -> Result<OtherStatuses, String> {
        match self.0.meant()?.as_str() {
            "never" => Ok(OtherStatuses::Never),
            "with-lifetime" => Ok(OtherStatuses::WithLifetime),
            "rfc9111" => Ok(OtherStatuses::Rfc9111),
            other => Err(format!("{other:?} is none of \"never\", \"with-lifetime\", \"rfc9111\"")),
        }
    }
}

/// One reading of a file: gathers what is wrong.
pub(super) struct Reading<'t> {
    text: &'t str,
    wrong: Vec<String>,
}

impl<'t> Reading<'t> {
    pub(super) fn of(text: &'t str) -> Self {
        Self { text, wrong: Vec::new() }
    }

    /// Puts what is written under `key` into its place, or leaves the default there.
    pub(super) fn take<W: Written>(&mut self, key: &str, written: Option<W>, into: &mut W::Meant) {
        let mut meant = None;
        self.take_optional(key, written, &mut meant);
        if let Some(meant) = meant {
            *into = meant;
        }
    }

    /// The same for a path, which has no default.
    pub(super) fn take_path(&mut self, key: &str, written: Option<Text>, into: &mut Option<PathBuf>) {
        let mut path = None;
        self.take_optional(key, written, &mut path);
        *into = path.map(PathBuf::from);
    }

    /// Adds what is wrong with several values together.
    pub(super) fn refuse(&mut self, wrong: &str) {
        self.wrong.push(format!("  {wrong}"));
    }

    /// The same for what has no default.
    pub(super) fn take_optional<W: Written>(
        &mut self,
        key: &str,
        written: Option<W>,
        into: &mut Option<W::Meant>,
    ) {
        let Some(written) = written else { return };
        match written.meant() {
            Ok(meant) => *into = Some(meant),
            Err(wrong) => {
                let span = written.as_written().span();
                let before = self.text.get(..span.start).unwrap_or_default();
                let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
                let shown: String = self.text.get(span).unwrap_or_default().chars().take(SHOWN_MAX).collect();
                self.wrong.push(format!("  line {line}: {key} = {shown}: {wrong}"));
            }
        }
    }

    /// Adds what is wrong with values that are well written: they name their keys.
    pub(super) fn add(&mut self, errors: Vec<EdgeConfigError>) {
        self.wrong.extend(errors.into_iter().map(|error| format!("  {error}")));
    }

    /// Everything that is wrong, a line each.
    pub(super) fn end(self) -> Result<(), String> {
        if self.wrong.is_empty() { Ok(()) } else { Err(self.wrong.join("\n")) }
    }
}
