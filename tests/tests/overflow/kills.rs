//! The whole daemon, killed at any moment while 64 callers spend: what Bedrock was asked for never comes
//! to more than the edge's day and the key's cap allow.
//!
//! Judged from outside, by the emulator's record: a call whose answer went out whole costs its usage, any
//! other one all that it may have cost. Several kills share one ledger; then a new one begins, in turn
//! with a key without a cap, so that the edge's cap binds, and with one whose own cap is lower.

use causeway_tests::bedrock::End;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::task::JoinSet;

use super::*;

/// More kills than those of an ordinary run.
const KILLS: &str = "CAUSEWAY_DAEMON_KILLS";
const FEW: u32 = 6;

const SPENDERS: usize = 64;

/// Kills that share a ledger.
const KILLS_A_DAY: u32 = 3;

/// US dollars: of the edge's day, and of the key in every second one.
const EDGE: &str = "0.4";
const KEY: &str = "0.2";

/// Calls after which a run is killed at the latest.
const MOST_CALLS: usize = 150;

/// After so long one is killed that finds no money.
const IDLE: Duration = Duration::from_secs(1);

/// Who is refused asks again after this.
const AGAIN: Duration = Duration::from_millis(20);

/// The most tokens that an answer may have: what a call is reserved for is some hundredth of a cap.
const LIMIT: u32 = 200;

/// Tokens of each whole answer, and the prices of the mapping.
const USED: (u64, u64) = (10, 20);
const PRICE: (f64, f64) = (3e-6, 15e-6);

/// What a call can have cost at most.
fn dearest(call: &Call) -> f64 {
    let output = match call.end {
        Some(End::Whole) => USED.1,
        _ => call.body["inferenceConfig"]["maxTokens"].as_u64().unwrap(),
    };
    USED.0 as f64 * PRICE.0 + output as f64 * PRICE.1
}

/// Callers that ask again whatever they are told, until they are dropped.
fn spenders(api: &Api) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for _ in 0..SPENDERS {
        let api = api.clone();
        tasks.spawn(async move {
            let mut body = chat("spend");
            body["options"] = json!({"num_predict": LIMIT});
            loop {
                let request = api.request("POST", "/api/chat", Some(&body)).header("x-causeway-edge", edge::NAME);
                let answer = request.header("x-causeway-route", "cloud-only").send().await;
                // The edge is gone now and then, which is the point.
                match answer {
                    Ok(answer) if answer.status() == 200 => drop(answer.bytes().await),
                    Ok(_) | Err(_) => tokio::time::sleep(AGAIN).await,
                }
            }
        });
    }
    tasks
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_killed_at_any_moment_never_spends_more_than_its_day_and_its_callers_grants() {
    let kills: u32 = std::env::var(KILLS).map_or(FEW, |kills| kills.parse().unwrap());
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut way = Way::with("m", EDGE, "").await;
    way.bedrock.default_script(Script::tokens(20).token_every(Duration::from_millis(5)).used(USED.0, USED.1));
    let (mut before, mut most) = (0, 0.0_f64);
    for day in 0..kills.div_ceil(KILLS_A_DAY) {
        let capped = day % 2 == 1;
        let key = way.stack.another_key(if capped { &["--daily-usd", KEY] } else { &[] }).await.unwrap();
        for kill in 0..KILLS_A_DAY {
            way.until_credentials().await;
            let spending = spenders(&key);
            let calls = before.max(way.bedrock.calls().len()) + random.random_range(1..MOST_CALLS);
            let _ = tokio::time::timeout(IDLE, way.bedrock.wait_for_calls(calls)).await;
            let new_day = kill + 1 == KILLS_A_DAY;
            let restarted = way.edge.restart(binary(), &way.api, |directory| {
                // They spent until the very end, and do not spend of a new day's ledger yet.
                drop(spending);
                for name in ["budget.sqlite", "budget.sqlite-wal", "budget.sqlite-shm"] {
                    let _ = if new_day { std::fs::remove_file(directory.join(name)) } else { Ok(()) };
                }
            });
            restarted.await.unwrap();
        }
        let all = way.calls();
        let spent: f64 = all[before..].iter().map(dearest).sum();
        let cap: f64 = if capped { KEY } else { EDGE }.parse().unwrap();
        assert!(spent <= cap, "day {day}: {spent} of {cap} in {} calls", all.len() - before);
        assert!(all.len() > before, "day {day}: nothing was spent");
        (before, most) = (all.len(), most.max(spent / cap));
    }
    println!("{kills} kills, {before} calls, at most {:.0} % of a cap", most * 100.0);
}
