//! A client that costs as little as possible, for it shares the machine with what it measures: requests are
//! serialised beforehand, a connection has a thread of its own, and an answer is only searched for what counts.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};

use super::{report::Latencies, webhook::Webhook};

/// The two calls of an admission.
#[derive(Clone, Copy, Debug)]
pub enum Call {
    /// `/mutate`
    Mutate,
    /// `/validate`
    Validate,
}

impl Call {
    /// The path that an API server asks for.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Mutate => "/mutate?timeout=10s",
            Self::Validate => "/validate?timeout=10s",
        }
    }
}

/// Both calls of one admission, as bytes.
#[derive(Clone)]
pub struct Admission {
    mutate: Vec<u8>,
    validate: Vec<u8>,
}

impl Admission {
    /// Of the same review in both calls, as it is for an object that the first call changes nothing in.
    pub fn new(review: &str) -> Self {
        Self::patched(review, review)
    }

    /// Of a review, and of the one that follows when the patch was applied.
    pub fn patched(before: &str, after: &str) -> Self {
        Self { mutate: request(Call::Mutate, before), validate: request(Call::Validate, after) }
    }
}

fn request(call: Call, body: &str) -> Vec<u8> {
    format!(
        "POST {} HTTP/1.1\r\nhost: bonafide.bonafide.svc:443\r\nuser-agent: kube-apiserver-admission\r\n\
         content-length: {}\r\naccept: application/json, */*\r\ncontent-type: application/json\r\n\
         accept-encoding: gzip\r\n\r\n{body}",
        call.path(),
        body.len(),
    )
    .into_bytes()
}

/// TLS that trusts the webhook alone.
pub fn tls(webhook: &Webhook, alpn: &str) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_slice(webhook.ca.as_bytes()).expect("a certificate");
    roots.add(certificate).expect("a certificate authority");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    Arc::new(config)
}

/// The name that the webhook's certificate is for.
pub fn server_name() -> ServerName<'static> {
    ServerName::try_from("localhost").expect("a name")
}

/// A kept HTTP/1.1 connection.
pub struct Connection {
    stream: StreamOwned<ClientConnection, TcpStream>,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects.
    pub fn open(webhook: &Webhook) -> Self {
        let socket = TcpStream::connect(webhook.address).expect("bonafide listens");
        socket.set_nodelay(true).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a socket");
        let session = ClientConnection::new(tls(webhook, "http/1.1"), server_name()).expect("a TLS session");
        Self { stream: StreamOwned::new(session, socket), buffer: vec![0; 64 << 10] }
    }

    /// Makes one call and waits for the answer, which has to admit.
    pub fn call(&mut self, admission: &Admission, call: Call) {
        let request = match call {
            Call::Mutate => &admission.mutate,
            Call::Validate => &admission.validate,
        };
        self.stream.write_all(request).expect("bonafide takes the request");
        self.stream.flush().expect("bonafide takes the request");
        let mut length = 0;
        loop {
            let read = match self.stream.read(&mut self.buffer[length..]) {
                Ok(0) => panic!("bonafide closed the connection"),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => 0,
                Err(error) => panic!("bonafide did not answer: {error}"),
            };
            length += read;
            if let Some(whole) = whole_answer(&self.buffer[..length]) {
                let answer = &self.buffer[..whole];
                assert!(admits(answer), "not admitted: {}", String::from_utf8_lossy(answer));
                return;
            }
        }
    }

    /// Both calls, one after the other.
    pub fn admit(&mut self, admission: &Admission) {
        self.call(admission, Call::Mutate);
        self.call(admission, Call::Validate);
    }
}

/// The length of the answer, once it is all there.
fn whole_answer(bytes: &[u8]) -> Option<usize> {
    let head = find(bytes, b"\r\n\r\n")? + 4;
    let header = b"content-length: ";
    let at = find(&bytes[..head], header).expect("a content-length") + header.len();
    let digits = bytes[at..].iter().take_while(|byte| byte.is_ascii_digit());
    let body = digits.fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'));
    (bytes.len() >= head + body).then_some(head + body)
}

/// Whether an answer lets the object in.
pub fn admits(answer: &[u8]) -> bool {
    find(answer, br#""allowed":true"#).is_some()
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// What came of a run.
pub struct Run {
    /// Admissions in all.
    pub admissions: usize,
    /// How long it took.
    pub elapsed: Duration,
    /// Of every call.
    pub latencies: Latencies,
}

impl Run {
    /// Admissions in a second.
    pub fn rate(&self) -> f64 {
        self.admissions as f64 / self.elapsed.as_secs_f64()
    }
}

/// Every connection admits as fast as it gets answers, for `time`.
pub fn closed_loop(webhook: &Webhook, admissions: &[Admission], connections: usize, time: Duration) -> Run {
    let started = Instant::now();
    let until = started + time;
    let parts = on_threads(connections, |at| {
        let mut connection = Connection::open(webhook);
        let mut latencies = Vec::with_capacity(1 << 14);
        let mut next = at;
        while Instant::now() < until {
            let admission = &admissions[next % admissions.len()];
            next += connections;
            for call in [Call::Mutate, Call::Validate] {
                let sent = Instant::now();
                connection.call(admission, call);
                latencies.push(sent.elapsed());
            }
        }
        latencies
    });
    run(parts, started)
}

/// Admissions begin at a fixed rate whatever becomes of those before. The mutating call counts from when it
/// was due, not from when it was sent, so that waiting for a free connection is waiting, too; the validating
/// call is due when the mutating one is answered.
pub fn open_loop(webhook: &Webhook, admissions: &[Admission], rate: u32, connections: u32, time: Duration) -> Run {
    let pause = Duration::from_secs(1) / rate;
    // Time to connect.
    let started = Instant::now() + Duration::from_millis(200);
    let until = started + time;
    let parts = on_threads(connections as usize, |at| {
        let mut connection = Connection::open(webhook);
        let mut latencies = Vec::with_capacity(1 << 12);
        let mut due = started + pause * u32::try_from(at).expect("few");
        while due < until {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let admission = &admissions[at % admissions.len()];
            connection.call(admission, Call::Mutate);
            let answered = Instant::now();
            latencies.push(answered - due);
            connection.call(admission, Call::Validate);
            latencies.push(answered.elapsed());
            due += pause * connections;
        }
        latencies
    });
    run(parts, started)
}

/// Each of `admissions` once, in the validating call alone, over this many connections.
pub fn validate_all(webhook: &Webhook, admissions: &[Admission], connections: usize) -> Run {
    let started = Instant::now();
    let parts = on_threads(connections, |at| {
        let mut connection = Connection::open(webhook);
        let timed = |admission: &Admission| {
            let sent = Instant::now();
            connection.call(admission, Call::Validate);
            sent.elapsed()
        };
        admissions.iter().skip(at).step_by(connections).map(timed).collect()
    });
    run(parts, started)
}

fn run(parts: Vec<Vec<Duration>>, started: Instant) -> Run {
    let elapsed = started.elapsed();
    let latencies = Latencies::of(parts);
    Run { admissions: latencies.len() / 2, elapsed, latencies }
}

fn on_threads<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let threads: Vec<_> = (0..count)
            .map(|at| {
                scope.spawn({
                    let work = &work;
                    move || work(at)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("every answer admits")).collect()
    })
}
