//! The official Python SDK, in a process of its own that makes one call after the other.

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use super::everfresh::Everfresh;
use super::process::{PATIENCE, Process, until, virtual_environment};

/// The program that makes the calls.
const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/sdk.py");

/// An SDK with a profile.
#[derive(Debug)]
pub(crate) struct Sdk {
    /// Endpoint, key and whatever else a profile holds.
    pub(crate) profile: Value,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    _process: Process,
}

/// An error as the SDK surfaces it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) request_id: String,
}

impl Sdk {
    /// An SDK for this network and its first key.
    pub(crate) fn start(network: &Everfresh) -> Self {
        let (scheme, endpoint) = network.api.split_once("://").unwrap();
        Self::with_profile(json!({
            "scheme": scheme,
            "endpoint": endpoint,
            "secret_id": network.secret_id,
            "secret_key": network.secret_key,
        }))
    }

    pub(crate) fn with_profile(profile: Value) -> Self {
        let mut command = Command::new(virtual_environment().join("bin/python"));
        command.arg(CLIENT).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process =
            Process::spawn(&mut command, "run `make test`, which installs the official clients");
        let stdin = process.child.stdin.take().unwrap();
        let stdout = BufReader::new(process.child.stdout.take().unwrap());
        Self { profile, stdin, stdout, _process: process }
    }

    /// Sets one part of the profile.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.profile[name] = value.into();
    }

    /// One call.
    pub(crate) fn call(&mut self, action: &str, parameters: Value) -> Result<Value, Refused> {
        let mut order = self.profile.clone();
        order["action"] = action.into();
        order["parameters"] = parameters;
        self.stdin.write_all(format!("{order}\n").as_bytes()).unwrap();
        self.stdin.flush().unwrap();
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        let outcome: Value =
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} at {line:?}, after {order}"));
        let text = |name: &str| outcome["error"][name].as_str().unwrap_or_default().to_owned();
        match outcome.get("answer") {
            Some(answer) => Ok(answer.clone()),
            None => {
                Err(Refused { code: text("code"), message: text("message"), request_id: text("request_id") })
            }
        }
    }

    /// One call that is accepted.
    #[track_caller]
    pub(crate) fn accepted(&mut self, action: &str, parameters: Value) -> Value {
        self.call(action, parameters).unwrap_or_else(|refused| panic!("{action} was refused: {refused:?}"))
    }

    /// One call that is refused.
    #[track_caller]
    pub(crate) fn refused(&mut self, action: &str, parameters: Value) -> Refused {
        match self.call(action, parameters.clone()) {
            Ok(answer) => panic!("{action} {parameters} should be refused; it was answered {answer}"),
            Err(refused) => refused,
        }
    }

    /// Asks until every task of a job has ended, and returns them.
    pub(crate) fn wait(&mut self, zone_id: &str, job_id: &str) -> Vec<Value> {
        until(PATIENCE, &format!("job {job_id} should end"), || {
            let parameters = json!({"ZoneId": zone_id, "Filters": [{"Name": "job-id", "Values": [job_id]}]});
            let answer = match self.call("DescribePurgeTasks", parameters) {
                Ok(answer) => answer,
                Err(refused) if refused.code == "RequestLimitExceeded" => return None,
                Err(refused) => panic!("{refused:?}"),
            };
            let tasks = answer["Tasks"].as_array().unwrap().clone();
            assert!(!tasks.is_empty(), "the job {job_id} is not there");
            tasks.iter().all(|task| task["Status"] != "processing").then_some(tasks)
        })
    }
}
