//! Overflow to Bedrock, from the flags to the daemon's configuration.

use std::ffi::OsStr;
use std::fmt::Write as _;

use crate::cli::Options;
use crate::output::say;

/// Where Bedrock is if nobody says.
const REGION: &str = "us-east-1";

/// Sections of the daemon's configuration; empty where no model is mapped.
pub(crate) fn config(options: &Options) -> String {
    if options.bedrock_model.is_empty() {
        return String::new();
    }
    let region = ["AWS_REGION", "AWS_DEFAULT_REGION"].iter().find_map(|name| std::env::var(name).ok());
    let region = region.unwrap_or_else(|| REGION.to_owned());
    let mut text = format!("\n[overflow]\nenabled = true\nregion = {region:?}\n");
    // Writing to a string does not fail.
    if let Some(endpoint) = &options.bedrock_endpoint {
        let _ = writeln!(text, "endpoint = {endpoint:?}");
    }
    for mapping in &options.bedrock_model {
        let _ = write!(text, "\n[[overflow.model]]\nlocal = {:?}\nbedrock = {:?}\n", mapping.local, mapping.bedrock);
        if let Some((input, output)) = mapping.price {
            let _ = writeln!(text, "usd-per-million = {{ input = {input:?}, output = {output:?} }}");
        }
    }
    let budget = options.daily_usd.map_or_else(|| "\"unlimited\"".to_owned(), |dollars| format!("{dollars:?}"));
    let _ = write!(text, "\n[overflow.budget]\ndaily-usd = {budget}\n");
    text
}

/// For an emulator on this machine any credentials will do: nobody should have to make some up.
pub(crate) fn credentials(options: &Options) -> Vec<(&'static str, &'static OsStr)> {
    let local = ["http://127.0.0.1", "http://localhost", "http://[::1]"];
    let endpoint = options.bedrock_endpoint.as_deref().unwrap_or_default();
    let own = ["AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_BEARER_TOKEN_BEDROCK"];
    if !local.iter().any(|start| endpoint.starts_with(start)) || own.iter().any(|name| std::env::var_os(name).is_some())
    {
        return Vec::new();
    }
    vec![("AWS_ACCESS_KEY_ID", OsStr::new("quickstart")), ("AWS_SECRET_ACCESS_KEY", OsStr::new("quickstart"))]
}

/// Says where requests may go, and for how much.
pub(crate) fn announce(options: &Options) {
    if options.bedrock_model.is_empty() {
        return;
    }
    for mapping in &options.bedrock_model {
        say(&format!("overflow: {} goes to {} on Amazon Bedrock when it is busy", mapping.local, mapping.bedrock));
    }
    match options.daily_usd {
        Some(dollars) => say(&format!("budget: ${dollars:.2} a day")),
        None => say("budget: unlimited"),
    }
}
