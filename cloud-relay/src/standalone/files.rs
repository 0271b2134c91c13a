//! Files that only their owner reads, never written over.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// A file that could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
pub struct FileError {
    path: PathBuf,
    source: std::io::Error,
}

fn at<T>(path: &Path, outcome: std::io::Result<T>) -> Result<T, FileError> {
    outcome.map_err(|source| FileError { path: path.to_owned(), source })
}

/// A file's text.
pub(crate) fn read(path: &Path) -> Result<String, FileError> {
    at(path, std::fs::read_to_string(path))
}

/// Writes a new file, mode 0600.
pub(crate) fn write_new(path: &Path, text: &str) -> Result<(), FileError> {
    let open = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = at(path, open)?;
    at(path, file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
}

/// Makes a directory with its parents, mode 0700.
pub(crate) fn make_directory(path: &Path) -> Result<(), FileError> {
    at(path, std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path))
}
