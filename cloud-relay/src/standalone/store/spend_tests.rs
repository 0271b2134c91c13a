//! Spending as the store keeps it.

use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::core::account::Account;
use crate::standalone::store::books::{By, Sum};

const TODAY: u64 = 20_780;

fn store() -> (tempfile::TempDir, PathBuf, Store) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s.db");
    let store = Store::create(&path).unwrap();
    (directory, path, store)
}

fn of(id: &str) -> Of {
    Of { id: id.to_owned(), key: "k".to_owned(), edge: "gpu-1".to_owned(), model: "m:latest".to_owned() }
}

fn grant(nanos: u64) -> Grant {
    Grant { day: TODAY, amount: Usd::from_nanos(nanos) }
}

fn spent(id: &str, nanos: u64) -> Settlement {
    let spent = Usd::from_nanos(nanos);
    let closed = Closed { spent, said: spent, ..Closed::default() };
    Settlement { of: of(id), day: TODAY, capped: true, reserved: true, closed }
}

fn settle(store: &mut Store, settlements: &[Settlement]) {
    store.enter([].iter(), settlements, |_: &Account| String::new(), 7).unwrap();
}

fn sum(store: &Store) -> i64 {
    let all = store.usage(By::Key).unwrap();
    all.iter().map(|sum| i64::try_from(Usd::from_f64(sum.usd).nanos()).unwrap()).sum()
}

fn kinds(store: &Store) -> Vec<String> {
    store.audit(0).unwrap().entries.into_iter().map(|entry| entry.kind).collect()
}

#[test]
fn a_grant_that_was_settled_is_gone_and_one_that_was_not_is_spent_after_a_restart() {
    let (_directory, path, mut store) = store();
    let grants = [of("a"), of("b"), of("c")];
    store.reserve(grants.iter().map(|of| (of, grant(1_000)))).unwrap();
    settle(&mut store, &[spent("a", 400), spent("b", 0)]);
    drop(store);
    let mut store = Store::open(&path).unwrap();
    let known = store.recover(9).unwrap();
    assert_eq!(known, (TODAY, vec![("k".to_owned(), Usd::from_nanos(1_400))]));
    assert_eq!((store.settled(), sum(&store)), (1_400, 1_400));
    let trail = store.audit(0).unwrap().entries;
    assert!(trail[0].kind == "grant_lost" && trail[0].what.starts_with("c key k edge gpu-1"), "{trail:?}");
    assert_eq!(store.recover(9).unwrap(), known, "it counts once");
}

#[test]
fn opening_the_store_alone_leaves_grants_of_a_running_relay_alone() {
    let (_directory, path, mut store) = store();
    store.reserve([(&of("a"), grant(1_000))].into_iter()).unwrap();
    assert_eq!(Store::open(&path).unwrap().settled(), 0);
    settle(&mut store, &[spent("a", 10)]);
    assert_eq!(store.recover(9).unwrap().1, [("k".to_owned(), Usd::from_nanos(10))]);
}

#[test]
fn a_request_shows_what_was_settled_later() {
    let (_directory, _path, mut store) = store();
    let account = Account { id: "a".to_owned(), key: "k".to_owned(), ..Account::default() };
    store.enter([account].iter(), &[], |_| "2026-11-23".to_owned(), 7).unwrap();
    settle(&mut store, &[spent("a", 2_000_000)]);
    let told: serde_json::Value = serde_json::from_str(&store.request("k", "a").unwrap().unwrap()).unwrap();
    assert_eq!(told["cost_usd"], 0.002);
    let sums = store.usage(By::Day).unwrap();
    assert_eq!(sums, [Sum { of: "2026-11-23".to_owned(), usd: 0.002, ..Sum::default() }]);
}

#[test]
fn what_nobody_told_and_what_was_too_much_is_in_the_audit() {
    let (_directory, _path, mut store) = store();
    let granted = Usd::from_nanos(500);
    let silent = Closed { spent: granted, silent: true, ..Closed::default() };
    let over = Closed { over: true, ..spent("o", 9).closed };
    settle(
        &mut store,
        &[
            Settlement { closed: silent, ..spent("s", 0) },
            Settlement { closed: silent, capped: false, reserved: false, ..spent("u", 0) },
            Settlement { closed: over, ..spent("o", 9) },
        ],
    );
    assert_eq!(kinds(&store), ["grant_lost", "grant_lost", "overspent"]);
    assert_eq!((store.settled(), sum(&store)), (509, 509), "of a key without a cap only what was said is booked");
}

#[test]
fn sums_that_hostile_edges_drive_up_stop_and_break_nothing() {
    let (_directory, _path, mut store) = store();
    store.connection.execute("INSERT INTO spend VALUES ('k', ?1, ?2)", [integer(TODAY), MOST - 5]).unwrap();
    let most = Usd::from_f64(f64::INFINITY).nanos();
    settle(&mut store, &[spent("a", most), spent("b", most)]);
    assert_eq!(store.settled(), MOST);
    let tokens = |id: &str| Account {
        id: id.to_owned(),
        outcome: causeway_wire::Outcome {
            output_tokens: Some(u64::MAX),
            served_by: Some(causeway_wire::Backend::Local),
            ..causeway_wire::Outcome::default()
        },
        ..Account::default()
    };
    store.enter([tokens("x"), tokens("y")].iter(), &[], |_| "2026-11-23".to_owned(), 7).unwrap();
    assert_eq!(store.usage(By::Day).unwrap()[0].requests, 2);
}

#[test]
fn what_was_used_before_amounts_were_whole_stays() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s.db");
    let old = Connection::open(&path).unwrap();
    for step in &super::super::STEPS[..2] {
        old.execute_batch(step).unwrap();
    }
    old.execute_batch(
        "INSERT INTO usage VALUES ('2026-11-22', 'k', 'm', 'e', 'bedrock', 3, 1, 5, 6, 0.25); PRAGMA user_version = 2;",
    )
    .unwrap();
    let sums = Store::open(&path).unwrap().usage(By::Key).unwrap();
    assert_eq!((sums[0].requests, sums[0].usd), (3, 0.25));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn usage_equals_what_the_ledger_has_settled_whatever_ends_how(
        steps in prop::collection::vec((0..8_usize, 0..2_000_u64, 0..4_u8), 1..40),
    ) {
        let (_directory, path, mut store) = store();
        let mut open = Vec::new();
        for (number, (key, nanos, what)) in steps.into_iter().enumerate() {
            let of = Of { key: format!("key-{key}"), ..of(&number.to_string()) };
            match what {
                0 | 1 => {
                    store.reserve([(&of, grant(nanos))].into_iter()).unwrap();
                    open.push(of);
                }
                2 => {
                    let uncapped = Settlement { of, capped: false, reserved: false, ..spent("", nanos) };
                    let capped = open.pop().map(|of| Settlement { of, ..spent("", nanos / 2) });
                    let all: Vec<Settlement> = capped.into_iter().chain([uncapped]).collect();
                    settle(&mut store, &all);
                }
                _ => {
                    store = Store::open(&path).unwrap();
                    store.recover(9).unwrap();
                    open.clear();
                }
            }
            prop_assert_eq!(store.settled(), sum(&store));
        }
    }
}
