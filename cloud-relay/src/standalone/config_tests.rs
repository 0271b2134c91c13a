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
credentials = "iot"
colour = "red"
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
        "overflow.region: missing, expected an AWS region",
        "line 13: overflow.credentials = \"iot\": not available yet",
        "line 14: overflow.colour: unknown key, expected one of",
        "overflow.budget.daily-usd: missing",
        "overflow.model: missing",
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

const OVERFLOW: &str = r#"
[overflow]
enabled = true
region = "us-east-1"
[overflow.budget]
daily-usd = 5
[[overflow.model]]
local = "gpt-oss*"
bedrock = "openai.gpt-oss-20b-1:0"
usd-per-million = { input = 0.07, output = 0.30 }
"#;

#[test]
fn overflow_is_off_unless_it_is_enabled_and_then_reads_as_the_daemons_does() {
    assert_eq!(parse(GOOD).unwrap().overflow, None);
    let off = OVERFLOW.replace("enabled = true", "enabled = false");
    assert_eq!(parse(&format!("{GOOD}{off}")).unwrap().overflow, None);
    let overflow = parse(&format!("{GOOD}{OVERFLOW}")).unwrap().overflow.unwrap();
    let model = causeway_dialect::model::ModelName::parse("gpt-oss:20b").unwrap();
    assert_eq!(overflow.mapping(&model).unwrap().target.model, "openai.gpt-oss-20b-1:0");
    let fault = parse(&format!("overflow = 5\n{GOOD}")).unwrap_err();
    assert!(fault.contains("overflow") && fault.contains("a section"), "{fault}");
    let metadata = OVERFLOW.replace("region", "endpoint = \"https://169.254.169.254\"\nregion");
    assert!(parse(&format!("{GOOD}{metadata}")).unwrap_err().contains("never contacted"));
}
