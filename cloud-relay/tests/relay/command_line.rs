//! The command line: exit codes and messages.

use std::net::TcpListener;

use crate::support::{prepared, run, text};

#[test]
fn wrong_usage_exits_64_and_help_and_version_exit_0() {
    for args in [
        &["--nonsense"][..],
        &[],
        &["serve"],
        &["keys", "create", "--config", "x", "--nmae", "y"],
        &["keys", "create", "--config", "x", "--name", "y", "--expires", "soon"],
    ] {
        assert_eq!(run(args).status.code(), Some(64), "{args:?}");
    }
    for args in [&["--help"][..], &["--version"], &["keys", "--help"]] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(!output.stdout.is_empty());
    }
}

#[test]
fn a_bad_configuration_exits_78_with_every_fault() {
    let (directory, config) = prepared(false, "[limits]\nbody-mib = 0\nnonsense = 1");
    let config = config.to_str().unwrap();
    for command in ["check-config", "serve"] {
        let output = run(&[command, "--config", config]);
        assert_eq!(output.status.code(), Some(78));
        let faults = text(&output.stderr);
        for expected in ["limits.body-mib = 0", "limits.nonsense: unknown key", "line "] {
            assert!(faults.contains(expected), "{expected} is not in {faults}");
        }
    }
    let missing = directory.path().join("missing.toml");
    assert_eq!(run(&["check-config", "--config", missing.to_str().unwrap()]).status.code(), Some(78));
}

#[test]
fn files_that_are_missing_are_faults_of_the_configuration() {
    let (directory, config) = prepared(false, "");
    assert_eq!(run(&["check-config", "--config", config.to_str().unwrap()]).status.code(), Some(0));
    std::fs::remove_file(directory.path().join("ca/ca.key")).unwrap();
    std::fs::remove_file(directory.path().join("causeway-relay.db")).unwrap();
    let output = run(&["check-config", "--config", config.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(78));
    let faults = text(&output.stderr);
    assert!(faults.contains("ca.directory") && faults.contains("store.sqlite"), "{faults}");
}

#[test]
fn check_config_finds_everything_that_serve_would_trip_over_at_once() {
    let (directory, config) = prepared(true, "");
    let config = config.to_str().unwrap();
    let (other, _) = prepared(true, "");
    for part in ["server.key", "ca/ca.key"] {
        std::fs::copy(other.path().join(part), directory.path().join(part)).unwrap();
    }
    std::fs::write(directory.path().join("causeway-relay.db"), "damaged ".repeat(1_000)).unwrap();
    for command in ["check-config", "serve"] {
        let output = run(&[command, "--config", config]);
        assert_eq!(output.status.code(), Some(78));
        let faults = text(&output.stderr);
        for expected in ["callers.tls-cert, callers.tls-key: ", "ca.directory: ", "do not belong together", "damaged"] {
            assert!(faults.contains(expected), "{expected:?} is not in {faults}");
        }
    }
    // A store alone is a fault of the day: `serve` may be started again.
    let (directory, config) = prepared(false, "");
    std::fs::write(directory.path().join("causeway-relay.db"), "damaged ".repeat(1_000)).unwrap();
    assert_eq!(run(&["check-config", "--config", config.to_str().unwrap()]).status.code(), Some(78));
}

#[test]
fn init_can_be_repeated_and_renews_the_callers_certificate() {
    let (directory, config) = prepared(false, "");
    std::fs::remove_file(&config).unwrap();
    let dir = directory.path().to_str().unwrap();
    let again = run(&["init", "--dir", dir, "--name", "127.0.0.1"]);
    assert!(again.status.success() && text(&again.stdout).contains("kept "), "{}", text(&again.stderr));
    let third = run(&["init", "--dir", dir, "--name", "127.0.0.1"]);
    assert_eq!(third.status.code(), Some(1));
    assert!(text(&third.stderr).contains("nothing was changed"), "{}", text(&third.stderr));
    let renewed = run(&["init", "--dir", dir, "--renew-certificates"]);
    assert!(renewed.status.success(), "{}", text(&renewed.stderr));
    assert_eq!(run(&["check-config", "--config", config.to_str().unwrap()]).status.code(), Some(0));
    assert_eq!(run(&["init", "--dir", dir]).status.code(), Some(64), "a new relay needs its name");
}

#[test]
fn a_port_that_is_taken_is_named_with_its_key() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (_directory, config) = prepared(false, "");
    let good = std::fs::read_to_string(&config).unwrap();
    for key in ["callers", "edges"] {
        let section = format!("[{key}]\nlisten = \"127.0.0.1:0\"");
        std::fs::write(&config, good.replace(&section, &format!("[{key}]\nlisten = \"{address}\""))).unwrap();
        let output = run(&["serve", "--config", config.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1));
        let message = text(&output.stderr);
        assert!(message.contains(&format!("`{key}.listen`")) && message.contains(&address), "{message}");
    }
}

#[test]
fn a_damaged_store_stops_the_start_with_a_cure() {
    let (directory, config) = prepared(false, "");
    std::fs::write(directory.path().join("causeway-relay.db"), "damaged ".repeat(1_000)).unwrap();
    for command in [&["serve"][..], &["keys", "list"]] {
        let mut args = command.to_vec();
        args.extend(["--config", config.to_str().unwrap()]);
        let output = run(&args);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains("damaged"), "{}", text(&output.stderr));
    }
}

#[test]
fn keys_are_listed_without_their_secrets() {
    let (_directory, config) = prepared(false, "");
    let config = config.to_str().unwrap();
    let made = run(&[
        "keys",
        "create",
        "--config",
        config,
        "--name",
        "app",
        "--models",
        "qwen3:*",
        "--edges",
        "gpu-1",
        "--expires",
        "90d",
    ]);
    let key = text(&made.stdout).trim().to_owned();
    let secret = key.rsplit('_').next().unwrap();
    assert_eq!(secret.len(), 64, "256 bits");
    let list = text(&run(&["keys", "list", "--config", config]).stdout);
    for expected in [key.split('_').nth(1).unwrap(), "app", "qwen3:*", "gpu-1", "90d"] {
        assert!(list.contains(expected), "{expected} is not in {list}");
    }
    assert!(!list.contains(secret));
    assert_eq!(run(&["keys", "revoke", "--config", config, "nobody"]).status.code(), Some(1));
}
