//! The demo's origin: one page whose version is bumped by hand, which counts what it is asked and can hold an answer.

use anyhow::Context;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// The path whose answers are held until they are released.
pub(crate) const SLOW_PATH: &str = "/slow";

/// A running origin.
pub(crate) struct DemoOrigin {
    pub(crate) address: SocketAddr,
    page: Arc<Page>,
}

struct Page {
    version: AtomicU64,
    held: watch::Sender<bool>,
    arrived: watch::Sender<u64>,
    asked: Mutex<Vec<String>>,
}

impl DemoOrigin {
    /// Starts on a free port of loopback.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("the demo's origin can't listen")?;
        let address = listener.local_addr()?;
        let page = Arc::new(Page {
            version: AtomicU64::new(1),
            held: watch::Sender::new(false),
            arrived: watch::Sender::new(0),
            asked: Mutex::default(),
        });
        let served = Arc::clone(&page);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let page = Arc::clone(&served);
                let service = service_fn(move |request| {
                    let page = Arc::clone(&page);
                    async move { Ok::<_, Infallible>(page.answer(request).await) }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Ok(Self { address, page })
    }

    /// Publishes the next version of the page.
    pub(crate) fn publish(&self) -> u64 {
        self.page.version.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// What was asked since the last call, a line for each request.
    pub(crate) fn take_asked(&self) -> Vec<String> {
        self.page.asked.lock().map(|mut asked| std::mem::take(&mut *asked)).unwrap_or_default()
    }

    /// From now on an answer at [`SLOW_PATH`] is composed, and then held.
    pub(crate) fn hold(&self) {
        self.page.held.send_replace(true);
    }

    /// Lets held answers go.
    pub(crate) fn release(&self) {
        self.page.held.send_replace(false);
    }

    /// Waits until `count` answers were composed at [`SLOW_PATH`].
    pub(crate) async fn composed(&self, count: u64) {
        let _ = self.page.arrived.subscribe().wait_for(|arrived| *arrived >= count).await;
    }
}

impl Page {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let version = self.version.load(Ordering::SeqCst);
        let tag = format!("\"v{version}\"");
        if let Ok(mut asked) = self.asked.lock() {
            asked.push(line(request.uri().path(), request.headers()));
        }
        if request.uri().path() == SLOW_PATH {
            // The answer is settled by now: this is the version it will carry, however late it leaves.
            let mut held = self.held.subscribe();
            self.arrived.send_modify(|count| *count += 1);
            let _ = held.wait_for(|held| !held).await;
        }
        let matches = request.headers().get(header::IF_NONE_MATCH).is_some_and(|known| *known == *tag);
        let response = Response::builder()
            .header(header::ETAG, tag)
            .header(header::CACHE_CONTROL, "max-age=3600")
            .header("cache-tag", "news")
            .status(if matches { StatusCode::NOT_MODIFIED } else { StatusCode::OK });
        let body = if matches { Bytes::new() } else { Bytes::from(format!("version {version}\n")) };
        response.body(Full::new(body)).unwrap_or_default()
    }
}

fn line(path: &str, headers: &HeaderMap) -> String {
    match headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok()) {
        Some(known) => format!("GET {path}  If-None-Match: {known}"),
        None => format!("GET {path}"),
    }
}
