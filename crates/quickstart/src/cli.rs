//! Flags.
//!
//! Invariant: a wrong flag exits 64.

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

    /// Where Amazon Bedrock is, if not at its own address (AWS_REGION, else us-east-1)
    #[arg(long, value_name = "URL", requires = "bedrock_model")]
    pub(crate) bedrock_endpoint: Option<String>,

    /// Overflow this local model to that one on Bedrock; under --daily-usd with dollars for a million
    /// tokens in and out: LOCAL=BEDROCK_ID,IN,OUT. Credentials are the AWS SDK's (environment, profile)
    #[arg(long, value_name = "LOCAL=BEDROCK_ID", value_parser = Mapping::parse)]
    pub(crate) bedrock_model: Vec<Mapping>,

    /// Most that Bedrock may cost a day, US dollars [default: unlimited]
    #[arg(long, value_name = "X", requires = "bedrock_model")]
    pub(crate) daily_usd: Option<f64>,

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

/// Where a local model overflows to.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Mapping {
    pub(crate) local: String,
    pub(crate) bedrock: String,
    /// US dollars for a million tokens in and out.
    pub(crate) price: Option<(f64, f64)>,
}

impl Mapping {
    fn parse(text: &str) -> Result<Self, String> {
        const FORM: &str = "expected LOCAL=BEDROCK_ID or LOCAL=BEDROCK_ID,IN,OUT, such as \
                            gpt-oss:20b=openai.gpt-oss-20b-1:0,0.07,0.30";
        let (local, rest) = text.split_once('=').ok_or(FORM)?;
        let mut parts = rest.split(',');
        let bedrock = parts.next().unwrap_or_default();
        let price: Vec<f64> = parts.map(|part| part.parse().map_err(|_| FORM)).collect::<Result<_, _>>()?;
        let price = match price.as_slice() {
            [] => None,
            [input, output] => Some((*input, *output)),
            _ => return Err(FORM.to_owned()),
        };
        // They go into a configuration file between quotes.
        if [local, bedrock].iter().any(|name| name.is_empty() || name.contains(['"', '\\', '\n'])) {
            return Err(FORM.to_owned());
        }
        Ok(Self { local: local.to_owned(), bedrock: bedrock.to_owned(), price })
    }
}

/// Parses the command line, or says how to exit.
pub(crate) fn parse(args: Vec<OsString>) -> Result<Options, ExitCode> {
    let options = Options::try_parse_from(args).map_err(|error| {
        // Nothing can be done about a closed terminal.
        let _ = error.print();
        let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
        if asked { ExitCode::SUCCESS } else { ExitCode::from(USAGE) }
    })?;
    if let Some(mapping) = options.bedrock_model.iter().find(|mapping| mapping.price.is_none())
        && options.daily_usd.is_some()
    {
        complain(&format!(
            "--daily-usd needs prices: --bedrock-model {}={},IN,OUT (dollars for a million tokens)",
            mapping.local, mapping.bedrock
        ));
        return Err(ExitCode::from(USAGE));
    }
    Ok(options)
}
