//! The ready file: addresses, key and process ids for scripts.
//!
//! Invariants: mode 0600, since it holds a key; it appears whole (renamed into place) and only
//! once a request can be answered.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;

/// The keys that contract.md promises.
#[derive(Serialize, Debug)]
pub(crate) struct Ready {
    pub(crate) url: String,
    pub(crate) api_key: String,
    pub(crate) status_url: String,
    pub(crate) edge_url: String,
    pub(crate) state_dir: PathBuf,
    pub(crate) pid: u32,
    pub(crate) relay_pid: u32,
    pub(crate) daemon_pid: u32,
    pub(crate) stand_in: bool,
}

impl Ready {
    /// Writes the file beside its place, then renames it there.
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let directory = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let write = || -> anyhow::Result<()> {
            // A temporary file has mode 0600.
            let mut file = tempfile::NamedTempFile::new_in(directory)?;
            serde_json::to_writer(&mut file, self)?;
            writeln!(file)?;
            file.persist(path)?;
            Ok(())
        };
        write().with_context(|| format!("--ready-file {}", path.display()))
    }
}
