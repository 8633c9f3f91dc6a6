//! `make demo`: the nine stories, told on the real parts. A registry, a signing authority and the HTTPS
//! webhook run in this process, on loopback; each story sends the `AdmissionReview`s that a kube-apiserver
//! would send, and prints what was asked, the verdict, the patch or the reason, and the milliseconds.
//!
//! Exits with 1 if anything is not as expected.
#![allow(unreachable_pub, clippy::pedantic, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod page;
#[path = "../rig/mod.rs"]
mod rig;
mod stories;
#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;
use std::time::Instant;

use page::Page;
use stories::Stage;

#[tokio::main]
async fn main() -> ExitCode {
    let started = Instant::now();
    let stage = Stage::set().await;
    let mut page = Page::default();
    page.head(&stage);
    stories::tell(&stage, &mut page).await;
    if page.foot(started.elapsed()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
