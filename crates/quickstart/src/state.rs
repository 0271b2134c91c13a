//! The private directory: CA, store, key, edge certificate, two configurations.
//!
//! Invariants: mode 0700; removed when dropped, or by a child if the parent cannot; it is
//! made with the commands that an operator would type, but for the edge's certificate, which the
//! CA signs here because enrolment is not there yet.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use causeway_relay::ca::{CERT_FILE, Ca};

use crate::child::Role;
use crate::process::output_of;

/// The edge's name in its certificate, in headers and in the access log.
const EDGE: &str = "quickstart";

/// What the configurations say.
pub(crate) struct Plan {
    pub(crate) callers: u16,
    pub(crate) status: u16,
    pub(crate) edges: u16,
    /// The daemon dials this instead of the relay.
    pub(crate) through: Option<SocketAddr>,
    pub(crate) ollama: String,
    pub(crate) parallel: u16,
    /// Overflow to Bedrock, as the daemon's configuration says it; empty where it is off.
    pub(crate) overflow: String,
}

/// The directory and the one key in its store.
pub(crate) struct State {
    directory: tempfile::TempDir,
    api_key: String,
}

impl State {
    /// Makes everything that relay and daemon need before they start.
    pub(crate) async fn create(plan: &Plan) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("causeway-quickstart-")
            .permissions(std::fs::Permissions::from_mode(0o700))
            .tempdir()
            .context("cannot make a directory for the state")?;
        let mut state = Self { directory, api_key: String::new() };
        let relay = state.path("relay");
        let init = ["init".into(), "--dir".into(), relay.clone().into_os_string(), "--name".into(), "127.0.0.1".into()];
        output_of(Role::Relay, &init).await?;
        state.write("relay.toml", &relay_config(plan, &relay)?)?;
        state.identity(&relay.join("ca"))?;
        state.write("causewayd.toml", &daemon_config(plan, &state)?)?;
        let config = state.relay_config().into_os_string();
        let create: [OsString; 6] =
            ["keys".into(), "create".into(), "--config".into(), config, "--name".into(), "quickstart".into()];
        let printed = output_of(Role::Relay, &create).await?;
        let key = printed.split_whitespace().find(|word| word.starts_with("cw_"));
        state.api_key = key.with_context(|| format!("no key in what `keys create` printed: {printed}"))?.to_owned();
        Ok(state)
    }

    /// The directory itself.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The key for callers.
    pub(crate) fn api_key(&self) -> &str {
        &self.api_key
    }

    /// The relay's configuration file.
    pub(crate) fn relay_config(&self) -> PathBuf {
        self.path("relay.toml")
    }

    /// The daemon's configuration file.
    pub(crate) fn daemon_config(&self) -> PathBuf {
        self.path("causewayd.toml")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let path = self.path(name);
        let write = || -> std::io::Result<()> {
            let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
            std::io::Write::write_all(&mut file, text.as_bytes())
        };
        write().with_context(|| path.display().to_string())
    }

    fn identity(&self, ca: &Path) -> anyhow::Result<()> {
        let signed = Ca::load(ca)?.sign_edge(EDGE)?;
        std::fs::create_dir(self.path("identity"))?;
        self.write("identity/key.pem", &signed.key_pem)?;
        self.write("identity/chain.pem", &signed.chain_pem)?;
        Ok(())
    }
}

/// A path as a TOML string; one that needs escaping is refused, since it comes from TMPDIR.
fn quoted(path: &Path) -> anyhow::Result<String> {
    match path.to_str() {
        Some(text) if !text.contains(['\'', '\n']) => Ok(format!("'{text}'")),
        _ => bail!("{}: set TMPDIR to a directory with a plain name", path.display()),
    }
}

fn relay_config(plan: &Plan, directory: &Path) -> anyhow::Result<String> {
    let (ca, store) = (quoted(&directory.join("ca"))?, quoted(&directory.join("causeway-relay.db"))?);
    Ok(format!(
        "[callers]\nlisten = \"127.0.0.1:{}\"\n\n[edges]\nlisten = \"127.0.0.1:{}\"\nname = \"127.0.0.1\"\n\n\
         [ca]\ndirectory = {ca}\n\n[store]\nsqlite = {store}\n",
        plan.callers, plan.edges
    ))
}

fn daemon_config(plan: &Plan, state: &State) -> anyhow::Result<String> {
    let dial = plan.through.map_or_else(|| format!("127.0.0.1:{}", plan.edges), |addr| addr.to_string());
    let anchor = quoted(&state.path("relay").join("ca").join(CERT_FILE))?;
    let identity = quoted(&state.path("identity"))?;
    Ok(format!(
        "[relay]\nurl = \"wss://{dial}/edge\"\nca-file = {anchor}\n\n[identity]\ndirectory = {identity}\n\n\
         [ollama]\nurl = \"{}\"\nparallel = {}\n\n[status]\nlisten = \"127.0.0.1:{}\"\n{}",
        plan.ollama, plan.parallel, plan.status, plan.overflow
    ))
}
