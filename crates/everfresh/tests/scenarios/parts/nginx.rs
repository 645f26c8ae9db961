//! nginx as an origin: static files with real validators, cache tags by path, and a log of what it was asked.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use tempfile::TempDir;

use super::http;
use super::process::{PATIENCE, Process, within};

/// How often another port is tried when somebody else took the free one that was found.
const PORTS_TRIED_MAX: usize = 10;

/// What nginx was asked: one line of its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) uri: String,
    pub(crate) host: String,
    pub(crate) status: u64,
    /// `HTTP/1.1` or `HTTP/2.0`.
    pub(crate) protocol: String,
    /// Empty if the field was not there.
    pub(crate) if_none_match: String,
    /// Empty if the field was not there.
    pub(crate) if_modified_since: String,
}

/// A running nginx.
#[derive(Debug)]
pub(crate) struct Nginx {
    pub(crate) address: SocketAddr,
    /// Where it speaks TLS, if it does.
    pub(crate) tls_address: Option<SocketAddr>,
    directory: TempDir,
    marks: AtomicUsize,
    _process: Process,
}

impl Nginx {
    /// Starts nginx on a free port. Content below `/tagged/NAME/` carries the tags NAME and `all-tagged`.
    pub(crate) fn start() -> Self {
        Self::start_with(None)
    }

    /// The same that speaks TLS and HTTP/2, too, with the certificate and the key in these files.
    pub(crate) fn start_with_tls(certificate: &Path, key: &Path) -> Self {
        Self::start_with(Some((certificate, key)))
    }

    fn start_with(tls: Option<(&Path, &Path)>) -> Self {
        for _ in 0..PORTS_TRIED_MAX {
            // nginx takes no port 0; between our finding a free one and its taking it, somebody else may.
            let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let address = free();
            let tls_address = tls.map(|_| free());
            let listen_tls = tls.zip(tls_address).map(|((certificate, key), address)| {
                let (certificate, key) = (certificate.display(), key.display());
                format!(
                    "listen {address} ssl http2; ssl_certificate {certificate}; ssl_certificate_key {key};"
                )
            });
            let directory = TempDir::new().unwrap();
            std::fs::create_dir(directory.path().join("site")).unwrap();
            let configuration = directory.path().join("nginx.conf");
            let own = directory.path().to_str().unwrap();
            let text = configure(address, own, &listen_tls.unwrap_or_default());
            std::fs::write(&configuration, text).unwrap();
            let mut command = Command::new(program());
            command.arg("-p").arg(directory.path()).arg("-c").arg(&configuration).arg("-e").arg("error.log");
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let mut process = Process::spawn(&mut command, INSTALL);
            let answers = within(PATIENCE, || match process.ended() {
                Some(_) => Some(false),
                None => std::net::TcpStream::connect(address).is_ok().then_some(true),
            });
            if answers == Some(true) && process.ended().is_none() {
                return Self {
                    address,
                    tls_address,
                    directory,
                    marks: AtomicUsize::new(0),
                    _process: process,
                };
            }
            let log = std::fs::read_to_string(directory.path().join("error.log")).unwrap_or_default();
            assert!(log.contains("Address already in use"), "nginx does not start: {log}");
        }
        panic!("no port was free in {PORTS_TRIED_MAX} attempts");
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Writes a file of the site.
    pub(crate) fn write(&self, path: &str, content: &str) {
        let file = self.directory.path().join("site").join(path.trim_start_matches('/'));
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, content).unwrap();
    }

    /// Writes a file of the site, in the place of one that may be on its way to somebody: that one stays whole.
    pub(crate) fn replace(&self, path: &str, write: impl FnOnce(&mut std::fs::File)) {
        let site = self.directory.path().join("site");
        let (new, file) = (site.join(".new"), site.join(path.trim_start_matches('/')));
        write(&mut std::fs::File::create(&new).unwrap());
        std::fs::rename(new, file).unwrap();
    }

    /// What nginx itself answers for a path: the validators that a cache will have seen.
    pub(crate) fn answer(&self, path: &str) -> http::Answer {
        http::get(self.address, "direct", path)
    }

    /// What edges asked since the last call of this function. nginx does one thing at a time, so that once a request
    /// of our own stands in its log, so does every earlier one.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        let mark = self.marks.fetch_add(1, Ordering::Relaxed);
        self.answer(&format!("/mark/{mark}"));
        let line_of = |asked: &[Asked], mark: usize| {
            asked.iter().position(|line| line.host == "direct" && line.uri == format!("/mark/{mark}"))
        };
        let lines = within(PATIENCE, || Some(self.log()).filter(|lines| line_of(lines, mark).is_some()));
        let lines = lines.expect("nginx logs what it answered");
        let since =
            mark.checked_sub(1).and_then(|earlier| line_of(&lines, earlier)).map_or(0, |line| line + 1);
        let until = line_of(&lines, mark).unwrap();
        lines[since..until].iter().filter(|line| line.host != "direct").cloned().collect()
    }

    fn log(&self) -> Vec<Asked> {
        let text = std::fs::read_to_string(self.directory.path().join("access.log")).unwrap_or_default();
        // The last line may be half written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(read_line).collect()
    }
}

const INSTALL: &str = "run `make test`, which installs nginx, or: apt-get install nginx";

fn program() -> PathBuf {
    // Debian keeps it where only root looks.
    let there = PathBuf::from("/usr/sbin/nginx");
    if there.exists() { there } else { PathBuf::from("nginx") }
}

fn read_line(line: &str) -> Asked {
    let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let text = |name: &str| line[name].as_str().unwrap().to_owned();
    Asked {
        uri: text("uri"),
        host: text("host"),
        status: text("status").parse().unwrap(),
        protocol: text("protocol"),
        if_none_match: text("if_none_match"),
        if_modified_since: text("if_modified_since"),
    }
}

fn configure(address: SocketAddr, directory: &str, listen_tls: &str) -> String {
    format!(
        r#"
daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{ worker_connections 256; }}
http {{
    log_format asked escape=json '{{"uri":"$request_uri","host":"$host","status":"$status",'
        '"protocol":"$server_protocol",'
        '"if_none_match":"$http_if_none_match","if_modified_since":"$http_if_modified_since"}}';
    access_log {directory}/access.log asked;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    default_type text/plain;
    map $uri $cache_tag {{
        ~^/tagged/(?<name>[a-z0-9_-]+)/ "$name, all-tagged";
    }}
    server {{
        listen {address};
        {listen_tls}
        root {directory}/site;
        add_header Cache-Control "max-age=3600";
        add_header Cache-Tag $cache_tag;
    }}
}}
"#
    )
}
