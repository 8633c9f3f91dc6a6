//! `cargo bench --bench load [-- SCENE...]`: the load driver. It starts a registry and the real `bonafide serve`
//! on loopback, each as a process of its own, puts them through its scenes (see `SCENES`), and prints every
//! figure beside its target. It fails only where an answer is wrong, never by the clock: figures
//! are those of the machine at that moment.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
#![allow(unreachable_pub)]

#[path = "load/client.rs"]
mod client;
#[path = "load/http2.rs"]
mod http2;
mod pod;
#[path = "load/registry.rs"]
mod registry;
#[path = "load/report.rs"]
mod report;
#[path = "load/scenes.rs"]
mod scenes;
#[path = "../support/mod.rs"]
mod support;
#[path = "load/webhook.rs"]
mod webhook;

use std::path::Path;

use registry::Remote;
use report::Report;
use scenes::Stage;

/// A name to choose a scene by, and what it does.
type Scene = (&'static str, fn(&mut Stage<'_>));

const SCENES: [Scene; 6] = [
    ("start", scenes::start),
    ("warm", scenes::warm),
    ("steady", scenes::steady),
    ("http2", scenes::http2),
    ("cold", scenes::cold),
    ("resident", scenes::resident),
];

fn main() {
    // Fails only if a provider is installed already, and then there is one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    // cargo adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    if let [role, dir] = &arguments[..]
        && role == registry::ROLE
    {
        return registry::main(Path::new(dir));
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut registry = Remote::start(dir.path());
    let mut report = Report::default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!("{cores} cores, shared by bonafide, the registry and the driver");
    // Whoever reads the figures has to know whether something else was running.
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("load of the machine before the start: {}", load.split(' ').next().unwrap_or_default());
    for (name, scene) in SCENES {
        if arguments.is_empty() || arguments.iter().any(|argument| argument == name) {
            scene(&mut Stage { dir: dir.path(), registry: &mut registry, report: &mut report });
        }
    }
    report.finish();
}
