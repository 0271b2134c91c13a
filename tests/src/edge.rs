//! A second daemon beside quickstart's own, with settings of the test's choice.
//!
//! It links to quickstart's relay under a name of its own, so that `x-causeway-edge` pins requests to
//! it. Invariant: its process ends with the value. Absent: building; the caller names the binary.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use causeway_relay::ca::{CERT_FILE, Ca};
use serde_json::Value;

use crate::patience::poll_until;
use crate::stack::{Api, Quickstart};

/// Its name in its certificate and in `x-causeway-edge`.
pub const NAME: &str = "second";

/// Longest start.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A running daemon.
#[derive(Debug)]
pub struct Edge {
    child: Child,
    /// Its status port.
    pub status: Api,
    directory: tempfile::TempDir,
    level: String,
    /// It finds credentials for Bedrock.
    has_credentials: bool,
}

impl Edge {
    /// Starts it in front of `ollama`; `settings` are further lines of its configuration, the first
    /// ones within `[ollama]`.
    ///
    /// # Errors
    /// What it printed, if it ended or was not ready in time.
    pub async fn start(binary: &Path, stack: &Quickstart, ollama: &str, settings: &str) -> anyhow::Result<Self> {
        Self::start_logging(binary, stack, ollama, settings, "info").await
    }

    /// The same with this much in its log (`RUST_LOG`).
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_logging(
        binary: &Path,
        stack: &Quickstart,
        ollama: &str,
        settings: &str,
        level: &str,
    ) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let ca = stack.ready.state_dir.join("relay").join("ca");
        let signed = Ca::load(&ca)?.sign_edge(NAME)?;
        let identity = directory.path().join("identity");
        std::fs::create_dir(&identity)?;
        std::fs::write(identity.join("key.pem"), &signed.key_pem)?;
        std::fs::write(identity.join("chain.pem"), &signed.chain_pem)?;
        let key_only = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(identity.join("key.pem"), key_only)?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let config = directory.path().join("causewayd.toml");
        let (here, anchor) = (identity.display(), ca.join(CERT_FILE));
        std::fs::write(
            &config,
            format!(
                "[relay]\nurl = \"{}\"\nca-file = '{}'\n[identity]\ndirectory = '{here}'\n\
                 [status]\nlisten = \"127.0.0.1:{port}\"\n[ollama]\nurl = \"{ollama}\"\n{settings}\n",
                stack.ready.edge_url,
                anchor.display(),
            ),
        )?;
        let child = spawn(binary, directory.path(), level, true)?;
        let status = Api::new(&format!("http://127.0.0.1:{port}"), None);
        let mut edge = Self { child, status, directory, level: level.to_owned(), has_credentials: true };
        edge.until_ready(&stack.api()).await?;
        Ok(edge)
    }

    /// Ends it at once, lets `meanwhile` do something in its directory, and starts it again.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn restart(&mut self, binary: &Path, api: &Api, meanwhile: impl FnOnce(&Path)) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        meanwhile(self.directory.path());
        self.child = spawn(binary, self.directory.path(), &self.level, self.has_credentials)?;
        self.until_ready(api).await
    }

    /// From its next start on it finds no credentials for Bedrock.
    pub fn forget_credentials(&mut self) {
        self.has_credentials = false;
    }

    /// What it has written so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// Ready is what a caller sees: the relay knows it and its models.
    async fn until_ready(&mut self, api: &Api) -> anyhow::Result<()> {
        let ready = poll_until("the second edge is ready", START_LIMIT, async || {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended with {status}");
            }
            let pinned = api.request("GET", "/api/tags", None).header("x-causeway-edge", NAME).send().await?;
            let Ok(tags) = serde_json::from_slice::<Value>(&pinned.bytes().await?) else { return Ok(None) };
            Ok(tags["models"].as_array().filter(|models| !models.is_empty()).map(|_| ()))
        });
        let ready = ready.await;
        ready.with_context(|| std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default())
    }
}

fn spawn(binary: &Path, directory: &Path, level: &str, has_credentials: bool) -> anyhow::Result<Child> {
    let log = std::fs::File::create(directory.join("log"))?;
    let keys: &[(&str, &str)] = match has_credentials {
        // Found at once, so that no other place is asked for some.
        true => &[("AWS_ACCESS_KEY_ID", "edge"), ("AWS_SECRET_ACCESS_KEY", "of a test")],
        // Nor are there others, and no machine in the cloud is asked.
        false => &[
            ("AWS_CONFIG_FILE", "/dev/null"),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ],
    };
    Command::new(binary)
        .args(["__causewayd", "run", "--config"])
        .arg(directory.join("causewayd.toml"))
        .env_remove("AWS_ACCESS_KEY_ID")
        .env_remove("AWS_SECRET_ACCESS_KEY")
        .envs(keys.iter().copied())
        .env_remove("AWS_BEARER_TOKEN_BEDROCK")
        .env("RUST_LOG", level)
        // It ends when this closes, so also when the test is killed.
        .stdin(Stdio::piped())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("cannot start {}", binary.display()))
}

impl Drop for Edge {
    fn drop(&mut self) {
        // Gone already: just as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
