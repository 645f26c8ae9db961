//! Where the API is, and with which key: flags, environment, profile file.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use teo::{SecretKey, Signer};

use crate::exit::Failure;
use crate::{Common, World};

/// Where the API is when nobody says otherwise: what `everfresh serve` listens on.
pub(crate) const ENDPOINT_DEFAULT: &str = "http://127.0.0.1:8090";
/// The largest profile file, in bytes.
const PROFILE_FILE_BYTES_MAX: u64 = 1024 * 1024;

/// A checked endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) https: bool,
    /// Host and port as written: the value of the Host header, which is signed.
    pub(crate) authority: String,
}

/// Everything needed to call the API.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) endpoint: Endpoint,
    pub(crate) signer: Signer,
    pub(crate) ca_cert: Option<PathBuf>,
}

/// One entry of the profile file, as written.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawProfile {
    /// Where the API is. Default: the loopback one of `everfresh serve`.
    endpoint: Option<String>,
    /// Names the key.
    secret_id: Option<String>,
    /// The key's secret.
    secret_key: Option<String>,
    /// A PEM file with the only certificates to trust.
    ca_cert: Option<PathBuf>,
}

impl Endpoint {
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let wrong = || {
            Failure::Usage(format!(
                "the endpoint \"{text}\" must read http://HOST[:PORT] or https://HOST[:PORT], without a path"
            ))
        };
        let (https, rest) = match text.strip_prefix("https://") {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix("http://").ok_or_else(wrong)?),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let plain =
            |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b'?' | b'#' | b'@' | b'\\' | b'%');
        let endpoint = Self { https, authority: authority.to_owned() };
        if endpoint.host().is_empty() || !authority.bytes().all(plain) {
            return Err(wrong());
        }
        Ok(endpoint)
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://{}/", if self.https { "https" } else { "http" }, self.authority)
    }

    /// The host without port, an IPv6 address without brackets.
    fn host(&self) -> &str {
        if let Some(rest) = self.authority.strip_prefix('[') {
            return rest.split(']').next().unwrap_or("");
        }
        self.authority.split(':').next().unwrap_or("")
    }

    /// Whether the endpoint is on this machine by its very name. A proxy could not reach it.
    pub(crate) fn is_loopback(&self) -> bool {
        let host = self.host();
        host.eq_ignore_ascii_case("localhost")
            || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

/// Gathers the connection. A profile that is named counts for more than the environment; a key in the environment makes
/// the profile file unnecessary, and it is not read then. So both halves of a key come from one place.
pub(crate) fn resolve(common: &Common, world: &mut World<'_>) -> Result<Connection, Failure> {
    let environment = world.environment;
    let named = common.profile.as_deref();
    let variable = |name: &str| environment(name).filter(|value| named.is_none() && !value.is_empty());
    let endpoint = common.endpoint.clone().or_else(|| variable("EVERFRESH_ENDPOINT"));
    let profile = match (variable("EVERFRESH_SECRET_ID"), variable("EVERFRESH_SECRET_KEY")) {
        (None, None) => read_profile(named, world)?,
        (Some(id), Some(key)) => {
            RawProfile { secret_id: Some(id), secret_key: Some(key), ..RawProfile::default() }
        }
        _ => {
            let text = "set both EVERFRESH_SECRET_ID and EVERFRESH_SECRET_KEY, or neither";
            return Err(Failure::Usage(text.to_owned()));
        }
    };
    let endpoint = endpoint.or(profile.endpoint);
    let endpoint = Endpoint::parse(endpoint.as_deref().unwrap_or(ENDPOINT_DEFAULT))?;
    let (secret_id, secret_key) = match (profile.secret_id, profile.secret_key) {
        (Some(id), Some(key)) => (id, key),
        (None, None) => {
            return Err(Failure::Usage(
                "there is no key: set EVERFRESH_SECRET_ID and EVERFRESH_SECRET_KEY, or write a profile (see --help)"
                    .to_owned(),
            ));
        }
        _ => {
            let text = "the profile must give both secret_id and secret_key, or neither";
            return Err(Failure::Usage(text.to_owned()));
        }
    };
    if !endpoint.https && !endpoint.is_loopback() {
        writeln!(
            world.err,
            "warning: {} is not encrypted; use https:// beyond this machine",
            endpoint.url()
        )?;
    }
    let signer = Signer { secret_id, secret_key: SecretKey::new(&secret_key), token: None };
    Ok(Connection { endpoint, signer, ca_cert: common.ca_cert.clone().or(profile.ca_cert) })
}

/// The profile of this name; without a name, the one called `default`, if there is a file and an entry.
fn read_profile(name: Option<&str>, world: &mut World<'_>) -> Result<RawProfile, Failure> {
    let Some(path) = profile_file(world.environment) else {
        return match name {
            None => Ok(RawProfile::default()),
            Some(_) => {
                Err(Failure::Usage("--profile needs HOME or EVERFRESH_PROFILE_FILE to be set".to_owned()))
            }
        };
    };
    let shown = path.display();
    let metadata = match fs::metadata(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && name.is_none() => {
            return Ok(RawProfile::default());
        }
        other => {
            other.map_err(|error| Failure::Usage(format!("cannot read the profile file {shown}: {error}")))?
        }
    };
    if metadata.len() > PROFILE_FILE_BYTES_MAX {
        let text = format!("the profile file {shown} is larger than {PROFILE_FILE_BYTES_MAX} bytes");
        return Err(Failure::Usage(text));
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        writeln!(world.err, "warning: others may read the keys in {shown}; run: chmod 600 {shown}")?;
    }
    let mut profiles = parse_profiles(&path)?;
    match (profiles.remove(name.unwrap_or("default")), name) {
        (Some(profile), _) => Ok(profile),
        (None, None) => Ok(RawProfile::default()),
        (None, Some(name)) => {
            let known: Vec<&str> = profiles.keys().map(String::as_str).collect();
            Err(Failure::Usage(format!("{shown} has no profile \"{name}\"; it has: {}", known.join(", "))))
        }
    }
}

fn parse_profiles(path: &Path) -> Result<BTreeMap<String, RawProfile>, Failure> {
    let shown = path.display();
    let text = fs::read(path)
        .map_err(|error| Failure::Usage(format!("cannot read the profile file {shown}: {error}")))?;
    serde_json::from_slice(&text).map_err(|error| {
        Failure::Usage(format!(
            "the profile file {shown} must be JSON such as {{\"default\": {{\"endpoint\": \"…\", \"secret_id\": \"…\", \
             \"secret_key\": \"…\", \"ca_cert\": \"…\"}}}}: {error}"
        ))
    })
}

fn profile_file(environment: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let variable = |name: &str| environment(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("EVERFRESH_PROFILE_FILE").or_else(|| {
        let config =
            variable("XDG_CONFIG_HOME").or_else(|| variable("HOME").map(|home| home.join(".config")))?;
        Some(config.join("everfresh/profiles.json"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_have_a_scheme_a_host_and_no_path() {
        let check = |text: &str, expected: Option<(&str, bool)>| {
            let parsed = Endpoint::parse(text).ok();
            let seen = parsed.as_ref().map(|endpoint| (endpoint.url(), endpoint.is_loopback()));
            assert_eq!(seen, expected.map(|(url, loopback)| (url.to_owned(), loopback)), "{text}");
        };
        check(ENDPOINT_DEFAULT, Some(("http://127.0.0.1:8090/", true)));
        check("https://api.example.com/", Some(("https://api.example.com/", false)));
        check("http://[::1]:80", Some(("http://[::1]:80/", true)));
        check("http://localhost", Some(("http://localhost/", true)));
        check("http://127.0.0.1.example.com", Some(("http://127.0.0.1.example.com/", false)));
        for wrong in [
            "",
            "127.0.0.1:8090",
            "ftp://a",
            "http://",
            "http://:80",
            "http://a/b",
            "http://u@a",
            "http://a b",
            "http://a//",
        ] {
            check(wrong, None);
        }
    }
}
