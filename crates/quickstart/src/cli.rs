//! Flags.
//!
//! Invariants: a wrong flag exits 64; a flag of a part that is not there yet exits 64 and says so.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use crate::output::complain;

/// `EX_USAGE` of sysexits.h.
pub(crate) const USAGE: u8 = 64;

/// Ollama's own default address.
const OLLAMA: &str = "http://127.0.0.1:11434";

/// A relay and a daemon on this machine, in front of your Ollama: try Causeway in one command.
#[derive(Parser, Debug)]
#[command(name = "cargo quickstart", version)]
pub(crate) struct Options {
    /// The Ollama to use [default: http://127.0.0.1:11434, or the stand-in if nothing answers there]
    #[arg(long, value_name = "URL", conflicts_with = "stand_in")]
    pub(crate) ollama: Option<String>,

    /// Use the built-in stand-in instead of an Ollama
    #[arg(long)]
    pub(crate) stand_in: bool,

    /// Port of the endpoint; 0 lets the system choose
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    pub(crate) port: u16,

    /// Port of the daemon's status page; 0 lets the system choose
    #[arg(long, value_name = "PORT", default_value_t = 9180)]
    pub(crate) status_port: u16,

    /// Requests that one model answers at once: what that Ollama has as OLLAMA_NUM_PARALLEL
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) parallel: u16,

    /// Write addresses, key and process ids here once a request can be answered (JSON, mode 0600)
    #[arg(long, value_name = "PATH")]
    pub(crate) ready_file: Option<PathBuf>,

    /// Not there yet: overflow to Amazon Bedrock
    #[arg(long, value_name = "URL")]
    bedrock_endpoint: Option<String>,

    /// Not there yet: overflow to Amazon Bedrock
    #[arg(long, value_name = "LOCAL=BEDROCK_ID")]
    bedrock_model: Vec<String>,

    /// Not there yet: overflow to Amazon Bedrock
    #[arg(long, value_name = "X")]
    daily_usd: Option<String>,

    /// For tests: where an Ollama is looked for if none is named.
    #[arg(long, hide = true, default_value = OLLAMA)]
    pub(crate) usual_ollama: String,

    /// For tests: where the relay listens for the daemon.
    #[arg(long, hide = true)]
    pub(crate) edge_port: Option<u16>,

    /// For tests: the daemon dials this address instead of the relay's.
    #[arg(long, hide = true)]
    pub(crate) edge_through: Option<SocketAddr>,
}

/// Parses the command line, or says how to exit.
pub(crate) fn parse(args: Vec<OsString>) -> Result<Options, ExitCode> {
    let options = Options::try_parse_from(args).map_err(|error| {
        // Nothing can be done about a closed terminal.
        let _ = error.print();
        let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
        if asked { ExitCode::SUCCESS } else { ExitCode::from(USAGE) }
    })?;
    let overflow = [
        ("--bedrock-endpoint", options.bedrock_endpoint.is_some()),
        ("--bedrock-model", !options.bedrock_model.is_empty()),
        ("--daily-usd", options.daily_usd.is_some()),
    ];
    if let Some((flag, _)) = overflow.iter().find(|(_, given)| *given) {
        complain(&format!("{flag}: overflow to Amazon Bedrock is not there yet in this version"));
        return Err(ExitCode::from(USAGE));
    }
    Ok(options)
}
