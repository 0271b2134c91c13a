//! Killed at any moment, again and again with the same file: the day's cap holds over all runs.
//!
//! The test starts itself as another process, in which 64 spend at once, and kills that one after
//! some line of what it prints. What counts is what can be seen from outside: a call is made once
//! its reservation has been given, and costs all of that unless its end was seen.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use causeway_policy::{BudgetCap, Day, Usd};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::task::JoinSet;

use super::store::Store;
use super::{Purse, Refused};

/// Makes this test's process the spender: the clock's day, a seed, the file.
const SPENDER: &str = "CAUSEWAY_TEST_SPENDER";
/// More kills than those of an ordinary run.
const KILLS: &str = "CAUSEWAY_BUDGET_KILLS";
const FEW: u64 = 64;
const THIS_TEST: &str = "budget::kill_tests::killed_at_any_moment_the_cap_of_a_day_holds_over_all_runs";

const SPENDERS: u64 = 64;
const FIRST_DAY: u64 = 20_780;
/// A few runs' worth, so that a day has runs that find money and runs that find none.
const CAP: u64 = 100_000;
const DEAREST: u64 = 1_000;
/// Runs with one day.
const RUNS_A_DAY: u64 = 8;
/// Lines after which a run is killed at the latest.
const MOST_LINES: usize = 400;
/// Refusals after which a spender gives up: smaller calls may fit where a larger one did not.
const REFUSALS: u32 = 20;

/// One day, seen from outside.
#[derive(Default)]
struct Seen {
    ended: u64,
    /// Calls without an end, by run and number.
    open: BTreeMap<(u64, u64), u64>,
}

impl Seen {
    fn spent(&self) -> u64 {
        self.ended + self.open.values().sum::<u64>()
    }

    fn take(&mut self, run: u64, line: &Line) {
        match *line {
            Line::Call { number, amount } => {
                self.open.insert((run, number), amount);
            }
            Line::End { number, real } => {
                self.open.remove(&(run, number)).unwrap();
                self.ended += real;
            }
        }
    }
}

enum Line {
    Call { number: u64, amount: u64 },
    End { number: u64, real: u64 },
}

#[test]
fn killed_at_any_moment_the_cap_of_a_day_holds_over_all_runs() {
    if let Ok(told) = std::env::var(SPENDER) {
        return spend(&told);
    }
    let runs: u64 = std::env::var(KILLS).map_or(FEW, |runs| runs.parse().unwrap());
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("budget.sqlite");
    let (mut seen, mut calls, mut cut, mut fullest) = (Seen::default(), 0, 0, 0);
    for run in 0..runs {
        let day = FIRST_DAY + run / RUNS_A_DAY;
        let first = run % RUNS_A_DAY == 0;
        if first {
            seen = Seen::default();
        }
        // A clock that is set back brings no money back.
        let clock = if !first && random.random_ratio(1, 4) { day - 1 } else { day };
        let lines = spend_until_killed(&path, clock, random.random(), random.random_range(1..=MOST_LINES));
        lines.iter().for_each(|line| seen.take(run, line));
        calls += lines.iter().filter(|line| matches!(line, Line::Call { .. })).count();
        cut += seen.open.keys().filter(|(of, _)| *of == run).count();
        fullest = fullest.max(seen.spent());
        assert!(seen.spent() <= CAP, "run {run}: {} of {CAP} is spent", seen.spent());
        check_file(&path, run, &seen);
    }
    println!("{runs} kills cut {cut} of {calls} calls; {fullest} of {CAP} spent on the fullest day");
    assert!(calls as u64 > runs && cut as u64 > runs, "too little was tried: {cut} of {calls} calls cut");
    assert!(fullest > CAP / 2, "too little was tried: {fullest} of {CAP} spent");
}

/// What a spender printed until it was killed, all of it.
fn spend_until_killed(path: &Path, day: u64, seed: u64, lines: usize) -> Vec<Line> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", THIS_TEST, "--nocapture"])
        .env(SPENDER, format!("{day} {seed} {}", path.display()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut printed = BufReader::new(child.stdout.take().unwrap());
    let mut told = Vec::new();
    let mut line = String::new();
    while printed.read_line(&mut line).unwrap() > 0 {
        told.extend(parse(&line));
        line.clear();
        if told.len() == lines {
            // SIGKILL; what it printed meanwhile is still read.
            child.kill().unwrap();
        }
    }
    let status = child.wait().unwrap();
    assert!(status.code().is_none_or(|code| code == 0), "the spender failed: {status}");
    told
}

/// None for what the test harness prints.
fn parse(line: &str) -> Option<Line> {
    let words: Vec<&str> = line.strip_suffix('\n')?.split(' ').collect();
    let number = |at: usize| words[at].parse().unwrap();
    match words[0] {
        "call" => Some(Line::Call { number: number(1), amount: number(2) }),
        "end" => Some(Line::End { number: number(1), real: number(2) }),
        _ => None,
    }
}

/// The file knows of every call, and of no more than the cap. It is only read: what the kill has left
/// is for the next spender.
fn check_file(path: &Path, run: u64, seen: &Seen) {
    let (_store, kept) = Store::open(path).unwrap();
    let rows: BTreeMap<u64, u64> = kept.open.iter().map(|(id, amount)| (id.number(), amount.nanos())).collect();
    for ((_, number), amount) in seen.open.iter().filter(|((of, _), _)| *of == run) {
        assert_eq!(rows.get(number), Some(amount), "run {run}: call {number} was made and is not in the file");
    }
    let spent = kept.book.spent.nanos() + rows.values().sum::<u64>();
    assert!(seen.spent() <= spent && spent <= CAP, "run {run}: {} seen, {spent} of {CAP} in the file", seen.spent());
}

/// The other process: 64 spend until there is nothing left, or until it is killed.
fn spend(told: &str) {
    let mut words = told.splitn(3, ' ');
    let mut next = || words.next().unwrap();
    let (day, seed): (u64, u64) = (next().parse().unwrap(), next().parse().unwrap());
    let now = Day::from_number(day).begins();
    let purse = Purse::open(Path::new(next()), BudgetCap::Daily(Usd::from_nanos(CAP)), now).unwrap();
    // What the harness has printed of this line is not ours.
    print("\n");
    runtime().block_on(async {
        let mut spenders = JoinSet::new();
        for spender in 0..SPENDERS {
            spenders.spawn(spend_alone(purse.clone(), now, StdRng::seed_from_u64(seed ^ spender)));
        }
        spenders.join_all().await;
    });
}

async fn spend_alone(purse: Purse, now: u64, mut random: StdRng) {
    let mut refusals = 0;
    while refusals < REFUSALS {
        let amount = random.random_range(1..=DEAREST);
        let reserved = match purse.reserve(now, Usd::from_nanos(amount), Usd::MAX).await {
            Ok(reserved) => reserved,
            Err(Refused::Exhausted(_)) => {
                refusals += 1;
                continue;
            }
            Err(refused) => panic!("{refused}"),
        };
        let number = reserved.id.number();
        // From here on the money may be gone.
        print(&format!("call {number} {amount}\n"));
        for _ in 0..random.random_range(0..20) {
            tokio::task::yield_now().await;
        }
        let left_alone = random.random_ratio(1, 8);
        let real = if left_alone { amount } else { random.random_range(0..=amount) };
        print(&format!("end {number} {real}\n"));
        if !left_alone {
            reserved.settle(now, Usd::from_nanos(real));
        }
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

/// In one write, which a kill does not divide.
fn print(line: &str) {
    std::io::stdout().write_all(line.as_bytes()).unwrap();
}
