//! The API over TLS, with a certificate authority of the test's own.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::json;
use tempfile::TempDir;

use crate::parts::{Sdk, Serve};

/// The files of a certificate authority and of a server it vouches for.
pub(crate) struct Files {
    pub(crate) authority: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

fn make(directory: &Path) -> Files {
    make_for(directory, &["127.0.0.1", "localhost"])
}

/// A server of these names.
pub(crate) fn make_for(directory: &Path, names: &[&str]) -> Files {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, "authority of this test");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let server =
        CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()).unwrap();
    let server = server.signed_by(&key, &authority).unwrap();
    let write = |name: &str, text: String| {
        let path = directory.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    Files {
        authority: write("ca.pem", authority.pem()),
        certificate: write("server.pem", server.pem()),
        key: write("server.key", key.serialize_pem()),
    }
}

#[test]
fn the_sdk_speaks_https_and_trusts_only_the_given_authority() {
    let directory = TempDir::new().unwrap();
    let files = make(directory.path());
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let network = Serve::new("http://127.0.0.1:1")
        .more(&["--api-tls-cert", &text(&files.certificate), "--api-tls-key", &text(&files.key)])
        .start();
    assert!(network.api.starts_with("https://"), "{}", network.api);

    let mut sdk = Sdk::start(&network);
    let refused = sdk.refused("DescribeZones", json!({}));
    assert!(refused.message.contains("CERTIFICATE_VERIFY_FAILED"), "{refused:?}");
    sdk.set("certification", text(&files.authority));
    assert_eq!(sdk.accepted("DescribeZones", json!({}))["TotalCount"], 1);
    let purge = json!({"ZoneId": network.zone_id, "Type": "purge_all"});
    let job_id = sdk.accepted("CreatePurgeTask", purge)["JobId"].as_str().unwrap().to_owned();
    assert_eq!(sdk.wait(&network.zone_id, &job_id)[0]["Status"], "success");

    let out = network.done(&["zone", "list", "--ca-cert", &text(&files.authority)]);
    assert!(out.contains("example.com"), "{out}");
    assert_eq!(network.command(&["zone", "list"]).code, Some(3), "its authority is unknown");
}

#[test]
fn a_certificate_allows_to_listen_beyond_loopback() {
    let directory = TempDir::new().unwrap();
    let files = make(directory.path());
    let arguments =
        ["--api-tls-cert", files.certificate.to_str().unwrap(), "--api-tls-key", files.key.to_str().unwrap()];
    Serve::new("http://127.0.0.1:1").api_listen("0.0.0.0:0").more(&arguments).start();

    let refused = Serve::new("http://127.0.0.1:1").api_listen("0.0.0.0:0").try_start().unwrap_err();
    assert_ne!(refused.code, Some(0));
    assert!(refused.err.contains("not encrypted") && refused.err.contains("--api-tls-cert"), "{refused:?}");
}
