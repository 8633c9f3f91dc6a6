//! `cargo run --example mint -- DIR`: writes example images with evidence as an OCI image layout, and
//! the `trusted_root.json` that the evidence verifies against.
//!
//! Tag `1.0.0` is signed by the example policy's workflow and has a signed SPDX SBOM, each both in the
//! legacy format (tags `sha256-<hex>.sig` and `.att`) and as bundles (index under `sha256-<hex>`). Tag
//! `1.0.0-unsigned` has nothing.
#![allow(clippy::similar_names, clippy::expect_used, clippy::print_stdout, clippy::print_stderr)]

#[path = "../support/mod.rs"]
mod support;

use std::path::Path;
use std::process::ExitCode;

use support::{Authority, Identity, Store, layout, sbom};

const REPOSITORY: &str = "zionsworking/cicd-supply-chain-security";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(dir), None) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: mint DIR");
        return ExitCode::from(2);
    };
    match mint(Path::new(&dir)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", Path::new(&dir).display());
            ExitCode::FAILURE
        }
    }
}

fn mint(dir: &Path) -> std::io::Result<()> {
    let sigstore = Authority::new();
    let mut store = Store::with_fallback_tags();
    let signed = store.push_image(REPOSITORY, "1.0.0", b"hello\n");
    let unsigned = store.push_image(REPOSITORY, "1.0.0-unsigned", b"hello, unsigned\n");

    let signer = sigstore.identity(Identity::zionsworking()).timestamped();
    let sbom = sbom::spdx();
    let signature = signer.legacy_signature(&signed);
    let attestation = signer.legacy_attestation(&signed, sbom::SPDX, &sbom);
    store.push_legacy(REPOSITORY, &signed, [signature, attestation]);
    store.push_bundle(REPOSITORY, &signed, &signer.bundle_signature(&signed));
    let attestation = signer.bundle_attestation(&signed, sbom::SPDX, &sbom);
    store.push_bundle(REPOSITORY, &signed, &attestation);

    layout::write_layout(dir, &store)?;
    std::fs::write(dir.join("trusted_root.json"), sigstore.trusted_root_json())?;
    println!("1.0.0 {signed}\n1.0.0-unsigned {unsigned}");
    Ok(())
}
