//! Hosts on this machine: network namespaces of this test's own, joined by veth pairs and bridges. All of them go when the
//! [`Net`] goes, with whatever is left in them.
//!
//! ```text
//! core      10.90.0.0/24   control planes, PostgreSQL, NATS, the client
//! region N  10.90.N.0/24   its gateway (also in core), parent and edges, the client
//! ```
//!
//! A region reaches core only by the proxies on its gateway: nothing is routed. The client is in every network, so that
//! it reaches edges whose region is cut off from core; its address [`ORIGIN`] is what edges ask for content.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::process::Command;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Where the client's origin is, from everywhere.
pub(crate) const ORIGIN: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 9);

/// The last number of the client's address in each network.
const CLIENT: u8 = 9;

/// The last number of a gateway's address in its region.
const GATEWAY: u8 = 1;

/// Which network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Core,
    /// From 1.
    Region(u8),
}

impl Place {
    fn number(self) -> u8 {
        match self {
            Self::Core => 0,
            Self::Region(number) => number,
        }
    }

    fn address(self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 90, self.number(), host)
    }

    fn bridge(self) -> String {
        format!("br{}", self.number())
    }
}

/// The networks of one test.
pub(crate) struct Net {
    prefix: String,
    hosts: Vec<String>,
    links: u32,
}

/// A host: a namespace, and its first address.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) address: Ipv4Addr,
    namespace: String,
}

impl Net {
    /// Makes the bridges of core and of this many regions, each with its gateway, and the client.
    pub(crate) fn new(regions: u8) -> (Self, Host) {
        let id = rustix::process::geteuid();
        assert!(
            id.is_root(),
            "network namespaces are made by root: run this with sudo, or make cluster-test"
        );
        let mut net =
            Self { prefix: format!("everfresh-{}", std::process::id()), hosts: Vec::new(), links: 0 };
        // The bridges are in a namespace of their own, for no host to see.
        let wires = net.namespace("wires");
        for place in std::iter::once(Place::Core).chain((1..=regions).map(Place::Region)) {
            ip(&["-n", &wires, "link", "add", &place.bridge(), "type", "bridge"]);
            ip(&["-n", &wires, "link", "set", &place.bridge(), "up"]);
        }
        let client = net.host("client", Place::Core, CLIENT);
        for region in 1..=regions {
            net.attach(&client, Place::Region(region), CLIENT);
            let gateway = net.host(&format!("gateway-{region}"), Place::Region(region), GATEWAY);
            net.attach(&gateway, Place::Core, 100 + region);
        }
        ip(&["-n", &client.namespace, "address", "add", &format!("{ORIGIN}/32"), "dev", "lo"]);
        (net, client)
    }

    /// A new host in one network.
    pub(crate) fn host(&mut self, name: &str, place: Place, number: u8) -> Host {
        let namespace = self.namespace(name);
        let host = Host { name: name.to_owned(), address: place.address(number), namespace };
        self.attach(&host, place, number);
        if number != CLIENT {
            let via = place.address(CLIENT).to_string();
            ip(&["-n", &host.namespace, "route", "add", &format!("{ORIGIN}/32"), "via", &via]);
        }
        host
    }

    /// A region's gateway.
    pub(crate) fn gateway(&self, region: u8) -> Host {
        let name = format!("gateway-{region}");
        let namespace = format!("{}-{name}", self.prefix);
        Host { name, address: Place::Region(region).address(GATEWAY), namespace }
    }

    /// Cuts a region off from core, or joins it again. What is on its way is lost, and nobody is told.
    pub(crate) fn set_joined(&self, region: u8, joined: bool) {
        let state = if joined { "up" } else { "down" };
        let gateway = self.gateway(region);
        ip(&["-n", &gateway.namespace, "link", "set", &interface(Place::Core), state]);
    }

    fn namespace(&mut self, name: &str) -> String {
        let namespace = format!("{}-{name}", self.prefix);
        ip(&["netns", "add", &namespace]);
        self.hosts.push(namespace.clone());
        ip(&["-n", &namespace, "link", "set", "lo", "up"]);
        namespace
    }

    fn attach(&mut self, host: &Host, place: Place, number: u8) {
        self.links += 1;
        let wires = format!("{}-wires", self.prefix);
        let (inside, outside) = (interface(place), format!("wire{}", self.links));
        ip(&[
            "-n",
            &wires,
            "link",
            "add",
            &outside,
            "type",
            "veth",
            "peer",
            "name",
            &inside,
            "netns",
            &host.namespace,
        ]);
        ip(&["-n", &wires, "link", "set", &outside, "master", &place.bridge(), "up"]);
        let address = format!("{}/24", place.address(number));
        ip(&["-n", &host.namespace, "address", "add", &address, "dev", &inside]);
        ip(&["-n", &host.namespace, "link", "set", &inside, "up"]);
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for host in &self.hosts {
            // What is still there once the processes are gone; a failure would hide the one that matters.
            let _ = Command::new("ip").args(["netns", "delete", host]).status();
        }
    }
}

impl Host {
    /// What runs another command on this host, given as its last arguments.
    pub(crate) fn runner(&self) -> Vec<String> {
        ["ip", "netns", "exec", &self.namespace].map(str::to_owned).to_vec()
    }

    /// A command that runs on this host.
    pub(crate) fn command(&self, program: &str) -> Command {
        let runner = self.runner();
        let mut command = Command::new(&runner[0]);
        command.args(&runner[1..]).arg(program);
        command
    }

    /// Runs `work` on a thread of this host.
    pub(crate) fn on<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> std::thread::JoinHandle<T> {
        let file = File::open(format!("/run/netns/{}", self.namespace)).unwrap();
        std::thread::spawn(move || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            work()
        })
    }
}

/// What a host's interface in a network is called.
fn interface(place: Place) -> String {
    format!("eth{}", place.number())
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().expect("needs ip: apt-get install iproute2");
    assert!(
        output.status.success(),
        "ip {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
}
