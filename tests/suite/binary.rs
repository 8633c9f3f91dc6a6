//! Runs the real binary, as a command and as a server.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use serde_json::{Value, json};

pub const BINARY: &str = env!("CARGO_BIN_EXE_bonafide");

/// A path in the repository.
pub fn repo(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A path in the repository, as an argument.
pub fn arg(path: &str) -> String {
    repo(path).display().to_string()
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs `bonafide` with `arguments`, without the user's registry credentials.
pub fn run<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> Ended {
    let output = Command::new(BINARY)
        .args(arguments)
        .env("DOCKER_CONFIG", "/nonexistent")
        .env_remove("RUST_LOG")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .output()
        .expect("the binary runs");
    Ended {
        status: output.status.code().expect("it was not killed"),
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

/// A running `bonafide serve`.
pub struct Served {
    child: Child,
    address: String,
    client: reqwest::Client,
    runtime: tokio::runtime::Runtime,
}

impl Served {
    /// Starts it with a self-signed certificate on free ports and waits until it is ready.
    pub fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(BINARY)
            .args(["serve", "--listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0", "--tls-self-signed"])
            .args(["--log-format", "json"])
            .args(arguments)
            .env("DOCKER_CONFIG", "/nonexistent")
            .env_remove("RUST_LOG")
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let log = BufReader::new(child.stderr.take().expect("piped"));
        let (ready, address) = mpsc::channel();
        // Reads on to the end, so that the server never waits for its log to be read.
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                let line: Value = serde_json::from_str(&line).unwrap_or_default();
                if line["message"] == "ready" {
                    let _ = ready.send(line["address"].as_str().expect("an address").to_owned());
                }
            }
        });
        let address = address.recv_timeout(Duration::from_secs(20)).expect("it gets ready");
        let mut pem = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        while !pem.contains("-----END CERTIFICATE-----") {
            assert_ne!(stdout.read_line(&mut pem).expect("readable"), 0, "the CA bundle is printed");
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        Self { child, address, client: client(&pem), runtime }
    }

    /// Posts `body` and gives status and answer.
    pub fn post(&self, path: &str, body: Vec<u8>) -> (u16, String) {
        let url = format!("https://{}{path}", self.address);
        self.runtime.block_on(async {
            let answer = self.client.post(url).body(body).send().await.expect("an answer");
            (answer.status().as_u16(), answer.text().await.expect("a body"))
        })
    }

    /// Validates the creation of a Pod with one container.
    pub fn validate(&self, image: &str) -> Value {
        let (status, answer) = self.post("/validate?timeout=10s", review(image).to_string().into_bytes());
        assert_eq!(status, 200, "{answer}");
        serde_json::from_str::<Value>(&answer).expect("JSON")["response"].take()
    }

    /// Opens so many requests that announce a body and never send it.
    pub fn open_idle(&self, count: usize) {
        let url = format!("https://{}/validate?timeout=30s", self.address);
        self.runtime.block_on(async {
            for _ in 0..count {
                let nothing = futures::stream::pending::<Result<bytes::Bytes, std::io::Error>>();
                let request = self.client.post(&url).body(reqwest::Body::wrap_stream(nothing));
                tokio::spawn(request.send());
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        });
    }

    /// The process's ID.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGTERM and gives the exit status.
    pub fn terminate(self) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs").success());
        self.ended()
    }

    /// Waits for its end and gives the exit status.
    pub fn ended(mut self) -> Option<i32> {
        let mut rest = Vec::new();
        if let Some(mut stdout) = self.child.stdout.take() {
            let _ = stdout.read_to_end(&mut rest);
        }
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn client(ca_pem: &str) -> reqwest::Client {
    use rustls::pki_types::{CertificateDer, pem::PemObject as _};
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).expect("PEM")).expect("a CA");
    let tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().build().expect("a client")
}

/// The review of the creation of a Pod with one container.
pub fn review(image: &str) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "namespace": "default",
            "operation": "CREATE",
            "userInfo": {"username": "admin"},
            "object": pod(image),
        }
    })
}

/// A Pod with one container.
pub fn pod(image: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "app", "namespace": "default"},
        "spec": {"containers": [{"name": "app", "image": image}]},
    })
}
