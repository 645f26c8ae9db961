//! A file of 300 MiB before nginx, through an edge with little memory and a disk: whole and in ranges, over a kill, purged in the
//! middle of a download; and an edge that takes the disk over from the one before.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use crate::parts::process::{PATIENCE, within};
use crate::parts::{Edge, Everfresh, Nginx, Serve, everfresh::HOST, http, until};

const MIB: u64 = 1 << 20;
const LENGTH: u64 = 300 * MIB;

/// What the edge may hold at most: 32 MiB of cache, 64 MiB that wait for the disk, and as much again for the rest of it and for what
/// its allocator keeps. The file is far larger.
const MEMORY_MAX: u64 = 200 * MIB;

/// How long a file of this length may take to come and to be stored on a machine with much else to do.
const LARGE_PATIENCE: Duration = Duration::from_secs(600);

/// What waits to be written once a download has ended takes no longer than this where it is written at all.
const WRITTEN_IN: Duration = Duration::from_secs(10);

/// Eight bytes of a version of the file; no two are alike.
fn word(version: u64, index: u64) -> [u8; 8] {
    (index ^ (version << 56)).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()
}

fn write(version: u64, file: &mut std::fs::File) {
    let mut block = Vec::with_capacity(64 * 1024);
    for index in 0..LENGTH / 8 {
        block.extend_from_slice(&word(version, index));
        if block.len() == 64 * 1024 {
            file.write_all(&block).unwrap();
            block.clear();
        }
    }
}

/// A download that is compared with the file as it comes.
struct Download {
    stream: TcpStream,
    head: String,
    version: u64,
    /// The offset of the next byte.
    at: u64,
    end: u64,
    unread: Vec<u8>,
}

impl Download {
    /// Begins one of the bytes from `first` to before `end`, or of all.
    fn begin(edge: SocketAddr, version: u64, part: Option<(u64, u64)>) -> Self {
        let mut stream = TcpStream::connect(edge).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let range =
            part.map_or_else(String::new, |(first, end)| format!("Range: bytes={first}-{}\r\n", end - 1));
        let request = format!("GET /large HTTP/1.1\r\nHost: {HOST}\r\n{range}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut bytes = Vec::new();
        let head_end = loop {
            if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            let mut piece = [0; 4096];
            let read = stream.read(&mut piece).unwrap();
            assert_ne!(read, 0, "no answer");
            bytes.extend_from_slice(&piece[..read]);
        };
        let unread = bytes.split_off(head_end);
        let head = String::from_utf8(bytes).unwrap();
        let (at, end) = part.unwrap_or((0, LENGTH));
        Self { stream, head, version, at, end, unread }
    }

    fn is_hit(&self) -> bool {
        self.head.to_ascii_lowercase().contains("\r\neo-cache-status: hit\r\n")
    }

    fn compare(&mut self) {
        let first = self.at / 8;
        let last = (self.at + self.unread.len() as u64) / 8;
        let expected: Vec<u8> = (first..=last).flat_map(|index| word(self.version, index)).collect();
        let from = usize::try_from(self.at % 8).unwrap();
        assert!(self.unread == expected[from..from + self.unread.len()], "other bytes after {}", self.at);
        self.at += self.unread.len() as u64;
        self.unread.clear();
    }

    /// Takes bytes until `until` or the end. Whether it got so far, and never another byte than the file's.
    fn take(&mut self, until: u64) -> bool {
        let mut block = vec![0; 256 * 1024];
        loop {
            self.compare();
            if self.at >= until {
                return true;
            }
            match self.stream.read(&mut block) {
                Ok(0) | Err(_) => return false,
                Ok(read) => self.unread.extend_from_slice(&block[..read]),
            }
        }
    }
}

/// Gets the whole or a part. Whether all of it came from the cache.
#[track_caller]
fn gets(edge: &Edge, version: u64, part: Option<(u64, u64)>) -> bool {
    let mut download = Download::begin(edge.address, version, part);
    let end = download.end;
    assert!(download.take(end), "{part:?} ends at {}: {}", download.at, download.head);
    download.is_hit()
}

/// What `everfresh stored` says of the file.
fn stored(network: &Everfresh, directory: &Path) -> String {
    network.done(&["stored", directory.to_str().unwrap(), "--url", &format!("http://{HOST}/large")])
}

#[test]
fn a_large_file_streams_through_little_memory_outlives_a_kill_and_leaves_the_disk_when_purged() {
    let nginx = Nginx::start();
    let directory = TempDir::new().unwrap();
    // Long enough for a busy machine: without a lease the origin is asked.
    let arguments = ["--feed-listen", "127.0.0.1:0", "--lease", "20s"];
    let network = Serve::new(&nginx.url()).edges(1).more(&arguments).start();
    nginx.replace("/large", |file| write(1, file));
    let (disk, own) = (directory.path().join("cache"), directory.path().join("cache/far"));
    let token_file = network.data.join("edge.token");
    let file = directory.path().join("edge.toml");
    std::fs::write(&file, "[cache]\nsweep_interval = \"100ms\"\n").unwrap();
    let arguments = [
        "--config",
        file.to_str().unwrap(),
        "--listen",
        "127.0.0.1:0",
        "--name",
        "far",
        "--control",
        network.ready["feed"].as_str().unwrap(),
        "--token-file",
        token_file.to_str().unwrap(),
        "--memory",
        "32MiB",
        "--disk",
        disk.to_str().unwrap(),
        "--disk-size",
        "1GiB",
        "--workers",
        "2",
        "--admin-listen",
        "127.0.0.1:0",
    ];
    let mut edge = network.start_edge_with(&arguments);
    // A disk that is slower than the network for long is left behind; the next download fills what is missing.
    let get_until_stored = |edge: &Edge, version| {
        until(LARGE_PATIENCE, "the file should be stored whole", || {
            gets(edge, version, None);
            within(WRITTEN_IN, || stored(&network, &own).contains(" slices=300/300 ").then_some(()))
        });
    };
    get_until_stored(&edge, 1);
    nginx.asked();
    let ranges = [(0, 1), (MIB - 1, MIB + 1), (123 * MIB + 17, 140 * MIB), (LENGTH - 100, LENGTH)];
    for part in ranges.map(Some).into_iter().chain([None]) {
        gets(&edge, 1, part);
    }
    assert_eq!(nginx.asked(), [], "memory and disk have it all");
    let peak = edge.peak_memory_bytes();
    assert!(peak <= MEMORY_MAX, "{} MiB of memory", peak / MIB);

    edge.kill();
    let edge = network.start_edge_with(&arguments);
    // What is not found yet is fetched.
    until(PATIENCE, "the edge should find its files", || {
        let metrics = http::get(edge.admin.unwrap(), "localhost", "/metrics");
        metrics.text().contains("everfresh_edge_disk_recovered 1\n").then_some(())
    });
    until(PATIENCE, "the edge should serve from its cache", || gets(&edge, 1, Some((5, 6))).then_some(()));
    nginx.asked();
    for part in ranges.map(Some).into_iter().chain([None]) {
        gets(&edge, 1, part);
    }
    assert_eq!(nginx.asked(), [], "the disk had it all");

    // In the middle of a download the file changes, and the old one is purged: what comes is the old one or nothing.
    let mut download = Download::begin(edge.address, 1, None);
    assert!(download.take(20 * MIB));
    nginx.replace("/large", |file| write(2, file));
    network.done(&["purge", "url", &format!("http://{HOST}/large"), "--method", "delete", "--wait"]);
    assert!(!download.take(LENGTH), "the rest of what was purged comes from nowhere");
    gets(&edge, 2, Some((150 * MIB, 151 * MIB)));
    get_until_stored(&edge, 2);
    until(PATIENCE, "nothing of the old file should be left", || {
        let listed = stored(&network, &own);
        (listed.lines().filter(|line| line.contains("/large ")).count() == 1
            && !listed.contains("lost-slices"))
        .then_some(())
    });
    network.done(&["purge", "url", &format!("http://{HOST}/large"), "--method", "delete", "--wait"]);
    until(PATIENCE, "nothing of the file should be left", || {
        stored(&network, &own).starts_with("nothing of ").then_some(())
    });
    let peak = edge.peak_memory_bytes();
    assert!(peak <= MEMORY_MAX, "{} MiB of memory", peak / MIB);
}

#[test]
fn an_edge_with_a_disk_is_upgraded_without_a_gap() {
    let nginx = Nginx::start();
    let directory = TempDir::new().unwrap();
    let network = Serve::new(&nginx.url()).edges(1).more(&["--feed-listen", "127.0.0.1:0"]).start();
    for path in ["/a", "/purged"] {
        nginx.write(path, "old content\n");
    }
    let (disk, socket) = (directory.path().join("cache"), directory.path().join("edge.socket"));
    let token_file = network.data.join("edge.token");
    let start = |listen: &str| {
        network.start_edge_with(&[
            "--listen",
            listen,
            "--name",
            "far",
            "--control",
            network.ready["feed"].as_str().unwrap(),
            "--token-file",
            token_file.to_str().unwrap(),
            "--disk",
            disk.to_str().unwrap(),
            "--hand-over",
            socket.to_str().unwrap(),
        ])
    };
    let mut first = start("127.0.0.1:0");
    let address = first.address;
    let comes_to_hit = |path: &str| {
        until(PATIENCE, "the edge should serve from its cache", || {
            let answer = http::get(address, HOST, path);
            (answer.eo() == "HIT").then(|| answer.text())
        })
    };
    let own = disk.join("far");
    for path in ["/a", "/purged"] {
        comes_to_hit(path);
        until(PATIENCE, "the response should be on disk", || {
            let url = format!("http://{HOST}{path}");
            network
                .done(&["stored", own.to_str().unwrap(), "--url", &url])
                .contains("bytes=12 ")
                .then_some(())
        });
    }
    nginx.write("/purged", "new content!\n");
    network.done(&["purge", "url", &format!("http://{HOST}/purged"), "--method", "delete", "--wait"]);
    // Whatever the next one gets from the origin shows.
    nginx.write("/a", "changed content\n");
    let next = start(&address.to_string());
    assert_eq!(next.address, address);
    let status = until(PATIENCE, "the first edge should end", || first.ended());
    assert!(status.success(), "{status}");
    assert_eq!(comes_to_hit("/a"), "old content\n", "from the disk that the first one had");
    assert_eq!(http::get(address, HOST, "/purged").text(), "new content!\n");
}
