//! Configuration files with faults in them.

use super::*;

const GOOD: &str = r#"
[callers]
listen = "127.0.0.1:0"
[edges]
listen = "0.0.0.0:8444"
name = "relay.example.com"
[ca]
directory = "ca"
[store]
sqlite = "/var/lib/s.db"
"#;

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(text, Path::new("/etc/causeway")).map_err(|faults| faults.to_string())
}

#[test]
fn a_short_file_has_the_contracts_defaults_and_paths_relative_to_it() {
    let config = parse(GOOD).unwrap();
    assert_eq!(config.body, 32 << 20);
    assert_eq!(config.bodies, 512 << 20);
    assert_eq!(config.streams, 1024);
    assert_eq!(config.ca, Path::new("/etc/causeway/ca"));
    assert_eq!(config.store, Path::new("/var/lib/s.db"));
    assert_eq!(config.tls, None);
}

#[test]
fn all_faults_come_at_once_with_line_key_value_and_expectation() {
    let text = r#"
[callers]
listen = "0.0.0.0:8443"
colour = "red"
cors-origins = ["https://a"]
[edges]
listen = 8444
[limits]
body-mib = 0
streams = "many"
[overflow]
enabled = true
region = "us-east-1"
[enroll]
listen = "0.0.0.0:1"
"#;
    let faults = parse(text).unwrap_err();
    for expected in [
        "line 3: callers.listen = \"0.0.0.0:8443\": expected a loopback address",
        "line 4: callers.colour: unknown key",
        "line 5: callers.cors-origins = […]: expected []: this is not available yet",
        "line 7: edges.listen = 8444: expected ADDRESS:PORT",
        "edges.name is missing",
        "line 9: limits.body-mib = 0: expected a whole number from 1 to 256",
        "line 10: limits.streams = \"many\"",
        "line 12: overflow.enabled = true: expected false",
        "line 13: overflow.region: not available yet",
        "enroll: not available yet",
        "ca is missing",
        "store is missing",
    ] {
        assert!(faults.contains(expected), "{expected:?} is not in:\n{faults}");
    }
}

#[test]
fn a_file_that_is_no_toml_says_where() {
    assert!(parse("[callers]\nlisten = \n").unwrap_err().starts_with("line 2: not TOML"));
}

#[test]
fn tls_needs_both_files() {
    let text = GOOD.replace("[edges]", "tls-cert = \"a\"\n[edges]");
    assert!(parse(&text).unwrap_err().contains("callers.tls-key is missing"));
    let both = text.replace("[edges]", "tls-key = \"b\"\n[edges]").replace("127.0.0.1:0", "0.0.0.0:8443");
    assert!(parse(&both).unwrap().tls.is_some());
}

#[test]
fn an_empty_name_of_the_relay_is_a_fault_with_a_text() {
    let fault = parse(&GOOD.replace("relay.example.com", "")).unwrap_err();
    assert!(fault.contains("edges.name") && fault.contains("edges reach this relay"), "{fault:?}");
}

#[test]
fn callers_and_edges_cannot_share_a_port() {
    let same = GOOD.replace("127.0.0.1:0", "127.0.0.1:8443").replace("0.0.0.0:8444", "127.0.0.1:8443");
    assert!(parse(&same).unwrap_err().contains("edges.listen = \"127.0.0.1:8443\": expected another port"));
    assert!(parse(&GOOD.replace("0.0.0.0:8444", "127.0.0.1:0")).is_ok(), "the system chooses two");
}
