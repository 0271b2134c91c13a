//! The file that tells a parent where the status port is.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

/// Its content.
#[derive(Debug, Serialize)]
pub(crate) struct ReadyFile {
    status_url: String,
    pid: u32,
}

impl ReadyFile {
    pub(crate) fn new(status: SocketAddr) -> Self {
        Self { status_url: format!("http://{status}"), pid: std::process::id() }
    }
}

/// Writes it whole or not at all, readable by its owner alone.
pub(crate) fn write(path: &Path, content: &ReadyFile) -> anyhow::Result<()> {
    let draft = path.with_extension("draft");
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(&serde_json::to_vec(content)?)?;
        fs::rename(&draft, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}
