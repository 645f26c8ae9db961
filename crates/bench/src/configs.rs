//! Configurations of the other servers: one core, memory, nothing logged.

use std::net::SocketAddr;
use std::path::Path;

/// nginx's cache on a file system in memory; `open_files` keeps descriptors open, as its operators do for speed.
pub(crate) fn nginx(listen: SocketAddr, origin: SocketAddr, work: &Path, open_files: bool) -> String {
    let work = work.display();
    let open_files = if open_files {
        "open_file_cache max=300000 inactive=1h;\n    open_file_cache_valid 1h;"
    } else {
        "open_file_cache off;"
    };
    format!(
        "daemon off;
worker_processes 1;
worker_rlimit_nofile 400000;
pid {work}/nginx.pid;
error_log {work}/nginx-error.log;
events {{ worker_connections 20000; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_timeout 600;
  keepalive_requests 1000000000;
  client_body_temp_path {work}/nginx-body;
  proxy_temp_path {work}/nginx-temp;
  fastcgi_temp_path {work}/nginx-fastcgi;
  uwsgi_temp_path {work}/nginx-uwsgi;
  scgi_temp_path {work}/nginx-scgi;
  proxy_cache_path {work}/nginx-cache levels=1:2 keys_zone=all:256m max_size=8g inactive=1d use_temp_path=off;
  upstream origin {{ server {origin}; keepalive 64; }}
  server {{
    listen {listen} backlog=4096;
    {open_files}
    location / {{
      proxy_http_version 1.1;
      proxy_set_header Connection '';
      proxy_pass http://origin;
      proxy_cache all;
    }}
  }}
}}
"
    )
}

/// Varnish: purges by URL, bans by prefix, host and everything, xkey by tag.
pub(crate) fn varnish(origin: SocketAddr) -> String {
    let (host, port) = (origin.ip(), origin.port());
    format!(
        "vcl 4.1;
import std;
import xkey;
backend default {{ .host = \"{host}\"; .port = \"{port}\"; }}
sub vcl_recv {{
  if (req.method == \"PURGE\") {{ return (purge); }}
  if (req.method == \"BAN\") {{
    std.ban(\"obj.http.x-host == \" + req.http.host + \" && obj.http.x-url ~ ^\" + req.url);
    return (synth(200));
  }}
  if (req.method == \"BANHOST\") {{ std.ban(\"obj.http.x-host == \" + req.http.host); return (synth(200)); }}
  if (req.method == \"BANALL\") {{ std.ban(\"obj.status != 0\"); return (synth(200)); }}
  if (req.method == \"XKEY\") {{ set req.http.n = xkey.purge(req.http.x-tag); return (synth(200)); }}
}}
sub vcl_backend_response {{
  set beresp.http.x-url = bereq.url;
  set beresp.http.x-host = bereq.http.host;
}}
sub vcl_deliver {{ unset resp.http.x-url; unset resp.http.x-host; }}
"
    )
}

/// HAProxy's small-object cache.
pub(crate) fn haproxy(listen: SocketAddr, origin: SocketAddr) -> String {
    format!(
        "global
  nbthread 1
  maxconn 8000
  tune.bufsize 32768
defaults
  mode http
  timeout client 600s
  timeout server 60s
  timeout connect 5s
  timeout http-keep-alive 600s
cache all
  total-max-size 2047
  max-object-size 2000000
  max-age 86400
frontend in
  bind {listen} backlog 4096
  http-request cache-use all
  http-response cache-store all
  default_backend origin
backend origin
  server origin {origin}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_configuration_names_its_addresses_and_closes_its_blocks() {
        let listen: SocketAddr = ([127, 0, 0, 1], 8001).into();
        let origin: SocketAddr = ([127, 0, 0, 1], 8002).into();
        let plain = nginx(listen, origin, Path::new("/w"), false);
        let open = nginx(listen, origin, Path::new("/w"), true);
        assert!(plain.contains("open_file_cache off;") && open.contains("open_file_cache max"));
        for text in [plain, open, varnish(origin), haproxy(listen, origin)] {
            assert!(text.contains("8002"), "{text}");
            assert_eq!(text.matches('{').count(), text.matches('}').count(), "{text}");
        }
        assert!(haproxy(listen, origin).contains("bind 127.0.0.1:8001"));
    }
}
