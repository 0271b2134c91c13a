//! `init`: everything a new relay needs, in one directory.

use std::path::Path;

use crate::ca::Ca;
use crate::standalone::files;
use crate::standalone::store::Store;

/// Makes CA, server certificate, store and a commented configuration. Nothing is written over.
///
/// # Errors
///
/// A file that exists already or cannot be written, or a name that no certificate can carry.
pub(crate) fn init(directory: &Path, name: &str) -> anyhow::Result<String> {
    files::make_directory(directory)?;
    let directory = directory.canonicalize()?;
    let ca = Ca::create(name)?;
    let server = ca.sign_server(&[name])?;
    let config_path = directory.join("causeway-relay.toml");
    files::write_new(&config_path, &config(&directory, name))?;
    ca.save(&directory.join("ca"))?;
    files::write_new(&directory.join("server.pem"), &server.chain_pem)?;
    files::write_new(&directory.join("server.key"), &server.key_pem)?;
    Store::create(&directory.join("causeway-relay.db"))?;
    let config = config_path.display();
    Ok(format!(
        "made {config}\nnext: causeway-relay keys create --config {config} --name my-app\n      causeway-relay serve --config {config}\n",
    ))
}

fn config(directory: &Path, name: &str) -> String {
    let path = |file: &str| quote(&directory.join(file).display().to_string());
    format!(
        r#"# The relay's configuration. `causeway-relay check-config --config FILE` tells every fault at once.

[callers]
# Where applications connect (HTTPS).
listen = "0.0.0.0:8443"
# Any CA's files, certbot's too; these are signed by the relay's own CA, {ca}.
# Without both lines: plain HTTP, accepted only on a loopback address.
tls-cert = {cert}
tls-key = {key}

[edges]
# Where GPU machines connect: mutual TLS 1.3.
listen = "0.0.0.0:8444"
# The name they know this relay by.
name = {name}

[ca]
# The own certificate authority; keep its key as safe as the machines it lets in.
directory = {ca_directory}

[store]
sqlite = {store}

[limits]
# Largest body of one request, MiB.
body-mib = 32
# All buffered bodies together, MiB; beyond: 503.
bodies-mib = 512
# Requests at once; beyond: 503.
streams = 1024
"#,
        ca = directory.join("ca/ca.pem").display(),
        cert = path("server.pem"),
        key = path("server.key"),
        name = quote(name),
        ca_directory = path("ca"),
        store = path("causeway-relay.db"),
    )
}

/// A TOML string; JSON's escapes are TOML's too.
fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::standalone::config::Config;

    #[test]
    fn what_init_makes_is_accepted_with_the_defaults_of_the_code_and_never_written_over() {
        let directory = tempfile::tempdir().unwrap();
        init(directory.path(), "relay.example.com").unwrap();
        let text = std::fs::read_to_string(directory.path().join("causeway-relay.toml")).unwrap();
        let config = Config::parse(&text, directory.path()).unwrap();
        assert!(config.check_files().is_empty());
        let bare: String = text
            .lines()
            .filter(|line| !line.contains("mib = ") && !line.starts_with("streams"))
            .map(|line| format!("{line}\n"))
            .collect();
        assert_eq!(Config::parse(&bare, directory.path()).unwrap(), config);
        assert!(init(directory.path(), "relay.example.com").is_err());
    }
}
