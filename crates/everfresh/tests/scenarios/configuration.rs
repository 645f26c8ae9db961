//! Edges that are configured by a file.

use tempfile::TempDir;

use crate::parts::{Nginx, Serve, http};

#[test]
fn an_edge_does_what_its_file_says_and_flags_win_over_it() {
    let nginx = Nginx::start();
    nginx.write("/small", "content\n");
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("edge.toml");
    let text = "workers = 1\nlisten = [\"127.0.0.1:0\", \"127.0.0.1:0\"]\n[clients]\ntarget_max = \"1KiB\"\n";
    std::fs::write(&file, text).unwrap();
    let config = ["--config", file.to_str().unwrap()];
    let network = Serve::new(&nginx.url()).edges(0).more(&config).start();
    assert_eq!(network.edges.len(), 2, "one for each address of the list");
    let long = format!("/small?{}", "x".repeat(1024));
    assert_eq!(network.get(0, &long).status, 414, "longer than clients.target_max");
    assert_eq!(network.get(1, "/small").status, 200);
    drop(network);

    let network = Serve::new(&nginx.url()).edges(1).more(&config).start();
    assert_eq!(network.edges.len(), 1, "--listen wins");
    assert_eq!(network.get(0, &long).status, 414, "what no flag says is the file's");
}

#[test]
fn an_edge_of_its_own_process_finds_its_control_plane_in_its_file() {
    let nginx = Nginx::start();
    nginx.write("/a", "content\n");
    let network = Serve::new(&nginx.url()).edges(1).more(&["--feed-listen", "127.0.0.1:0"]).start();
    let file = network.data.join("edge.toml");
    let text = format!(
        "name = \"far-edge\"\nlisten = \"127.0.0.1:0\"\ncontrol = {}\ntoken_file = {:?}\n",
        network.ready["feed"],
        network.data.join("edge.token"),
    );
    std::fs::write(&file, text).unwrap();
    let edge = network.start_edge_with(&["--config", file.to_str().unwrap()]);
    let answer = http::get(edge.address, "www.example.com", "/a");
    assert_eq!(answer.status, 200);
    assert!(answer.field("Cache-Status").starts_with("far-edge;"), "{answer:?}");
}

#[test]
fn a_file_that_cannot_be_used_says_everything_that_is_wrong_with_it() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("edge.toml");
    let start = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let config = ["--config", file.to_str().unwrap()];
        let refused = Serve::new("http://127.0.0.1:1").more(&config).try_start().unwrap_err();
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.err.contains(file.to_str().unwrap()), "it names the file: {refused:?}");
        refused.err
    };
    let err = start("[cache]\nmemory = \"64\"\n[clients]\nconnections_max = 0\n");
    assert!(err.contains("line 2: cache.memory = \"64\": "), "{err}");
    assert!(err.contains("clients.connections_max is 0; it must be from 1 to 1048576"), "{err}");
    let err = start("[cache]\nmemroy = \"64MiB\"\n");
    assert!(err.contains("unknown field `memroy`, expected one of `memory`"), "{err}");
    std::fs::remove_file(&file).unwrap();
    let config = ["--config", file.to_str().unwrap()];
    let refused = Serve::new("http://127.0.0.1:1").more(&config).try_start().unwrap_err();
    assert!(refused.err.contains("cannot read"), "{refused:?}");

    std::fs::write(&file, "control = \"127.0.0.1:1\"\n").unwrap();
    let refused = Serve::new("http://127.0.0.1:1").more(&config).try_start().unwrap_err();
    assert!(refused.err.contains("\"control\", which is for everfresh edge"), "{refused:?}");
}
