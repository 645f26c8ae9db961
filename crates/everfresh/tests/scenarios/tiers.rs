//! An edge process that asks another edge as its parent, nginx behind both.

use crate::parts::process::PATIENCE;
use crate::parts::{Nginx, Serve, http, until};

#[test]
fn a_child_edge_fetches_through_its_parent_and_purges_reach_both() {
    let nginx = Nginx::start();
    nginx.write("/a", "one\n");
    let network = Serve::new(&nginx.url()).edges(1).more(&["--feed-listen", "127.0.0.1:0"]).start();
    let parent = format!("http://{}", network.edges[0]);
    let token_file = network.data.join("edge.token");
    let child = network.start_edge_with(&[
        "--listen",
        "127.0.0.1:0",
        "--name",
        "child",
        "--control",
        network.ready["feed"].as_str().unwrap(),
        "--token-file",
        token_file.to_str().unwrap(),
        "--parent",
        &parent,
    ]);
    let get = || http::get(child.address, "www.example.com", "/a");
    until(PATIENCE, "the child should serve from its cache", || (get().eo() == "HIT").then_some(()));
    assert_eq!(network.get(0, "/a").eo(), "HIT", "the parent kept it, too");
    assert_eq!(nginx.asked().len(), 1, "one request for both");

    for (method, status) in [("invalidate", 304), ("delete", 200)] {
        let purge = ["purge", "prefix", "http://www.example.com/", "--method", method, "--wait", "--json"];
        let out = network.done(&purge);
        assert!(out.contains("child"), "{out}");
        assert_eq!(get().text(), "one\n");
        let asked = nginx.asked();
        assert_eq!((asked.len(), asked[0].status), (1, status), "{method}: {asked:?}");
        assert_eq!(get().eo(), "HIT");
        assert_eq!(network.get(0, "/a").eo(), "HIT");
    }
}
