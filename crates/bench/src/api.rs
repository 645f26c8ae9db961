//! Calls of Everfresh's API, signed.

use anyhow::{Context, bail};
use serde_json::{Map, Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::SystemTime;
use teo::{Action, Answer, SecretKey, Signer, sign_request};

/// The key of the measured network.
pub(crate) const SECRET_ID: &str = "AKIDbench";
/// Its secret.
pub(crate) const SECRET_KEY: &str = "bench-key";

/// One connection to the API.
pub(crate) struct Api {
    stream: BufReader<TcpStream>,
    host: String,
    signer: Signer,
}

impl Api {
    pub(crate) fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let secret_key = SecretKey::new(SECRET_KEY);
        let signer = Signer { secret_id: SECRET_ID.into(), secret_key, token: None };
        Ok(Self { stream: BufReader::new(stream), host: address.to_string(), signer })
    }

    /// Calls an action with these parameters. The answer's fields.
    pub(crate) fn call(
        &mut self,
        version: &str,
        name: &str,
        parameters: &Value,
    ) -> anyhow::Result<Map<String, Value>> {
        let action = Action::find(version, name).map_err(|error| anyhow::anyhow!("{name}: {error:?}"))?;
        let body = parameters.to_string();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
        let mut head = "POST / HTTP/1.1\r\n".to_owned();
        for (field, value) in sign_request(&self.signer, &self.host, action, body.as_bytes(), now.try_into()?)
        {
            head.push_str(&format!("{field}: {value}\r\n"));
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
        self.stream.get_mut().write_all(head.as_bytes())?;
        let answer = read_answer(&mut self.stream)?.1;
        match Answer::read(&answer).with_context(|| format!("the answer to {name}"))? {
            Answer::Success { fields, .. } => Ok(fields),
            Answer::Failure { code, message, .. } => bail!("{name}: {code:?}: {message}"),
        }
    }

    /// Lifts the quotas of a zone.
    pub(crate) fn lift_quotas(&mut self, zone: &str) -> anyhow::Result<()> {
        for kind in ["purge_url", "purge_prefix", "purge_host", "purge_all", "purge_cache_tag"] {
            let parameters = json!({"ZoneId": zone, "Type": kind, "Batch": 1000, "Daily": 1_000_000_000});
            self.call("2026-11-01", "ModifyContentQuota", &parameters)?;
        }
        Ok(())
    }
}

/// Reads one answer with a `Content-Length`: its head and its body.
pub(crate) fn read_answer(stream: &mut BufReader<TcpStream>) -> anyhow::Result<(String, Vec<u8>)> {
    let mut head = String::new();
    loop {
        let before = head.len();
        if stream.read_line(&mut head)? == 0 {
            bail!("the connection was closed in a head: {head:?}");
        }
        if &head[before..] == "\r\n" {
            break;
        }
    }
    let length = crate::machine::field(&head.to_ascii_lowercase(), "content-length");
    let mut body = vec![0; length.and_then(|text| text.parse().ok()).unwrap_or(0)];
    stream.read_exact(&mut body)?;
    Ok((head, body))
}
