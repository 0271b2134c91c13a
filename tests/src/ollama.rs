//! A real Ollama for tests, where this machine has one.
//!
//! Found as `OLLAMA_BIN` or `ollama` on the PATH; the model is the GGUF file that
//! `CAUSEWAY_GGUF` names (SmolLM2-135M-Instruct). It runs on a free port with a private home.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::patience::poll_until;
use crate::stack::Api;

/// Name of the model that is created.
pub const MODEL: &str = "smollm2:135m";
/// The same weights under a second name.
pub const SECOND_MODEL: &str = "smollm2-copy:latest";

/// Longest start of the server.
const START_LIMIT: Duration = Duration::from_secs(30);

/// The chat template comes from the file. One thread: the machine that tests also runs the rest.
const MODELFILE: &str = "FROM {gguf}\nPARAMETER num_thread 1\n";

/// What is needed to run one.
#[derive(Clone, Debug)]
pub struct Found {
    binary: PathBuf,
    gguf: PathBuf,
}

/// Looks for an Ollama and a model file; the error says what is missing and how to name it.
///
/// # Errors
/// A sentence for the skip line.
pub fn find() -> Result<Found, String> {
    let binary = std::env::var_os("OLLAMA_BIN").map(PathBuf::from).or_else(on_path);
    let Some(binary) = binary.filter(|path| path.is_file()) else {
        return Err("no Ollama found (put `ollama` on the PATH or set OLLAMA_BIN)".to_owned());
    };
    let Some(gguf) = std::env::var_os("CAUSEWAY_GGUF").map(PathBuf::from).filter(|path| path.is_file()) else {
        return Err("no model found (set CAUSEWAY_GGUF to a SmolLM2-135M-Instruct GGUF file)".to_owned());
    };
    Ok(Found { binary, gguf })
}

fn on_path() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join("ollama")).find(|file| file.is_file())
}

/// A running server with [`MODEL`] and [`SECOND_MODEL`].
#[derive(Debug)]
pub struct Ollama {
    child: Child,
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    home: tempfile::TempDir,
}

impl Ollama {
    /// Starts it with `OLLAMA_NUM_PARALLEL=1` and creates the models.
    ///
    /// # Errors
    /// What went wrong, with the server's log.
    pub async fn start(found: &Found) -> anyhow::Result<Self> {
        let home = tempfile::tempdir()?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let log = std::fs::File::create(home.path().join("log"))?;
        let host = format!("127.0.0.1:{port}");
        let child = command(&found.binary, home.path(), &host)
            .arg("serve")
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", found.binary.display()))?;
        let mut server = Self { child, url: format!("http://{host}"), home };
        server.wait().await?;
        server.create(found, &host)?;
        Ok(server)
    }

    async fn wait(&mut self) -> anyhow::Result<()> {
        let api = Api::new(&self.url, None);
        let answers = poll_until("ollama serve answers", START_LIMIT, async || {
            if let Some(status) = self.child.try_wait()? {
                bail!("ollama serve ended with {status}");
            }
            Ok(api.get("/api/version").await.ok().map(|_| ()))
        })
        .await;
        answers.with_context(|| format!("its log: {}", self.log()))
    }

    fn create(&self, found: &Found, host: &str) -> anyhow::Result<()> {
        let home = self.home.path();
        let modelfile = home.join("Modelfile");
        std::fs::write(&modelfile, MODELFILE.replace("{gguf}", &found.gguf.display().to_string()))?;
        let create = ["create", MODEL, "-f", &modelfile.display().to_string()].map(str::to_owned);
        let copy = ["cp", MODEL, SECOND_MODEL].map(str::to_owned);
        for arguments in [create.as_slice(), copy.as_slice()] {
            let output = command(&found.binary, home, host).args(arguments).output()?;
            if !output.status.success() {
                bail!("ollama {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
            }
        }
        Ok(())
    }

    /// Runs the `ollama` command against another host than this server, with its home.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn client(&self, found: &Found, host: &str, arguments: &[&str]) -> std::io::Result<Output> {
        command(&found.binary, self.home.path(), host).args(arguments).output()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Ollama {
    fn drop(&mut self) {
        // SIGTERM first: it ends its runner processes itself.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::park_timeout(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(binary: &Path, home: &Path, host: &str) -> Command {
    let mut command = Command::new(binary);
    command
        .env("HOME", home)
        .env("OLLAMA_HOST", host)
        .env("OLLAMA_MODELS", home.join("models"))
        .env("OLLAMA_NUM_PARALLEL", "1")
        .env("OLLAMA_NO_CLOUD", "1")
        .env("OLLAMA_CONTEXT_LENGTH", "4096")
        .stdin(Stdio::null());
    command
}
