//! The official command line client.

use std::process::Command;

use tempfile::TempDir;

use super::everfresh::Everfresh;
use super::process::{Ran, no_input, run, virtual_environment};

/// A `tccli` with a home of its own.
#[derive(Debug)]
pub(crate) struct Tccli {
    home: TempDir,
    endpoint: String,
    key: (String, String),
}

impl Tccli {
    pub(crate) fn new(network: &Everfresh) -> Self {
        Self {
            home: TempDir::new().unwrap(),
            // Written with its scheme: tccli speaks https to every other.
            endpoint: network.api.clone(),
            key: (network.secret_id.clone(), network.secret_key.clone()),
        }
    }

    /// Runs `tccli teo ACTION …`.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        let mut command = Command::new(virtual_environment().join("bin/tccli"));
        command.arg("teo").args(arguments).args(["--endpoint", &self.endpoint, "--region", "ap-guangzhou"]);
        command.env("HOME", self.home.path()).stdin(no_input());
        command.env("TENCENTCLOUD_SECRET_ID", &self.key.0).env("TENCENTCLOUD_SECRET_KEY", &self.key.1);
        run(&mut command, self.home.path(), "run `make test`, which installs the official clients")
    }

    /// Runs a call that is accepted.
    #[track_caller]
    pub(crate) fn accepted(&self, arguments: &[&str]) -> serde_json::Value {
        let ran = self.run(arguments);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
    }
}
