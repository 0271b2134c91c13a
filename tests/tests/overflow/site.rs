//! A relay with overflow of its own and one edge that can be taken away, each as its own process.
//!
//! The edge allows its models to go to Bedrock and has no money to do so itself: every call that the
//! emulator sees is the relay's.

use std::process::{Child, Command, Stdio};

use causeway_relay::ca::{CERT_FILE, Ca};
use causeway_tests::bedrock::Emulator;
use causeway_tests::stack::create_key;
use tempfile::TempDir;

use super::*;

/// See the module's head.
pub(crate) struct Site {
    directory: TempDir,
    relay: Relay,
    edge: Option<Killed>,
    pub(crate) standin: Running,
    pub(crate) bedrock: Arc<Emulator>,
    key: String,
}

struct Relay {
    process: Killed,
    url: String,
    edges: String,
}

/// Ends with the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // Gone already: just as well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Site {
    /// Models `m`, which may go to Bedrock, and `secret`, which may not; the relay has so many dollars a day.
    pub(crate) async fn open(daily: &str) -> Self {
        Self::with_slots(daily, 1).await
    }

    /// The same with so many slots for each model, the edge linked.
    pub(crate) async fn with_slots(daily: &str, slots: u32) -> Self {
        let keeps = "[[privacy.model]]\nname = \"secret\"\nroute = \"local-only\"\n";
        Self::of(daily, slots, vec![paced("m"), paced("secret")], keeps).await
    }

    /// Of an edge with these models and these further settings.
    pub(crate) async fn of(daily: &str, slots: u32, models: Vec<Model>, settings: &str) -> Self {
        let bedrock = Arc::new(Emulator::start().await);
        bedrock.default_script(Script::text("from bedrock").used(100, 20));
        let standin = Standin::spawn(Config { models, parallel: 64, record: 512, log_runs: true, ..Config::default() })
            .await
            .unwrap();
        let directory = tempfile::tempdir().unwrap();
        let relay_config = directory.path().join("relay.toml");
        let made = directory.path().join("relay");
        let init = ["__causeway-relay", "init", "--name", "127.0.0.1", "--dir"];
        printed(Command::new(binary()).args(init).arg(&made));
        let overflow = |daily: &str, pattern: &str| {
            format!(
                "[overflow]\nenabled = true\nregion = \"us-east-1\"\nendpoint = \"{}\"\n[overflow.budget]\n\
                 daily-usd = {daily}\n[[overflow.model]]\nlocal = \"{pattern}\"\nbedrock = \"{BEDROCK_ID}\"\n\
                 max-tokens = 1000\nusd-per-million = {{ input = 3, output = 15 }}\n",
                bedrock.url()
            )
        };
        let here = made.display();
        let text = format!(
            "[callers]\nlisten = \"127.0.0.1:0\"\n[edges]\nlisten = \"127.0.0.1:0\"\nname = \"127.0.0.1\"\n\
             [ca]\ndirectory = '{here}/ca'\n[store]\nsqlite = '{here}/causeway-relay.db'\n{}",
            overflow(daily, "*")
        );
        std::fs::write(&relay_config, text).unwrap();
        let key = create_key(binary(), &relay_config, &[]).unwrap();
        let relay = start_relay(directory.path()).await;
        let ca = Ca::load(&made.join("ca")).unwrap();
        let signed = ca.sign_edge(edge::NAME).unwrap();
        let identity = directory.path().join("identity");
        std::fs::create_dir(&identity).unwrap();
        std::fs::write(identity.join("key.pem"), &signed.key_pem).unwrap();
        std::fs::write(identity.join("chain.pem"), &signed.chain_pem).unwrap();
        let key_only = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(identity.join("key.pem"), key_only).unwrap();
        let daemon = format!(
            "[relay]\nurl = \"{}\"\nca-file = '{here}/ca/{CERT_FILE}'\n[identity]\ndirectory = '{}'\n\
             [status]\nlisten = \"127.0.0.1:0\"\n[ollama]\nurl = \"{}\"\nparallel = {slots}\n\
             {settings}{}",
            relay.edges,
            identity.display(),
            standin.url(),
            overflow("0.0", "*"),
        );
        std::fs::write(directory.path().join("causewayd.toml"), daemon).unwrap();
        let mut site = Self { directory, relay, edge: None, standin, bedrock, key };
        site.link().await;
        site
    }

    /// The same after its edge has gone.
    pub(crate) async fn deserted(daily: &str) -> Self {
        let mut site = Self::open(daily).await;
        site.desert().await;
        site
    }

    async fn link(&mut self) {
        let log = std::fs::File::create(self.directory.path().join("edge.log")).unwrap();
        let config = self.directory.path().join("causewayd.toml");
        let mut command = Command::new(binary());
        command.args(["__causewayd", "run", "--config"]).arg(config);
        self.edge = Some(Killed(with_credentials(&mut command, log)));
        let linked = poll_until("the edge is linked", PATIENCE, async || {
            let tags = self.api().get("/api/tags").await?;
            if tags.status != 200 {
                return Ok(None);
            }
            let Some(model) = tags.json()["models"][0]["name"].as_str().map(str::to_owned) else { return Ok(None) };
            // The edge itself answers that; a question about one model finds its way by the catalog, in which
            // stands where each may go.
            let about = self.api().get(&format!("/v1/models/{model}")).await?;
            Ok((about.status == 200).then_some(()))
        });
        let linked = linked.await;
        assert!(linked.is_ok(), "{}", self.log("edge.log"));
    }

    /// Ends the edge at once.
    pub(crate) fn kill_edge(&mut self) {
        drop(self.edge.take());
    }

    /// Ends the edge, and waits until the relay knows.
    pub(crate) async fn desert(&mut self) {
        self.kill_edge();
        poll_until("the relay knows that no edge is linked", PATIENCE, async || {
            let tags = self.api().get("/api/tags").await?;
            Ok(tags.json()["models"].as_array().is_some_and(Vec::is_empty).then_some(()))
        })
        .await
        .unwrap();
    }

    /// Lets the relay drain and starts it again.
    pub(crate) async fn restart_relay(&mut self) {
        self.end_relay();
        self.until_relay_ends().await;
        self.relay = start_relay(self.directory.path()).await;
    }

    /// Tells the relay to drain.
    pub(crate) fn end_relay(&self) {
        let id = self.relay.process.0.id().to_string();
        let told = Command::new("kill").args(["-TERM", &id]).status().unwrap();
        assert!(told.success());
    }

    pub(crate) async fn until_relay_ends(&mut self) {
        let process = &mut self.relay.process.0;
        let ended = poll_until("the relay ends", PATIENCE, async || Ok(process.try_wait()?)).await.unwrap();
        assert!(ended.success(), "{}", self.log("relay.log"));
    }

    pub(crate) fn api(&self) -> Api {
        Api::new(&self.relay.url, Some(&self.key))
    }

    /// A client with another key, made with these flags.
    pub(crate) async fn another_key(&self, flags: &[&str]) -> Api {
        let key = create_key(binary(), &self.directory.path().join("relay.toml"), flags).unwrap();
        let api = Api::new(&self.relay.url, Some(&key));
        poll_until("the relay takes the new key", PATIENCE, async || {
            Ok((api.get("/api/tags").await?.status == 200).then_some(()))
        })
        .await
        .unwrap();
        api
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        whole(self.api().request("POST", path, Some(body)).send().await.unwrap()).await
    }

    /// With one more header.
    pub(crate) async fn post_with(&self, path: &str, body: &Value, name: &str, value: &str) -> Answer {
        whole(self.api().request("POST", path, Some(body)).header(name, value).send().await.unwrap()).await
    }

    /// What a command of the relay's prints.
    pub(crate) fn says(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(binary());
        command.arg("__causeway-relay").args(arguments).arg("--config").arg(self.directory.path().join("relay.toml"));
        printed(&mut command)
    }

    /// All that was spent, US dollars, once it is this much: it is written a moment after an answer.
    pub(crate) async fn until_spent(&self, is_right: impl Fn(f64) -> bool) {
        poll_until("the books have what was spent", PATIENCE, async || {
            let usage: Value = serde_json::from_str(&self.says(&["usage", "--by", "day", "--json"]))?;
            let rows = usage.as_array().cloned().unwrap_or_default();
            let usd: f64 = rows.iter().filter_map(|row| row["usd"].as_f64()).sum();
            Ok(is_right(usd).then_some(()))
        })
        .await
        .unwrap();
    }

    /// What a process wrote.
    pub(crate) fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.path().join(name)).unwrap_or_default()
    }

    /// Calls that the relay made, each of them valid.
    pub(crate) fn calls(&self) -> usize {
        self.bedrock.assert_all_valid();
        self.bedrock.calls().len()
    }
}

/// What a command prints that must go well.
fn printed(command: &mut Command) -> String {
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.unwrap();
    // Its end would end the command.
    let stdin = child.stdin.take();
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn with_credentials(command: &mut Command, log: std::fs::File) -> Child {
    command
        .envs([("AWS_ACCESS_KEY_ID", "site"), ("AWS_SECRET_ACCESS_KEY", "of a test")])
        .env_remove("AWS_BEARER_TOKEN_BEDROCK")
        .envs([("RUST_LOG", "trace"), ("CAUSEWAY_LOG", "trace")])
        .stdin(Stdio::piped())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

async fn start_relay(directory: &Path) -> Relay {
    let path = directory.join("relay.log");
    let log = std::fs::File::create(&path).unwrap();
    let mut command = Command::new(binary());
    command.args(["__causeway-relay", "serve", "--config"]).arg(directory.join("relay.toml"));
    let process = Killed(with_credentials(&mut command, log));
    let (url, edges) = poll_until("the relay listens", PATIENCE, async || {
        let text = std::fs::read_to_string(&path)?;
        let line = text.lines().find_map(|line| line.strip_prefix("listening callers="));
        let ports = line.and_then(|line| line.split_once(" edges="));
        Ok(ports.map(|(url, edges)| (url.to_owned(), edges.to_owned())))
    })
    .await
    .unwrap();
    Relay { process, url, edges }
}
