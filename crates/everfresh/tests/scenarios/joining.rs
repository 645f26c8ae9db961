//! Edges that join with a token, keep a key of their own, are drained, resumed and removed.

use serde_json::Value;
use tempfile::TempDir;

use crate::parts::process::PATIENCE;
use crate::parts::{Edge, Everfresh, Nginx, Serve, everfresh::HOST, http, until};
use crate::tls::make_for;

fn comes_to_hit(edge: &Edge) {
    until(PATIENCE, "the edge should serve from its cache", || {
        (http::get(edge.address, HOST, "/a").eo() == "HIT").then_some(())
    });
}

/// The state of each process or edge of this name.
fn states(network: &Everfresh, name: &str) -> Vec<String> {
    let edges: Value = serde_json::from_str(&network.done(&["edges", "--json"])).unwrap();
    let edges = edges["Edges"].as_array().unwrap().iter().filter(|edge| edge["EdgeName"] == name);
    edges.map(|edge| edge["State"].as_str().unwrap().to_owned()).collect()
}

fn comes_to_be(network: &Everfresh, expected: &[&str]) {
    until(PATIENCE, &format!("the edge should be {expected:?}"), || {
        (states(network, "far") == expected).then_some(())
    });
}

#[test]
fn an_edge_joins_by_a_token_keeps_its_key_and_rests_or_goes_when_told() {
    let nginx = Nginx::start();
    nginx.write("/a", "content\n");
    let directory = TempDir::new().unwrap();
    let files = make_for(directory.path(), &["localhost"]);
    let path = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let (certificate, key) = (path(&files.certificate), path(&files.key));
    let network = Serve::new(&nginx.url())
        .edges(1)
        .more(&["--lease", "1s", "--feed-listen", "127.0.0.1:0"])
        .more(&["--feed-tls-cert", &certificate, "--feed-tls-key", &key])
        .start();
    let made =
        network.done(&["edges", "token", "create", "--comment", "far host", "--expires", "1h", "--json"]);
    let made: Value = serde_json::from_str(&made).unwrap();
    let token_file = directory.path().join("token");
    std::fs::write(&token_file, made["Token"].as_str().unwrap()).unwrap();
    let port = network.ready["feed"].as_str().unwrap().rsplit_once(':').unwrap().1;
    // The first of them listens nowhere.
    let control = format!("https://localhost:1,https://localhost:{port}");
    let (authority, data) = (path(&files.authority), path(&directory.path().join("edge")));
    let start = |token: &[&str]| {
        let own =
            ["--listen", "127.0.0.1:0", "--name", "far", "--control", &control, "--control-ca", &authority];
        network.start_edge_with(&[&own[..], &["--data", &data], token].concat())
    };
    let mut edge = start(&["--token-file", token_file.to_str().unwrap()]);
    comes_to_hit(&edge);
    edge.kill();
    network.done(&["edges", "token", "revoke", made["TokenId"].as_str().unwrap()]);
    let edge = start(&[]);
    comes_to_hit(&edge);

    network.done(&["edges", "drain", "far"]);
    comes_to_be(&network, &["drained"]);
    assert_ne!(http::get(edge.address, HOST, "/a").eo(), "HIT");
    network.done(&["purge", "url", "http://www.example.com/a", "--wait"]);
    network.done(&["edges", "resume", "far"]);
    comes_to_hit(&edge);

    network.done(&["edges", "remove", "far"]);
    comes_to_be(&network, &[]);
    assert_ne!(http::get(edge.address, HOST, "/a").eo(), "HIT", "a removed edge has no lease");
    let refused = network.command(&["edges", "remove", "far"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    let tokens = network.done(&["edges", "token", "list"]);
    assert!(tokens.contains("far host") && tokens.contains("revoked"), "{tokens}");
}

#[test]
fn an_edge_starts_and_serves_from_the_origin_while_its_control_plane_is_away() {
    let nginx = Nginx::start();
    nginx.write("/a", "old\n");
    let directory = TempDir::new().unwrap();
    let mut network =
        Serve::new(&nginx.url()).edges(1).more(&["--lease", "1s", "--feed-listen", "127.0.0.1:0"]).start();
    let token_file = network.data.join("edge.token");
    let data = directory.path().join("edge");
    let feed = network.ready["feed"].as_str().unwrap().to_owned();
    let (token_file, data_text) =
        (token_file.to_str().unwrap().to_owned(), data.to_str().unwrap().to_owned());
    let start = |network: &Everfresh| {
        let own = ["--listen", "127.0.0.1:0", "--name", "far", "--control", &feed];
        network.start_edge_with(&[&own[..], &["--token-file", &token_file, "--disk", &data_text]].concat())
    };
    let mut edge = start(&network);
    comes_to_hit(&edge);
    until(PATIENCE, "the configuration should be kept", || {
        data.join("far/configuration").exists().then_some(())
    });
    edge.kill();
    network.kill();
    let edge = start(&network);
    nginx.write("/a", "new\n");
    for _ in 0..2 {
        let answer = http::get(edge.address, HOST, "/a");
        assert_eq!((answer.status, answer.text().as_str()), (200, "new\n"), "from the origin, each time");
        assert_ne!(answer.eo(), "HIT");
    }
}
