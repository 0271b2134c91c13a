//! Whatever the owner, the key and the caller say together, and in whatever state the machine is: what
//! may not leave it does not, and what may is answered.
//!
//! Every general route × route of a model × key × header, all at once, in each state. What may not go
//! to Bedrock carries the canary, on which the emulator fails the test.

use causeway_standin::Fault;
use causeway_tests::bedrock::CANARY;
use futures_util::future::join_all;

use super::site::Site;
use super::*;

const ROUTES: [&str; 3] = ["auto", "local-only", "cloud-only"];

/// Models, by the route that the owner gives each.
const MODELS: [(&str, Option<&str>); 4] =
    [("plain", None), ("open", Some("auto")), ("kept", Some("local-only")), ("sent", Some("cloud-only"))];

/// Forwarded by Ollama to another machine, by its name or by its manifest.
const FORWARDED: [&str; 3] = ["plain:cloud", "gpt-oss:20b-cloud", "alias"];

/// Deadlines of callers whom this machine would keep waiting for ever: while a model is loaded, and while its
/// slot is taken. The second leaves time to see that an answer outgrows all that were before it.
const LOADING: &str = "500";
const TAKEN: &str = "3000";

/// Backends that are left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Left {
    local: bool,
    bedrock: bool,
}

impl Left {
    fn of<'a>(routes: impl IntoIterator<Item = Option<&'a str>>) -> Self {
        let all = Self { local: true, bedrock: true };
        routes.into_iter().flatten().fold(all, |left, route| Self {
            local: left.local && route != "cloud-only",
            bedrock: left.bedrock && route != "local-only",
        })
    }
}

/// One request, and what may become of it.
struct Case {
    model: &'static str,
    kept_by_key: bool,
    header: Option<&'static str>,
    left: Left,
}

/// What a state of the machine does to a request that must stay on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Here {
    Serves,
    Fails,
    /// Either.
    May,
}

struct World {
    way: Way,
    general: &'static str,
    /// A key that keeps everything here.
    keeps: Api,
}

/// What the owner says of each model, in the daemon's configuration.
fn privacy(general: &str) -> String {
    let own = MODELS.iter().filter_map(|(model, route)| {
        route.map(|route| format!("[[privacy.model]]\nname = \"{model}\"\nroute = \"{route}\"\n"))
    });
    format!("[privacy]\nroute = \"{general}\"\n{}", own.collect::<String>())
}

fn cases(general: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    for (model, route) in MODELS {
        for kept_by_key in [false, true] {
            for header in [None].into_iter().chain(ROUTES.map(Some)) {
                let key = kept_by_key.then_some("local-only");
                let left = Left::of([Some(general), route, key, header]);
                cases.push(Case { model, kept_by_key, header, left });
            }
        }
    }
    cases
}

impl Case {
    /// Asked with one of two keys, the second of which keeps everything at home.
    fn request(&self, keys: [&Api; 2], deadline: Option<&str>) -> reqwest::RequestBuilder {
        let prompt = if self.left.bedrock { "may leave" } else { CANARY };
        let body = json!({"model": self.model, "messages": [{"role": "user", "content": prompt}]});
        let key = keys[usize::from(self.kept_by_key)];
        let mut request = key.request("POST", "/api/chat", Some(&body));
        for (name, value) in [("x-causeway-route", self.header), ("x-causeway-first-token-ms", deadline)] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        request
    }
}

impl World {
    async fn open(general: &'static str, hedge: u32) -> Self {
        let mut models: Vec<Model> = MODELS.iter().map(|(name, _)| paced(name)).collect();
        models.push(Model::named("alias").forwarded_to("https://ollama.com"));
        let way = Way::build(models, "*", "5.0", &privacy(general), hedge).await;
        let keeps = way.stack.another_key(&["--route", "local-only"]).await.unwrap();
        Self { way, general, keeps }
    }

    async fn ask(&self, case: &Case, deadline: Option<&str>) -> Answer {
        let request = case.request([&self.way.api, &self.keeps], deadline).header("x-causeway-edge", edge::NAME);
        whole(request.send().await.unwrap()).await
    }

    /// All cases at once in this state of the machine.
    async fn holds(&self, state: &str, here: Here, deadline: Option<&str>) {
        let cases = cases(self.general);
        let answers = join_all(cases.iter().map(|case| self.ask(case, deadline)));
        self.check(state, here, &cases, &answers.await);
    }

    fn check(&self, state: &str, here: Here, cases: &[Case], answers: &[Answer]) {
        for (case, answer) in cases.iter().zip(answers) {
            let Case { model, kept_by_key, header: asked, left } = case;
            let said = format!(
                "{state}, {}: {model}, key {kept_by_key}, header {asked:?}: {} {}",
                self.general,
                answer.status,
                answer.text()
            );
            let by = header(answer, "x-causeway-served-by").filter(|_| answer.status == 200);
            match (left.local, left.bedrock, here) {
                (false, false, _) => assert_eq!(answer.status, 403, "{said}"),
                (false, true, _) | (true, true, Here::Fails) => assert_eq!(by, Some("bedrock"), "{said}"),
                (true, false, Here::Serves) => assert_eq!(by, Some("local"), "{said}"),
                (true, false, Here::Fails) => assert!(answer.status >= 500, "{said}"),
                (true, false, Here::May) => assert!(by == Some("local") || answer.status >= 500, "{said}"),
                (true, true, Here::Serves | Here::May) => assert_eq!(answer.status, 200, "{said}"),
            }
        }
        self.way.calls();
    }

    /// What Ollama would forward goes nowhere, whoever asks.
    async fn forwards_nothing(&self, state: &str) {
        for model in FORWARDED {
            for header in [None].into_iter().chain(ROUTES.map(Some)) {
                let left = Left { local: false, bedrock: false };
                let answer = self.ask(&Case { model, kept_by_key: false, header, left }, None).await;
                // One that its manifest forwards is announced to nobody, and so not found.
                assert!([403, 404].contains(&answer.status), "{state}: {model} {header:?}: {}", answer.text());
            }
        }
    }

    /// Takes the slot of every model that may run here, until the streams are dropped.
    async fn hold_all(&self) -> Vec<impl Stream<Item = reqwest::Result<bytes::Bytes>> + Unpin + use<>> {
        let mut held = Vec::new();
        for (model, route) in MODELS {
            if Left::of([Some(self.general), route]).local {
                held.push(self.way.hold_of(model).await);
            }
        }
        held
    }
}

/// From cold to killed, one state after the other.
async fn in_every_state(general: &'static str) {
    let world = World::open(general, 0).await;
    world.way.standin.hold_loads(true);
    world.forwards_nothing("cold").await;
    world.holds("cold", Here::Fails, Some(LOADING)).await;
    world.way.standin.hold_loads(false);
    for (model, route) in MODELS {
        if Left::of([Some(general), route]).local {
            world.way.until_served(model).await;
        }
    }
    world.holds("idle", Here::Serves, None).await;
    let held = world.hold_all().await;
    world.holds("saturated", Here::Fails, Some(TAKEN)).await;
    world.forwards_nothing("saturated").await;
    drop(held);
    world.way.standin.fail_next(usize::MAX, Fault::SilentAfter(0));
    let cases = cases(general);
    let asked = join_all(cases.iter().map(|case| world.ask(case, None)));
    let World { way, .. } = &world;
    let silent = poll_until("one of each model waits for its first token", PATIENCE, async || {
        let wanted = MODELS.iter().filter(|(_, route)| Left::of([Some(general), *route]).local).count();
        Ok((way.standin.in_flight() >= wanted).then_some(()))
    });
    let (answers, ()) = tokio::join!(asked, async {
        silent.await.unwrap();
        way.standin.stop();
    });
    world.check("killed before the first token", Here::Fails, &cases, &answers);
    world.holds("down", Here::Fails, None).await;
    world.forwards_nothing("down").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_all_routes_open_nothing_leaves_that_a_model_a_key_or_a_caller_keeps() {
    in_every_state("auto").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_machine_that_keeps_everything_nothing_leaves() {
    in_every_state("local-only").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_sends_everything_on_runs_nothing_itself() {
    in_every_state("cloud-only").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hedge_asks_bedrock_only_for_what_may_leave() {
    for general in ROUTES {
        let world = World::open(general, 1).await;
        for (model, route) in MODELS {
            if Left::of([Some(general), route]).local {
                world.way.until_served(model).await;
            }
        }
        let before = world.way.calls().len();
        world.holds("hedged", Here::May, None).await;
        let hedges = world.way.calls().len() - before;
        assert_eq!(hedges > 0, general != "local-only", "{general}: {hedges} calls");
    }
}

/// A relay that may ask Bedrock itself, and an edge that is taken away under running requests.
async fn without_its_edge(general: &'static str) {
    let models = MODELS.iter().map(|(name, _)| paced(name)).collect();
    let mut site = Site::of("5.0", 1, models, &privacy(general)).await;
    let keeps = site.another_key(&["--route", "local-only"]).await;
    let (api, cases) = (site.api(), cases(general));
    let ask_all = async |deadline| {
        let asked = cases.iter().map(async |case| {
            let request = case.request([&api, &keeps], deadline);
            whole(request.send().await.unwrap()).await
        });
        join_all(asked).await
    };
    site.standin.fail_next(usize::MAX, Fault::SilentAfter(0));
    let runs = MODELS.iter().any(|(_, route)| Left::of([Some(general), *route]).local);
    let (answers, ()) = tokio::join!(ask_all(Some(TAKEN)), async {
        let one = async || Ok((!runs || site.standin.in_flight() > 0).then_some(()));
        poll_until("one waits for its first token", PATIENCE, one).await.unwrap();
        site.kill_edge();
    });
    for (case, answer) in cases.iter().zip(&answers) {
        let there = header(answer, "x-causeway-served-by") == Some("bedrock");
        assert!(if there { case.left.bedrock } else { answer.status >= 400 }, "{}: {}", case.model, answer.text());
    }
    site.desert().await;
    let before = site.calls();
    for (case, answer) in cases.iter().zip(&ask_all(None).await) {
        let Case { model, kept_by_key, header: asked, left } = case;
        let said = format!("{general}: {model}, key {kept_by_key}, header {asked:?}: {}", answer.text());
        match left.bedrock {
            true => assert_eq!(header(answer, "x-causeway-reason"), Some("edge_offline"), "{said}"),
            false => assert!([403, 503].contains(&answer.status), "{said}"),
        }
        assert_eq!(left.bedrock, answer.status == 200, "{said}");
    }
    let may_leave = cases.iter().filter(|case| case.left.bedrock).count();
    assert_eq!(site.calls() - before, may_leave, "{general}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_edge_the_relay_asks_bedrock_for_what_may_leave_and_for_nothing_else() {
    for general in ROUTES {
        without_its_edge(general).await;
    }
}
