//! Files that only their owner reads: never half written, never lost.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// A file that could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {error}")]
pub struct FileError {
    path: PathBuf,
    // Not called `source`: the message has it already.
    error: std::io::Error,
}

fn at<T>(path: &Path, outcome: std::io::Result<T>) -> Result<T, FileError> {
    outcome.map_err(|error| FileError { path: path.to_owned(), error })
}

/// A file's text.
pub(crate) fn read(path: &Path) -> Result<String, FileError> {
    at(path, std::fs::read_to_string(path))
}

/// Writes a new file, mode 0600: all of it, or nothing. Of two that write the same, one fails.
pub(crate) fn write_new(path: &Path, text: &str) -> Result<(), FileError> {
    let whole = write_beside(path, text)?;
    // Unlike a rename this fails if the name is taken, whoever took it and when.
    let linked = at(path, std::fs::hard_link(&whole, path));
    let removed = remove(&whole);
    linked.and(removed)?;
    sync_directory(path)
}

/// Puts a new file, mode 0600, in the place of another, which is kept with `.old` added to its name.
pub(crate) fn replace(path: &Path, text: &str) -> Result<(), FileError> {
    let whole = write_beside(path, text)?;
    let replaced = keep_old(path).and_then(|()| at(path, std::fs::rename(&whole, path)));
    if replaced.is_err() {
        // What is told is why it could not be replaced.
        let _ = remove(&whole);
    }
    replaced?;
    sync_directory(path)
}

/// Takes a file out of the way: `.old` is added to its name.
pub(crate) fn put_aside(path: &Path) -> Result<(), FileError> {
    at(path, std::fs::rename(path, with_ending(path, ".old")))?;
    sync_directory(path)
}

/// Gives a file, if there is one, a second name: first, so that there is a file at every moment.
fn keep_old(path: &Path) -> Result<(), FileError> {
    if !at(path, path.try_exists())? {
        return Ok(());
    }
    let old = with_ending(path, ".old");
    remove(&old)?;
    at(&old, std::fs::hard_link(path, &old))
}

/// Writes a file under a name that nobody else uses, so that what has the right name is never half
/// a file, and two that write at once do not write into each other's.
fn write_beside(path: &Path, text: &str) -> Result<PathBuf, FileError> {
    let new = with_ending(path, &format!(".{:016x}.new", rand::random::<u64>()));
    let open = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new);
    let mut file = at(&new, open)?;
    let written = give_to_owner_of_directory(&file, &new)
        .and_then(|()| file.write_all(text.as_bytes()))
        .and_then(|()| file.sync_all());
    if written.is_err() {
        // What is told is why it could not be written.
        let _ = remove(&new);
    }
    at(&new, written).map(|()| new)
}

/// A new name outlives a loss of power only once its directory is on the disk.
fn sync_directory(path: &Path) -> Result<(), FileError> {
    let directory = directory_of(path);
    at(directory, std::fs::File::open(directory).and_then(|directory| directory.sync_all()))
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Run as root, a command must not take the relay's files away from the user that the relay runs as.
fn give_to_owner_of_directory(file: &std::fs::File, path: &Path) -> std::io::Result<()> {
    let (wanted, own) = (directory_of(path).metadata()?, file.metadata()?);
    if own.uid() == 0 && wanted.uid() != 0 {
        std::os::unix::fs::fchown(file, Some(wanted.uid()), Some(wanted.gid()))?;
    }
    Ok(())
}

fn remove(path: &Path) -> Result<(), FileError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        outcome => at(path, outcome),
    }
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Makes a directory with its parents, mode 0700, unless it is there.
pub(crate) fn make_directory(path: &Path) -> Result<(), FileError> {
    if path.is_dir() {
        return Ok(());
    }
    at(path, std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path))?;
    at(path, std::fs::File::open(path).and_then(|made| give_to_owner_of_directory(&made, path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_root_writes_belongs_to_the_owner_of_its_directory() {
        let directory = tempfile::tempdir().unwrap();
        let below = directory.path().join("below");
        let path = below.join("file");
        let somebody = 65_534;
        // Only root may give a directory away; for others there is nothing to see.
        let given = std::os::unix::fs::chown(directory.path(), Some(somebody), None).is_ok();
        make_directory(&below).unwrap();
        write_new(&path, "old").unwrap();
        replace(&path, "new").unwrap();
        replace(&path, "newer").unwrap();
        let owner = if given { somebody } else { directory.path().metadata().unwrap().uid() };
        assert_eq!(below.metadata().unwrap().uid(), owner);
        for (name, text) in [("file", "newer"), ("file.old", "new")] {
            let file = below.join(name);
            assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
            let file = file.metadata().unwrap();
            assert_eq!((file.uid(), file.mode() & 0o777), (owner, 0o600), "{name}");
        }
        assert!(write_new(&path, "again").is_err(), "never written over");
        assert_eq!(std::fs::read_dir(&below).unwrap().count(), 2, "nothing is left lying about");
    }

    #[test]
    fn of_many_that_write_the_same_new_file_one_succeeds_and_its_text_is_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let texts: Vec<String> = (0..8).map(|number| number.to_string().repeat(10_000)).collect();
        let start = std::sync::Barrier::new(texts.len());
        let written: Vec<&str> = std::thread::scope(|scope| {
            let write = |text| {
                start.wait();
                write_new(&path, text).is_ok().then_some(text)
            };
            let threads: Vec<_> = texts.iter().map(|text| scope.spawn(move || write(text))).collect();
            threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(written.len(), 1);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), written[0]);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left lying about");
    }
}
