//! One call of the API: signed, sent, its answer read.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};
use teo::{Answer, Operation, Shape, decode_answer, encode_request, envelope, sign_request};
use ureq::Agent;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use crate::connection::Connection;
use crate::exit::Failure;
use crate::times;

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer may take, beyond what the request itself asks the API to wait.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest file of certificates, in bytes.
const CA_FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Calls the API with one key.
pub struct Client<'w> {
    agent: Agent,
    connection: Connection,
    now: &'w dyn Fn() -> SystemTime,
}

/// An answer and the name that the server gave to the exchange.
#[derive(Debug)]
pub struct Answered<T> {
    /// What the operation answers.
    pub answer: T,
    /// The number of the request.
    pub request_id: String,
}

impl std::fmt::Debug for Client<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("endpoint", &self.connection.endpoint).finish_non_exhaustive()
    }
}

impl<T: Shape> Answered<T> {
    /// The fields as the API answered them.
    pub fn fields(&self) -> Map<String, Value> {
        let mut fields = self.answer.encode_fields();
        fields.insert("RequestId".to_owned(), self.request_id.clone().into());
        fields
    }
}

impl<'w> Client<'w> {
    pub(crate) fn new(connection: Connection, now: &'w dyn Fn() -> SystemTime) -> Result<Self, Failure> {
        let mut config = Agent::config_builder()
            // Status codes and redirects are no part of this API; what is not 200 did not come from it.
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .user_agent(concat!("everfresh/", env!("CARGO_PKG_VERSION")));
        if connection.endpoint.is_loopback() {
            config = config.proxy(None);
        }
        if let Some(path) = &connection.ca_cert {
            let certificates = read_certificates(path)?;
            let roots = RootCerts::new_with_certs(&certificates);
            config = config.tls_config(TlsConfig::builder().root_certs(roots).build());
        }
        Ok(Self { agent: config.build().into(), connection, now })
    }

    /// Calls an operation.
    ///
    /// # Errors
    /// It is refused, or no answer of this API came.
    pub fn call<T: Operation>(&self, request: &T) -> Result<Answered<T::Response>, Failure> {
        self.call_waiting(request, Duration::ZERO)
    }

    /// Calls an operation that waits up to `wait` before it answers.
    ///
    /// # Errors
    /// It is refused, or no answer of this API came.
    pub fn call_waiting<T: Operation>(
        &self,
        request: &T,
        wait: Duration,
    ) -> Result<Answered<T::Response>, Failure> {
        let body = self.exchange(T::ACTION, &encode_request(request), wait)?;
        match Answer::read(&body).map_err(|error| self.unreachable(&error.to_string()))? {
            Answer::Failure { code, message, request_id } => {
                Err(Failure::Refused { code, message, request_id })
            }
            Answer::Success { fields, request_id } => {
                let answer = decode_answer(fields).map_err(|error| {
                    self.unreachable(&format!(
                        "the answer to {} is not of its form: {error}",
                        T::ACTION.name()
                    ))
                })?;
                Ok(Answered { answer, request_id })
            }
        }
    }

    fn exchange(&self, action: teo::Action, body: &[u8], wait: Duration) -> Result<Vec<u8>, Failure> {
        let Connection { endpoint, signer, .. } = &self.connection;
        let now_unix_secs = times::unix_secs((self.now)());
        let mut request = self.agent.post(endpoint.url());
        for (name, value) in sign_request(signer, &endpoint.authority, action, body, now_unix_secs) {
            request = request.header(name, value);
        }
        let sent = request.config().timeout_global(Some(ANSWER_TIMEOUT + wait)).build().send(body);
        let mut response = sent.map_err(|error| self.unreachable(&error.to_string()))?;
        if response.status() != 200 {
            return Err(self.unreachable(&format!("it answered HTTP {}", response.status().as_u16())));
        }
        let limit = envelope::ANSWER_BYTES_MAX as u64;
        let read = response.body_mut().with_config().limit(limit).read_to_vec();
        read.map_err(|error| self.unreachable(&error.to_string()))
    }

    fn unreachable(&self, why: &str) -> Failure {
        Failure::Unreachable(format!("no answer from the API at {}: {why}", self.connection.endpoint.url()))
    }
}

fn read_certificates(path: &std::path::Path) -> Result<Vec<Certificate<'static>>, Failure> {
    let shown = path.display();
    let wrong = |why: String| Failure::Usage(format!("cannot use the certificates in {shown}: {why}"));
    let bytes = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?.len();
    if bytes > CA_FILE_BYTES_MAX {
        return Err(wrong(format!("the file is larger than {CA_FILE_BYTES_MAX} bytes")));
    }
    let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let mut certificates = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|error| wrong(error.to_string()))? {
            certificates.push(certificate);
        }
    }
    if certificates.is_empty() {
        return Err(wrong("it holds no PEM certificate".to_owned()));
    }
    Ok(certificates)
}
