//! `init` on directories in every state that an interrupted one leaves.

use std::collections::BTreeMap;

use super::*;
use crate::standalone::parts;

const NAME: &str = "relay.example.com";
const PARTS: [&str; 6] =
    ["ca/ca.key", "ca/ca.pem", "server.key", "server.pem", "causeway-relay.db", "causeway-relay.toml"];

fn made() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    init(directory.path(), NAME).unwrap();
    directory
}

fn read(directory: &Path) -> BTreeMap<&'static str, Vec<u8>> {
    let files = PARTS.iter().map(|name| (*name, std::fs::read(directory.join(name))));
    files.filter_map(|(name, bytes)| Some((name, bytes.ok()?))).collect()
}

fn config_in(directory: &Path) -> Config {
    let text = std::fs::read_to_string(directory.join("causeway-relay.toml")).unwrap();
    Config::parse(&text, directory).unwrap()
}

#[test]
fn what_init_makes_is_accepted_with_the_defaults_of_the_code() {
    let directory = made();
    let config = config_in(directory.path());
    assert!(parts::load(&config).is_ok());
    let text = std::fs::read_to_string(directory.path().join("causeway-relay.toml")).unwrap();
    let bare: String = text
        .lines()
        .filter(|line| !line.contains("mib = ") && !line.starts_with("streams"))
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(Config::parse(&bare, directory.path()).unwrap(), config);
}

#[test]
fn a_second_init_changes_nothing_and_says_what_is_there_and_what_to_do() {
    let directory = made();
    let before = read(directory.path());
    let error = init(directory.path(), "other.example.com").unwrap_err().to_string();
    for expected in ["nothing was changed", "causeway-relay.db", "server.pem", "--renew-certificates", "serve --config"]
    {
        assert!(error.contains(expected), "{expected:?} is not in {error}");
    }
    assert_eq!(read(directory.path()), before);
}

#[test]
fn an_interrupted_init_is_completed_and_keeps_what_it_had_made() {
    // The order of making; each state is what an `init` leaves that ends before the next part.
    for count in [0, 2, 4, 5] {
        let directory = made();
        for name in &PARTS[count..] {
            std::fs::remove_file(directory.path().join(name)).unwrap();
        }
        let before = read(directory.path());
        assert_eq!(before.len(), count);
        let said = init(directory.path(), NAME).unwrap();
        assert_eq!(said.contains("kept "), count > 0, "{said}");
        let after = read(directory.path());
        assert!(before.iter().all(|(name, bytes)| after[name] == *bytes), "after {count} files");
        assert!(parts::load(&config_in(directory.path())).is_ok(), "after {count} files");
    }
}

#[test]
fn what_cannot_be_completed_without_a_loss_is_refused_with_a_cure() {
    for (missing, expected) in [
        (&["ca/ca.key"][..], "restore it from a backup"),
        (&["ca/ca.pem"], "restore it from a backup"),
        (&["ca/ca.key", "ca/ca.pem"], "edges trust it alone"),
        (&["server.key"], "--renew-certificates"),
    ] {
        let directory = made();
        for name in missing {
            std::fs::remove_file(directory.path().join(name)).unwrap();
        }
        let before = read(directory.path());
        let error = init(directory.path(), NAME).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("Nothing was changed"), "{missing:?}: {error}");
        assert_eq!(read(directory.path()), before, "{missing:?}");
    }
}

#[test]
fn a_renewed_certificate_is_new_and_everything_else_is_as_it_was() {
    let directory = made();
    let before = read(directory.path());
    renew(directory.path(), None).unwrap();
    let after = read(directory.path());
    for (name, bytes) in &before {
        assert_eq!(after[name] == *bytes, !name.starts_with("server."), "{name}");
        if name.starts_with("server.") {
            assert_eq!(std::fs::read(directory.path().join(format!("{name}.old"))).unwrap(), *bytes);
        }
    }
    assert!(parts::load(&config_in(directory.path())).is_ok(), "certificate and key belong together");
    std::fs::remove_file(directory.path().join("server.key")).unwrap();
    renew(directory.path(), None).unwrap();
    assert!(parts::load(&config_in(directory.path())).is_ok(), "also where one of them was lost");
}

#[test]
fn a_certificate_of_somebody_else_is_not_renewed() {
    let directory = made();
    let path = directory.path().join("causeway-relay.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("server.pem", "certbot.pem")).unwrap();
    let before = read(directory.path());
    let error = renew(directory.path(), None).unwrap_err().to_string();
    assert!(error.contains("certbot.pem") && error.contains("where it came from"), "{error}");
    assert_eq!(read(directory.path()), before);
}
