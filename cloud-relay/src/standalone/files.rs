//! Files that only their owner reads: never half written, never lost.

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

/// Writes a new file, mode 0600: all of it, or nothing.
pub(crate) fn write_new(path: &Path, text: &str) -> Result<(), FileError> {
    if path.symlink_metadata().is_ok() {
        return at(path, Err(std::io::ErrorKind::AlreadyExists.into()));
    }
    let whole = write_beside(path, text)?;
    at(path, std::fs::rename(&whole, path))
}

/// Puts a new file, mode 0600, in the place of another, which is kept with `.old` added to its name.
pub(crate) fn replace(path: &Path, text: &str) -> Result<(), FileError> {
    let whole = write_beside(path, text)?;
    if path.exists() {
        let old = with_ending(path, ".old");
        at(&old, std::fs::copy(path, &old))?;
    }
    at(path, std::fs::rename(&whole, path))
}

/// Writes a file with `.new` added to its name, so that what has the name is never half a file.
fn write_beside(path: &Path, text: &str) -> Result<PathBuf, FileError> {
    let new = with_ending(path, ".new");
    if new.symlink_metadata().is_ok() {
        // Of a run that was interrupted.
        at(&new, std::fs::remove_file(&new))?;
    }
    let open = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new);
    let mut file = at(&new, open)?;
    at(&new, file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))?;
    Ok(new)
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Makes a directory with its parents, mode 0700.
pub(crate) fn make_directory(path: &Path) -> Result<(), FileError> {
    at(path, std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path))
}
