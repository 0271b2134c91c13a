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
    let error = init(directory.path(), NAME).unwrap_err().to_string();
    for expected in ["nothing was changed", "causeway-relay.db", "server.pem", "--renew-certificates", "serve --config"]
    {
        assert!(error.contains(expected), "{expected:?} is not in {error}");
    }
    assert_eq!(read(directory.path()), before);
}

#[test]
fn an_interrupted_init_is_completed_and_keeps_what_it_had_made() {
    // The order of making; each state is what an `init` leaves that ends before the next file.
    for count in 0..PARTS.len() {
        let directory = made();
        for name in &PARTS[count..] {
            std::fs::remove_file(directory.path().join(name)).unwrap();
        }
        let before = read(directory.path());
        assert_eq!(before.len(), count);
        let said = init(directory.path(), NAME).unwrap();
        assert_eq!(said.contains("kept "), count > 1, "{said}");
        let after = read(directory.path());
        let alone = [1, 3].contains(&count).then(|| PARTS[count - 1]);
        for (name, bytes) in &before {
            assert_eq!(after[name] == *bytes, Some(*name) != alone, "{name} after {count} files");
        }
        if let Some(name) = alone {
            assert_eq!(std::fs::read(directory.path().join(format!("{name}.old"))).unwrap(), before[name]);
            assert!(said.contains(&format!("{name}.old")), "{said}");
        }
        assert!(parts::load(&config_in(directory.path())).is_ok(), "after {count} files");
    }
}

#[test]
fn an_init_that_another_is_busy_with_is_left_alone() {
    let directory = made();
    std::fs::remove_file(directory.path().join("server.pem")).unwrap();
    let other = alone_in(directory.path()).unwrap();
    refused(directory.path(), NAME, &["another `init` is at work"]);
    assert!(renew(directory.path(), None).is_err());
    drop(other);
    init(directory.path(), NAME).unwrap();
}

#[test]
fn one_file_of_the_servers_pair_counts_as_none() {
    for missing in ["server.key", "server.pem"] {
        let directory = made();
        std::fs::remove_file(directory.path().join(missing)).unwrap();
        init(directory.path(), NAME).unwrap();
        assert!(parts::load(&config_in(directory.path())).is_ok(), "without {missing}");
    }
}

#[test]
fn what_cannot_be_completed_without_a_loss_is_refused_with_a_cure() {
    for missing in [
        &["ca/ca.key"][..],
        &["ca/ca.pem"],
        &["ca/ca.key", "ca/ca.pem"],
        &["ca/ca.key", "ca/ca.pem", "causeway-relay.db"],
        &["ca/ca.key", "ca/ca.pem", "causeway-relay.toml"],
        &["ca/ca.key", "server.key", "server.pem", "causeway-relay.db", "causeway-relay.toml"],
    ] {
        let directory = made();
        for name in missing {
            std::fs::remove_file(directory.path().join(name)).unwrap();
        }
        refused(directory.path(), NAME, &["restore it from a backup", "edges trust it alone"]);
    }
}

/// The error says all of this, and nothing was changed.
fn refused(directory: &Path, name: &str, expected: &[&str]) {
    let before = read(directory);
    let error = format!("{:#}", init(directory, name).unwrap_err());
    for expected in expected.iter().chain(&["Nothing was changed"]) {
        assert!(error.contains(expected), "{expected:?} is not in {error}");
    }
    assert_eq!(read(directory), before, "{error}");
}

#[test]
fn another_name_than_the_configurations_is_refused_whatever_is_missing() {
    for missing in [&[][..], &["server.key", "server.pem"], &["causeway-relay.db"]] {
        let directory = made();
        for name in missing {
            std::fs::remove_file(directory.path().join(name)).unwrap();
        }
        refused(directory.path(), "other.example.com", &[NAME, "edges.name", "--renew-certificates"]);
    }
}

#[test]
fn a_new_configuration_gets_no_other_name_than_the_certificate_that_is_kept() {
    let other = "other.example.com";
    let directory = made();
    std::fs::remove_file(directory.path().join("causeway-relay.toml")).unwrap();
    refused(directory.path(), other, &["server.pem", "move it and", "--renew-certificates --name other.example.com"]);
    renew(directory.path(), Some(other)).unwrap();
    init(directory.path(), other).unwrap();
    assert_eq!(config_in(directory.path()).name, other, "the cure holds");
}

#[test]
fn authority_and_store_are_where_the_configuration_says() {
    let (directory, elsewhere) = (made(), tempfile::tempdir().unwrap());
    let (ca, store) = (elsewhere.path().join("authority"), elsewhere.path().join("store.db"));
    Ca::create("elsewhere").unwrap().save(&ca).unwrap();
    let path = directory.path().join("causeway-relay.toml");
    let moved = |line: &str| match line.split(" = ").next() {
        Some("directory") => format!("directory = {}\n", quote(&ca.display().to_string())),
        Some("sqlite") => format!("sqlite = {}\n", quote(&store.display().to_string())),
        _ => format!("{line}\n"),
    };
    let text: String = std::fs::read_to_string(&path).unwrap().lines().map(moved).collect();
    std::fs::write(&path, text).unwrap();
    let signed_by_it = || {
        let pem = std::fs::read(directory.path().join("server.pem")).unwrap();
        let (_, pem) = x509_parser::pem::parse_x509_pem(&pem).unwrap();
        pem.parse_x509().unwrap().issuer().to_string().contains("elsewhere")
    };
    for name in &PARTS[2..5] {
        std::fs::remove_file(directory.path().join(name)).unwrap();
    }
    init(directory.path(), NAME).unwrap();
    assert!(signed_by_it() && store.exists());
    assert!(!directory.path().join("causeway-relay.db").exists());
    std::fs::remove_file(directory.path().join("server.pem")).unwrap();
    renew(directory.path(), None).unwrap();
    assert!(signed_by_it());
    std::fs::remove_dir_all(&ca).unwrap();
    refused(directory.path(), NAME, &["authority", "[ca] directory"]);
    assert!(!ca.exists());
}

#[test]
fn what_cannot_be_looked_at_is_not_taken_for_missing() {
    for name in PARTS {
        let directory = made();
        let path = directory.path().join(name);
        std::fs::remove_file(&path).unwrap();
        // Fails for root too, for whom no permission is missing.
        std::os::unix::fs::symlink(&path, &path).unwrap();
        refused(directory.path(), NAME, &[name, "as its owner"]);
    }
}

#[test]
fn a_name_that_no_certificate_can_carry_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let new = directory.path().join("relay");
    for name in ["", "relais-\u{e9}", "two words", "https://relay"] {
        refused(&new, name, &["--name", name]);
        assert!(!new.exists(), "{name:?}");
    }
    let directory = made();
    let before = read(directory.path());
    assert!(renew(directory.path(), Some("")).is_err());
    assert_eq!(read(directory.path()), before);
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
