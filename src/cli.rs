//! The command line. Exit codes: 0 admitted or verified, 1 denied, 2 could not decide (or wrong usage).

// This is where text goes to people.
#![allow(clippy::print_stdout, clippy::print_stderr)]
// Doc comments of arguments are their help, where backticks would be printed.
#![allow(clippy::doc_markdown)]

mod apply;
mod args;
mod files;
mod serve;
mod verify;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;

/// Admit Kubernetes Pods only when their images are signed as a policy asks.
///
/// Bonafide verifies keyless Sigstore signatures and signed attestations of container images: as an
/// admission webhook (`serve`), against manifests before they reach a cluster (`apply`), and for a single
/// image (`verify`, `verify-attestation`).
#[derive(Parser, Debug)]
#[command(name = "bonafide", version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = "Exit codes: 0 admitted or verified, 1 denied, 2 could not decide or wrong usage.\n\
    RUST_LOG sets what is logged (error, warn, info, debug); NO_COLOR switches colours off.")]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Serve(serve::ServeArgs),
    Apply(apply::ApplyArgs),
    Verify(verify::VerifyArgs),
    VerifyAttestation(verify::VerifyAttestationArgs),
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// How a command ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Status {
    /// Admitted, verified, done.
    Ok = 0,
    /// Denied: the answer is no.
    Denied = 1,
    /// Could not decide.
    Unknown = 2,
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(status as u8)
    }
}

/// Parses the arguments and runs the command.
#[must_use]
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            return Status::Unknown.into();
        }
    };
    let result = runtime.block_on(async {
        match cli.command {
            Command::Serve(args) => serve::run(args).await,
            Command::Apply(args) => apply::run(args).await,
            Command::Verify(args) => verify::run(args).await,
            Command::VerifyAttestation(args) => verify::run_attestation(args).await,
            Command::Completions { shell } => {
                clap_complete::generate(shell, &mut Cli::command(), "bonafide", &mut std::io::stdout());
                Ok(Status::Ok)
            }
        }
    });
    // Work in the background has nobody left to tell.
    runtime.shutdown_background();
    match result {
        Ok(status) => status.into(),
        Err(error) => {
            anstream::eprintln!("{}: {error:#}", paint::bad("error"));
            Status::Unknown.into()
        }
    }
}

/// Colours, which `anstream` takes out again where the output is no terminal.
mod paint {
    use owo_colors::OwoColorize as _;

    pub(super) fn good(text: &str) -> String {
        text.green().bold().to_string()
    }

    pub(super) fn bad(text: &str) -> String {
        text.red().bold().to_string()
    }

    pub(super) fn unsure(text: &str) -> String {
        text.yellow().bold().to_string()
    }

    pub(super) fn faint(text: &str) -> String {
        text.dimmed().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
