//! Three control planes on one PostgreSQL database, and what is left of them.

use crate::parts::control::{Control, control_command, edge_of};
use crate::parts::everfresh::{Edge, HOST};
use crate::parts::postgres_server::PostgresServer;
use crate::parts::process::PATIENCE;
use crate::parts::{Nginx, http, until};

fn get(edge: &Edge) -> String {
    let answer = http::get(edge.address, HOST, "/a");
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.eo()
}

/// Every edge comes to serve from its cache.
fn fill(edges: &[Edge]) {
    for edge in edges {
        until(PATIENCE, "an edge should serve from its cache", || (get(edge) == "HIT").then_some(()));
    }
}

/// A purge through this control plane is done when it says so, at every edge.
#[track_caller]
fn purges(control: &Control, edges: &[Edge]) -> String {
    fill(edges);
    let out = control.done(&["purge", "url", &format!("http://{HOST}/a"), "--wait", "--json"]);
    for edge in edges {
        assert_eq!(get(edge), "MISS", "{out}");
    }
    out
}

#[test]
fn any_of_three_control_planes_serves_all_edges_and_one_may_go() {
    let nginx = Nginx::start();
    nginx.write("/a", "content\n");
    let mut server = PostgresServer::start();
    let database = server.database();
    let (one, two) = (Control::start(&database), Control::start(&database));
    let mut three = Control::start(&database);
    one.done(&["zone", "create", "example.com"]);
    two.done(&["domain", "create", HOST, "--origin", &nginx.url()]);
    let edges = [edge_of("edge-1", &[&one]), edge_of("edge-2", &[&two]), edge_of("edge-3", &[&three, &one])];
    for control in [&one, &two, &three] {
        purges(control, &edges);
        let out = control.done(&["edges"]);
        assert!(["edge-1", "edge-2", "edge-3"].iter().all(|name| out.contains(name)), "{out}");
    }
    fill(&edges);
    three.kill();
    // The third edge finds another one, and holds its lease meanwhile.
    purges(&two, &edges);
    purges(&one, &edges);

    // Without the database nothing is taken, and it is said why; edges serve for as long as they have a lease.
    server.kill();
    let refused = one.command(&["purge", "url", &format!("http://{HOST}/a")]);
    assert_ne!(refused.code, Some(0), "{refused:?}");
    assert!(refused.err.contains("DBError") && refused.err.contains("database is away"), "{refused:?}");
    server.run();
    until(PATIENCE, "purges should be taken again", || {
        (one.command(&["zone", "list"]).code == Some(0)).then_some(())
    });
    purges(&two, &edges);

    // Whoever restores the database begins another epoch, and nothing that edges hold is served any more.
    fill(&edges);
    let renewed = control_command(&["new-epoch"], &database);
    assert_eq!(renewed.code, Some(0), "{renewed:?}");
    for edge in &edges {
        until(PATIENCE, "what an edge held should count as deleted", || (get(edge) != "HIT").then_some(()));
    }
    purges(&one, &edges);
}

#[test]
fn a_database_that_is_not_there_or_of_another_master_key_is_refused_with_words() {
    let server = PostgresServer::start();
    let refused = control_command(&["--json"], &server.url("missing"));
    assert_ne!(refused.code, Some(0));
    assert!(refused.err.contains("missing") && !refused.err.contains("postgres://"), "{refused:?}");
    let refused = control_command(&["--json"], "mysql://db/x");
    assert!(refused.err.contains("postgres://USER:PASSWORD@HOST:PORT/DATABASE"), "{refused:?}");
}
