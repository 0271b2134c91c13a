//! Faults all at once, the environment over every scalar key, and the shipped file.

use super::*;

const SHIPPED: &str = include_str!("../../causewayd.toml");
const MINIMAL: &str = "[relay]\nurl = \"wss://relay.example.com/edge\"\n";

fn parse(text: &str) -> Result<Config, Vec<String>> {
    parse_with(text, &[])
}

fn parse_with(text: &str, environment: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    let environment = environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    Config::parse(text, environment).map_err(|faults| faults.iter().map(|fault| fault.describe("f.toml")).collect())
}

#[test]
fn the_shipped_file_is_valid_and_equals_the_defaults() {
    assert_eq!(parse(SHIPPED).unwrap(), parse(MINIMAL).unwrap());
}

#[test]
fn the_shipped_files_commented_settings_are_valid_too() {
    let mut text = String::new();
    for line in SHIPPED.lines() {
        let setting = line.strip_prefix("# ").filter(|rest| rest.starts_with('[') || rest.contains(" = "));
        text.push_str(setting.unwrap_or(line));
        text.push('\n');
    }
    let config = parse(&text).unwrap();
    assert_eq!(config.ollama.slots("qwen3:8b"), 4);
    assert_eq!(config.ollama.slots("llama3:latest"), 1);
    assert!(config.relay.ca_file.is_some());
}

/// A value other than the default for every scalar key, as the environment would say it.
const OTHER: [(&str, &str); 14] = [
    ("relay.url", "wss://other.example:444/edge"),
    ("relay.connections", "3"),
    ("relay.ca-file", "/tmp/ca.pem"),
    ("identity.directory", "/tmp/identity"),
    ("identity.renew-at", "0.5"),
    ("ollama.url", "http://10.0.0.7:8000"),
    ("ollama.parallel", "8"),
    ("admission.first-token-ms", "1234"),
    ("admission.queue-timeout-ms", "4321"),
    ("admission.queue-limit", "7"),
    ("admission.stream-heartbeat-ms", "8"),
    ("admission.single-heartbeat-ms", "9"),
    ("privacy.route", "local-only"),
    ("status.listen", "[::1]:9999"),
];

fn variable(key: &str) -> String {
    format!("CAUSEWAY__{}", key.replace('.', "__").replace('-', "_").to_uppercase())
}

#[test]
fn the_environment_sets_every_scalar_key_of_the_shipped_file() {
    let (mut entries, mut faults) = (source::Entries::new(), Vec::new());
    source::from_file(SHIPPED, &mut entries, &mut faults);
    let scalars: Vec<String> = entries
        .into_iter()
        .filter(|(_, entry)| !matches!(entry.value, source::Value::List(_)))
        .map(|(key, _)| key)
        .collect();
    assert!(scalars.len() >= 11, "{scalars:?}");
    let before = parse(SHIPPED).unwrap();
    for key in &scalars {
        let (_, value) = OTHER.iter().find(|(known, _)| known == key).expect(key);
        let after = parse_with(SHIPPED, &[(&variable(key), value)]).unwrap();
        assert_ne!(after, before, "{key} had no effect");
    }
}

#[test]
fn the_environment_alone_can_be_the_whole_configuration() {
    let variables: Vec<(String, &str)> = OTHER.iter().map(|(key, value)| (variable(key), *value)).collect();
    let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let config = parse_with("", &variables).unwrap();
    assert_eq!(config.relay.url.to_string(), "wss://other.example:444/edge");
    assert_eq!((config.relay.connections, config.ollama.parallel), (3, 8));
    assert_eq!(config.admission.first_token, Duration::from_millis(1_234));
    assert_eq!(config.privacy.route, Route::LocalOnly);
    assert_eq!(config.ollama.url.to_string(), "http://10.0.0.7:8000");
}

#[test]
fn all_faults_are_reported_at_once_with_their_lines() {
    let text = concat!(
        "[relay]\n",
        "url = \"http://relay.example.com\"\n",
        "conections = 2\n",
        "proxy = \"http://proxy:3128\"\n",
        "[ollama]\n",
        "url = \"https://ollama.com\"\n",
        "parallel = 0\n",
        "models = []\n",
        "[overflow]\n",
        "enabled = 1\n",
        "[status]\n",
        "listen = \"0.0.0.0:9180\"\n",
        "[typo]\n",
    );
    let faults =
        parse_with(text, &[("CAUSEWAY__ADMISSION__QUEUE_LIMIT", "many"), ("CAUSEWAY__NOPE", "1")]).unwrap_err();
    let expected = [
        "f.toml:2: relay.url = \"http://relay.example.com\": expected wss://HOST[:PORT]/edge",
        "f.toml:3: relay.conections: unknown key, expected one of ca-file, connections, proxy, url",
        "f.toml:4: relay.proxy = \"http://proxy:3128\": not available yet",
        "f.toml:6: ollama.url = \"https://ollama.com\": expected http://",
        "f.toml:7: ollama.parallel = 0: expected a whole number from 1 to 1024",
        "f.toml:8: ollama.models = []: expected an array of shell patterns",
        "f.toml:10: overflow.enabled = 1: expected true or false",
        "f.toml:12: status.listen = \"0.0.0.0:9180\": expected a loopback address",
        "f.toml:13: typo: unknown section",
        "environment CAUSEWAY__ADMISSION__QUEUE_LIMIT: admission.queue-limit = many: expected a whole number",
        "environment CAUSEWAY__NOPE: nope: unknown section",
    ];
    assert_eq!(faults.len(), expected.len(), "{faults:#?}");
    for (fault, expected) in faults.iter().zip(expected) {
        assert!(fault.starts_with(expected), "{fault}\nshould begin\n{expected}");
    }
}

#[test]
fn syntax_faults_have_lines_and_do_not_hide_the_others() {
    let faults = parse("[relay]\nurl = wss://x\nconnections = 9\n").unwrap_err();
    assert!(faults.iter().any(|fault| fault.starts_with("f.toml:2: not valid TOML")), "{faults:#?}");
    assert!(faults.iter().any(|fault| fault.starts_with("f.toml:3: relay.connections = 9")), "{faults:#?}");
}

#[test]
fn a_missing_relay_is_named() {
    let faults = parse("").unwrap_err();
    assert_eq!(faults, ["f.toml: relay.url: missing, expected wss://HOST[:PORT]/edge"]);
}

#[test]
fn metadata_addresses_are_refused_wherever_a_url_is_taken() {
    let text = "[relay]\nurl = \"wss://169.254.169.254/edge\"\n[ollama]\nurl = \"http://[fd00:ec2::254]:80\"\n";
    let faults = parse(text).unwrap_err();
    assert_eq!(faults.len(), 2, "{faults:#?}");
    assert!(faults.iter().all(|fault| fault.contains("never contacted")));
}

#[test]
fn an_ollama_url_with_a_path_user_or_query_is_refused() {
    for url in ["http://h:1/path", "http://u:p@h:1", "http://h:1/?q", "http://h:1#f", "ftp://h", "h:1", ""] {
        let text = format!("{MINIMAL}[ollama]\nurl = \"{url}\"\n");
        assert_eq!(parse(&text).unwrap_err().len(), 1, "{url}");
    }
}

#[test]
fn arrays_come_from_the_file_only() {
    let faults = parse_with(MINIMAL, &[("CAUSEWAY__OLLAMA__MODELS", "qwen*")]).unwrap_err();
    assert!(faults[0].contains("arrays only in the file"), "{faults:?}");
}

#[test]
fn a_model_override_needs_a_name_and_knows_its_keys() {
    let text = format!("{MINIMAL}[[ollama.model]]\nparallel = 2\n[[ollama.model]]\nname = \"a b\"\nslots = 3\n");
    let faults = parse(&text).unwrap_err();
    assert!(faults.iter().any(|fault| fault.contains("ollama.model[0].name: missing")), "{faults:#?}");
    assert!(faults.iter().any(|fault| fault.contains("ollama.model[1].name = \"a b\"")), "{faults:#?}");
    assert!(faults.iter().any(|fault| fault.contains("ollama.model[1].slots = 3: unknown key")), "{faults:#?}");
}

const OVERFLOW: &str = "[overflow]\nenabled = true\nregion = \"eu-west-1\"\n[overflow.budget]\ndaily-usd = 5\n";
const MAPPED: &str = "[[overflow.model]]\nlocal = \"qwen*\"\nbedrock = \"qwen.qwen3-32b-v1:0\"\n\
                      usd-per-million = { input = 0.15, output = 1 }\n";

#[test]
fn overflow_is_off_unless_it_is_said_with_a_mapping_a_region_and_a_budget() {
    assert_eq!(parse(MINIMAL).unwrap().overflow, None);
    let off = format!("{MINIMAL}{}{MAPPED}", OVERFLOW.replace("true", "false"));
    assert_eq!(parse(&off).unwrap().overflow, None);
    let faults = parse(&format!("{MINIMAL}[overflow]\nenabled = true\n")).unwrap_err();
    for missing in ["overflow.region: missing", "overflow.budget.daily-usd: missing", "overflow.model: missing"] {
        assert!(faults.iter().any(|fault| fault.contains(missing)), "{missing}: {faults:#?}");
    }
    let overflow = parse(&format!("{MINIMAL}{OVERFLOW}{MAPPED}")).unwrap().overflow.unwrap();
    assert_eq!((overflow.region.as_str(), overflow.hedge), ("eu-west-1", Duration::ZERO));
    let model = causeway_dialect::model::ModelName::parse("qwen3:8b").unwrap();
    let mapping = overflow.mapping(&model).unwrap();
    assert_eq!((mapping.target.family.name, mapping.target.max_tokens), ("qwen", 4_096));
}

#[test]
fn a_model_without_a_price_is_refused_under_a_budget_and_taken_without_one() {
    let unpriced = MAPPED.lines().take(3).collect::<Vec<_>>().join("\n");
    let faults = parse(&format!("{MINIMAL}{OVERFLOW}{unpriced}\n")).unwrap_err();
    assert!(faults[0].contains("usd-per-million.input: missing"), "{faults:#?}");
    let unlimited = OVERFLOW.replace("= 5", "= \"unlimited\"");
    let overflow = parse(&format!("{MINIMAL}{unlimited}{unpriced}\n")).unwrap().overflow.unwrap();
    assert_eq!(overflow.mappings[0].price, None);
}

#[test]
fn bad_settings_of_overflow_are_named_with_what_was_expected() {
    let open = format!("{MINIMAL}[[privacy.model]]\nname = \"med[ai]*\"\nroute = \"local-only\"\n");
    assert!(parse(&open).unwrap_err()[0].contains("* and ? alone"), "what cannot match protects nothing");
    for (setting, expected) in [
        ("credentials = \"iot\"", "not available yet"),
        ("endpoint = \"http://bedrock.example.com\"", "http:// on a loopback address"),
        ("endpoint = \"https://169.254.169.254\"", "never contacted"),
        ("service-tier = \"fast\"", "\"flex\""),
        ("mapping = \"all\"", "same-weights"),
        ("hedge-ms = -1", "whole number"),
        ("typo = 1", "unknown key"),
    ] {
        let overflow = OVERFLOW.replace("enabled = true\n", &format!("enabled = true\n{setting}\n"));
        let faults = parse(&format!("{MINIMAL}{overflow}{MAPPED}")).unwrap_err();
        assert!(faults.len() == 1 && faults[0].contains(expected), "{setting}: {faults:#?}");
    }
    for (setting, expected) in
        [("family = \"gpt\"", "gpt-oss"), ("max-tokens = 0", "from 1"), ("typo = 1", "usd-per-million")]
    {
        let faults = parse(&format!("{MINIMAL}{OVERFLOW}{MAPPED}{setting}\n")).unwrap_err();
        assert!(faults.len() == 1 && faults[0].contains(expected), "{setting}: {faults:#?}");
    }
}

#[test]
fn the_same_weights_are_mapped_with_their_prices() {
    let overflow = OVERFLOW.replace("enabled = true\n", "enabled = true\nmapping = \"same-weights\"\n");
    let overflow = parse(&format!("{MINIMAL}{overflow}")).unwrap().overflow.unwrap();
    for model in ["gpt-oss", "gpt-oss:20b", "gpt-oss:120b", "qwen3"] {
        let name = causeway_dialect::model::ModelName::parse(model).unwrap();
        let mapped = overflow.mapping(&name).map(|mapping| (mapping.target.model.as_str(), mapping.price.is_some()));
        let expected = match model {
            "gpt-oss:20b" => Some(("openai.gpt-oss-20b-1:0", true)),
            "gpt-oss:120b" => Some(("openai.gpt-oss-120b-1:0", true)),
            _ => None,
        };
        assert_eq!(mapped, expected, "{model}");
    }
}
