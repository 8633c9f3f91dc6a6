//! The real `bonafide serve` as a process, and what the kernel says of it.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::registry::Remote;

/// The program that is measured: the one built with this driver, or that of `$BONAFIDE`, to compare.
pub fn program() -> PathBuf {
    std::env::var_os("BONAFIDE").map_or_else(|| env!("CARGO_BIN_EXE_bonafide").into(), PathBuf::from)
}

/// The longest time that a start may take before the driver gives up.
const PATIENCE: Duration = Duration::from_secs(20);

/// How the webhook is started.
pub struct Setup<'a> {
    /// Where it logs to and policies are written.
    pub dir: &'a Path,
    /// The registry that stands for ghcr.io.
    pub registry: &'a Remote,
    /// Whether it is read over HTTPS with tokens and delay, or over plain HTTP without.
    pub https: bool,
    /// How many policies there are that cover something else.
    pub other_policies: usize,
}

/// A running webhook. Dropping it ends it.
pub struct Webhook {
    child: Child,
    /// Where it answers admission reviews.
    pub address: SocketAddr,
    health: SocketAddr,
    /// Its certificate authority, PEM.
    pub ca: String,
    /// From the start of the process until `/readyz` said yes.
    pub ready_after: Duration,
}

impl Setup<'_> {
    /// Starts it and waits until it is ready.
    pub fn start(&self) -> Webhook {
        let (address, health) = (free_port(), free_port());
        let log = File::create(self.dir.join("webhook.log")).expect("a writable directory");
        let mut command = Command::new(program());
        command
            .arg("serve")
            .args(["--listen", &address.to_string(), "--health-listen", &health.to_string(), "--tls-self-signed"])
            .arg("--policy")
            .args(self.policies())
            .args(registry_arguments(self.registry, self.https))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log);
        let started = Instant::now();
        let mut child = command.spawn().expect("bonafide starts");
        let until = started + PATIENCE;
        while !is_ready(health) {
            assert!(Instant::now() < until, "bonafide is not ready after {PATIENCE:?}");
            assert!(child.try_wait().expect("a child").is_none(), "bonafide ended, see {}", self.dir.display());
            std::thread::sleep(Duration::from_micros(200));
        }
        let ready_after = started.elapsed();
        let ca = read_certificate(&mut child);
        Webhook { child, address, health, ca, ready_after }
    }

    fn policies(&self) -> Vec<PathBuf> {
        let mut policies = example_policies();
        if self.other_policies > 0 {
            let path = self.dir.join(format!("other-policies-{}.yaml", self.other_policies));
            fs::write(&path, other_policies(self.other_policies)).expect("a writable directory");
            policies.push(path);
        }
        policies
    }
}

/// Kyverno's example policy, unchanged, and the default-deny.
pub fn example_policies() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("policy");
    ["kyverno-verify-images.yaml", "default-deny.yaml"].iter().map(|name| folder.join(name)).collect()
}

/// `count` policies for registries and repositories that no image of the benchmark is in.
pub fn other_policies(count: usize) -> String {
    let policy = |at: usize| {
        format!(
            "---\napiVersion: bonafide.dev/v1beta1\nkind: ImagePolicy\nmetadata: {{name: other-{at}}}\nspec:\n  \
             mode: Enforce\n  match: {{images: [\"ghcr.io/org-{at}/*\"]}}\n  authorities:\n    - name: a\n      \
             keyless: {{issuer: \"https://token.actions.githubusercontent.com\", subject: \
             \"https://github.com/org-{at}/*\"}}\n  require:\n    - signature: {{anyOf: [a]}}\n"
        )
    };
    (0..count).map(policy).collect()
}

/// The arguments that lead ghcr.io to `registry`, and what is trusted.
pub fn registry_arguments(registry: &Remote, https: bool) -> Vec<OsString> {
    let url = if https { &registry.https } else { &registry.http };
    let mut arguments: Vec<OsString> = vec!["--registry-mirror".into(), format!("ghcr.io={url}").into()];
    arguments.extend(["--trusted-root".into(), registry.trusted_root.clone().into()]);
    if https {
        arguments.extend(["--registry-ca-file".into(), registry.ca.clone().into()]);
    }
    arguments
}

impl Webhook {
    /// CPU time of the process so far, in milliseconds. The kernel counts in hundredths of a second.
    pub fn cpu_ms(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("a running process");
        // The name may hold anything; what follows its bracket starts with field 3.
        let fields: Vec<_> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
        let ticks = |at: usize| fields[at - 3].parse::<f64>().expect("a number");
        (ticks(14) + ticks(15)) * 10.0
    }

    /// Resident memory now, in MiB.
    pub fn rss_mib(&self) -> f64 {
        memory(self.child.id(), "VmRSS").expect("a running process")
    }

    /// The most resident memory so far, in MiB.
    pub fn peak_mib(&self) -> f64 {
        memory(self.child.id(), "VmHWM").expect("a running process")
    }

    /// A metric's value.
    pub fn metric(&self, name: &str) -> f64 {
        let text = get(self.health, "/metrics").expect("a running server");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.trim().parse().ok()).unwrap_or_else(|| panic!("no metric {name}"))
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `VmRSS` or `VmHWM` of a process in MiB, `None` once it is over.
pub fn memory(pid: u32, field: &str) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    let kib: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib / 1024.0)
}

fn free_port() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("bound")
}

fn is_ready(health: SocketAddr) -> bool {
    get(health, "/readyz").is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

fn read_certificate(child: &mut Child) -> String {
    let mut pem = String::new();
    let mut output = BufReader::new(child.stdout.take().expect("piped"));
    while !pem.contains("-----END CERTIFICATE-----") {
        assert!(output.read_line(&mut pem).expect("text") > 0, "bonafide printed no certificate");
    }
    pem
}
