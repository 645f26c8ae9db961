//! An edge process with a disk tier that is killed, misses a purge, and starts again.

use tempfile::TempDir;

use crate::parts::process::PATIENCE;
use crate::parts::{Edge, Everfresh, Nginx, Serve, everfresh::HOST, http, until};

/// Waits until an edge serves this path from its cache. What it serves then.
fn comes_to_hit(edge: &Edge, path: &str) -> String {
    until(PATIENCE, "the edge should serve from its cache", || {
        let answer = http::get(edge.address, HOST, path);
        (answer.eo() == "HIT").then(|| answer.text())
    })
}

/// What `everfresh stored` finds of a URL in an edge's directory, as its text.
fn stored(network: &Everfresh, directory: &str, path: &str) -> String {
    network.done(&["stored", directory, "--url", &format!("{HOST}{path}")])
}

#[test]
fn an_edge_killed_over_a_purge_serves_the_rest_of_its_disk_and_the_purged_bytes_leave_it() {
    let nginx = Nginx::start();
    let directory = TempDir::new().unwrap();
    let network =
        Serve::new(&nginx.url()).edges(1).more(&["--lease", "1s", "--feed-listen", "127.0.0.1:0"]).start();
    let (disk, own) = (directory.path().join("cache"), directory.path().join("cache/far"));
    let own = own.to_str().unwrap();
    let file = directory.path().join("edge.toml");
    let text = format!(
        "name = \"far\"\nlisten = \"127.0.0.1:0\"\ncontrol = {}\ntoken_file = {:?}\n[cache]\nsweep_interval = \"100ms\"\n",
        network.ready["feed"],
        network.data.join("edge.token"),
    );
    std::fs::write(&file, text).unwrap();
    let arguments = [
        "--config",
        file.to_str().unwrap(),
        "--disk",
        disk.to_str().unwrap(),
        "--admin-listen",
        "127.0.0.1:0",
    ];

    let paths = ["/kept", "/purged", "/also-kept"];
    for path in paths {
        nginx.write(path, "old content\n");
    }
    let mut edge = network.start_edge_with(&arguments);
    for path in paths {
        comes_to_hit(&edge, path);
        until(PATIENCE, "the response should be on disk", || {
            stored(&network, own, path).contains("bytes=12 ").then_some(())
        });
    }
    edge.kill();

    nginx.write("/purged", "new content!\n");
    let purge = ["purge", "url", &format!("http://{HOST}/purged"), "--method", "delete", "--wait", "--json"];
    let out = network.done(&purge);
    let purged: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(purged["Progress"]["Status"], "success", "{out}");
    assert!(stored(&network, own, "/purged").contains("bytes=12 "), "nobody was there to take it away");
    // Whatever it now gets from the origin shows.
    for path in ["/kept", "/also-kept"] {
        nginx.write(path, "changed content\n");
    }
    nginx.asked();

    let edge = network.start_edge_with(&arguments);
    until(PATIENCE, "the edge should find its files", || {
        let metrics = http::get(edge.admin.unwrap(), "localhost", "/metrics");
        metrics.text().contains("\neverfresh_edge_disk_recovered 1\n").then_some(())
    });
    for path in ["/kept", "/also-kept"] {
        // A lease that a busy machine lets run out costs a request to the origin, and no more.
        assert_eq!(comes_to_hit(&edge, path), "old content\n");
    }
    assert_eq!(http::get(edge.address, HOST, "/purged").text(), "new content!\n");
    let asked = nginx.asked();
    let purged: Vec<_> = asked.iter().filter(|asked| asked.uri == "/purged").collect();
    assert!(purged.iter().all(|asked| asked.if_none_match.is_empty()), "{asked:?}");
    assert_eq!(purged.len(), 1, "{asked:?}");
    until(PATIENCE, "the purged bytes should leave the disk", || {
        let found = stored(&network, own, "/purged");
        (!found.contains("bytes=12 ")).then_some(())
    });
    assert!(stored(&network, own, "/kept").contains("bytes=12 "));
}
