//! A server on loopback that answers each request with the bytes that a test wrote.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub method: String,
    /// Path and query.
    pub target: String,
    headers: Vec<(String, String)>,
    pub body: String,
}

/// What is sent back.
#[derive(Clone)]
pub(super) enum Reply {
    /// These bytes; the connection stays open.
    Keep(Vec<u8>),
    /// These bytes, then the connection is closed.
    Close(Vec<u8>),
    /// The first bytes, then the second ones again and again.
    Forever(Vec<u8>, Vec<u8>),
    /// The bytes one by one, with a pause before each.
    Slowly(Vec<u8>, Duration),
    /// Nothing: the connection is closed with a reset.
    Reset,
}

type Handler = dyn Fn(&Request) -> Reply + Send + Sync;

/// The server. It stops with the test's runtime.
pub(super) struct Server {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl Server {
    /// Answers every request with what `handler` makes of it.
    pub(super) async fn start(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (handler, log): (Arc<Handler>, _) = (Arc::new(handler), Arc::clone(&seen));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&handler), Arc::clone(&log)));
            }
        });
        Self { address, seen }
    }

    /// Answers every request with `reply`.
    pub(super) async fn always(reply: Reply) -> Self {
        Self::start(move |_| reply.clone()).await
    }

    /// All requests so far.
    pub(super) fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    /// The targets of all requests so far.
    pub(super) fn targets(&self) -> Vec<String> {
        self.seen().into_iter().map(|request| request.target).collect()
    }
}

async fn serve(mut stream: TcpStream, handler: Arc<Handler>, log: Arc<Mutex<Vec<Request>>>) {
    let mut buffer = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut buffer).await {
        log.lock().unwrap().push(request.clone());
        let closes = match handler(&request) {
            Reply::Keep(bytes) => stream.write_all(&bytes).await.is_err(),
            Reply::Close(bytes) => {
                let _ = stream.write_all(&bytes).await;
                true
            }
            Reply::Forever(head, chunk) => {
                let _ = stream.write_all(&head).await;
                while stream.write_all(&chunk).await.is_ok() {}
                true
            }
            Reply::Slowly(bytes, pause) => {
                for byte in bytes {
                    tokio::time::sleep(pause).await;
                    if stream.write_all(&[byte]).await.is_err() {
                        break;
                    }
                }
                true
            }
            Reply::Reset => {
                let _ = stream.set_zero_linger();
                true
            }
        };
        if closes {
            return;
        }
    }
}

async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Request> {
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(buffer.drain(..end).collect()).unwrap();
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length").map_or(0, |(_, v)| v.parse().unwrap());
    while buffer.len() < length {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    let body = String::from_utf8(buffer.drain(..length).collect()).unwrap();
    Some(Request { method, target, headers, body })
}

/// A whole answer with its length; `headers` are lines without their ends.
pub(super) fn answer(status: u16, headers: &[&str], body: &str) -> Reply {
    let mut text = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len());
    for header in headers {
        text.push_str(header);
        text.push_str("\r\n");
    }
    Reply::Keep([text.as_bytes(), b"\r\n", body.as_bytes()].concat())
}
