//! The real `ollama` command, which cannot send a key, through `causeway-relay proxy`.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use causeway_tests::ollama::{Found, MODEL, Ollama};
use causeway_tests::stack::Quickstart;

/// A proxy process that ends with the scenario.
struct Proxy(Child);

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) async fn command_line(
    binary: &Path,
    stack: Arc<Quickstart>,
    server: Arc<Ollama>,
    found: Found,
) -> anyhow::Result<()> {
    let binary = binary.to_owned();
    tokio::task::spawn_blocking(move || scenario(&binary, &stack, &server, &found)).await?
}

fn scenario(binary: &Path, stack: &Quickstart, server: &Ollama, found: &Found) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("key");
    let mut key = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file)?;
    std::io::Write::write_all(&mut key, stack.ready.api_key.as_bytes())?;
    let mut child = Command::new(binary)
        .args(["__causeway-relay", "proxy", "--listen", "127.0.0.1:0", "--relay", &stack.ready.url, "--key-file"])
        .arg(&file)
        // It ends when this closes.
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = child.stdout.take();
    let _proxy = Proxy(child);
    let mut line = String::new();
    BufReader::new(stdout.context("no output")?).read_line(&mut line)?;
    let host = line.split_whitespace().find_map(|word| word.strip_prefix("http://")).context("no address")?;

    let run = |arguments: &[&str]| -> anyhow::Result<(bool, String)> {
        let output = server.client(found, host, arguments)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok((output.status.success(), text(&output.stdout) + &text(&output.stderr)))
    };
    let (listed, text) = run(&["list"])?;
    ensure!(listed && text.contains(MODEL), "list: {text}");
    let (ran, text) = run(&["run", MODEL, "Say hello."])?;
    ensure!(ran && !text.trim().is_empty(), "run: {text}");
    let (shown, text) = run(&["show", MODEL])?;
    ensure!(shown && text.contains("llama"), "show: {text}");
    let (resident, text) = run(&["ps"])?;
    ensure!(resident && text.contains(MODEL), "ps: {text}");
    let (removed, text) = run(&["rm", MODEL])?;
    ensure!(!removed && text.contains("not served"), "rm: {text}");
    Ok(())
}
