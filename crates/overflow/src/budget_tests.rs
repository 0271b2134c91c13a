//! The budget on the disk: what it keeps, what it refuses, and how it gets well again. Kills are in
//! `budget/kill_tests.rs`.

use std::os::unix::fs::PermissionsExt as _;

use causeway_policy::MAX_OPEN_RESERVATIONS;
use tempfile::TempDir;

use super::*;

const NOW: u64 = 1_795_392_000;
const CAP: BudgetCap = BudgetCap::Daily(usd(1_000));
const A_DAY: u64 = 86_400;

const fn usd(nanos: u64) -> Usd {
    Usd::from_nanos(nanos)
}

/// A directory for a file that is not there yet.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("budget.sqlite")
    }

    fn open(&self) -> Purse {
        Purse::open(&self.path(), CAP, NOW).unwrap()
    }

    fn open_without_cap(&self) -> Purse {
        Purse::open(&self.path(), BudgetCap::Unlimited, NOW).unwrap()
    }

    fn refusal(&self) -> PurseError {
        Purse::open(&self.path(), CAP, NOW).err().expect("it opened")
    }

    /// The files as a crash would leave them now, elsewhere.
    fn copy(&self) -> Self {
        let copy = Self::new();
        for file in std::fs::read_dir(self.0.path()).unwrap().map(Result::unwrap) {
            std::fs::copy(file.path(), copy.0.path().join(file.file_name())).unwrap();
        }
        copy
    }
}

impl Purse {
    /// What can still be reserved.
    fn left(&self) -> Usd {
        self.snapshot(NOW).left()
    }

    fn tamper(&self, sql: &str) {
        self.0.shared.lock().tamper.push(sql.to_owned());
    }

    async fn until_fault_is(&self, standing: bool) {
        while self.fault(NOW).is_some() != standing {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn what_was_settled_and_not_more_is_spent_after_a_start() {
    let place = Place::new();
    let purse = place.open();
    purse.reserve(NOW, usd(600), Usd::MAX).await.unwrap().settle(NOW, usd(250));
    purse.reserve(NOW, usd(300), Usd::MAX).await.unwrap().release();
    assert_eq!(purse.left(), usd(750));
    purse.close().await;
    let book = place.open().snapshot(NOW).book;
    assert_eq!((book.spent, book.calls, book.overruns), (usd(250), 1, 0));
}

#[tokio::test]
async fn a_reservation_is_on_the_disk_when_it_is_given_and_after_a_crash_spent_in_full() {
    let place = Place::new();
    let purse = place.open();
    let reserved = purse.reserve(NOW, usd(600), Usd::MAX).await.unwrap();
    let crashed = place.copy();
    let again = crashed.open();
    assert_eq!(again.snapshot(NOW).book.spent, usd(600));
    again.close().await;
    assert_eq!(crashed.open().snapshot(NOW).book.calls, 1, "counted once, however often it starts");
    reserved.settle(NOW, usd(1));
}

#[tokio::test]
async fn a_call_that_was_open_at_a_crash_is_booked_on_the_day_of_the_start() {
    let place = Place::new();
    let purse = place.open();
    purse.reserve(NOW, usd(300), Usd::MAX).await.unwrap().settle(NOW, usd(300));
    let _open = purse.reserve(NOW, usd(600), Usd::MAX).await.unwrap();
    let again = Purse::open(&place.copy().path(), CAP, NOW + A_DAY).unwrap();
    assert_eq!(again.snapshot(NOW + A_DAY).book.spent, usd(600));
}

#[tokio::test]
async fn a_reservation_that_is_dropped_is_booked_in_full() {
    let place = Place::new();
    let purse = place.open();
    drop(purse.reserve(NOW, usd(600), Usd::MAX).await.unwrap());
    let told = purse.snapshot(NOW);
    assert_eq!((told.book.spent, told.reserved), (usd(600), Usd::ZERO));
}

#[tokio::test]
async fn a_caller_that_leaves_before_the_disk_has_its_reservation_leaves_nothing_reserved() {
    let place = Place::new();
    let purse = place.open();
    let mut waiting = Box::pin(purse.reserve(NOW, usd(600), Usd::MAX));
    let polled =
        std::future::poll_fn(|context| std::task::Poll::Ready(waiting.as_mut().poll(context).is_pending())).await;
    assert!(polled && purse.left() == usd(400));
    drop(waiting);
    assert_eq!(purse.left(), usd(1_000));
    purse.close().await;
    assert_eq!(place.open().left(), usd(1_000));
}

#[tokio::test]
async fn cap_and_grant_are_told_apart_and_refuse_without_the_disk() {
    let place = Place::new();
    let purse = place.open();
    let reserved = purse.reserve(NOW, usd(600), Usd::MAX).await.unwrap();
    assert_eq!(reserved.amount(), usd(600));
    let daily = purse.reserve(NOW, usd(500), Usd::MAX).await.err().unwrap();
    let next_day = NOW + A_DAY;
    assert_eq!(daily, Refused::Exhausted(Exhausted::Daily { asked: usd(500), left: usd(400), next_day }));
    let grant = purse.reserve(NOW, usd(300), usd(299)).await.err().unwrap();
    assert_eq!(grant, Refused::Exhausted(Exhausted::Grant { asked: usd(300), left: usd(299) }));
}

#[tokio::test]
async fn a_new_day_and_a_clock_set_back_are_as_the_ledger_has_them_and_last_over_a_start() {
    let place = Place::new();
    let purse = place.open();
    purse.reserve(NOW, usd(900), Usd::MAX).await.unwrap().settle(NOW, usd(900));
    let tomorrow = NOW + A_DAY;
    purse.reserve(tomorrow, usd(700), Usd::MAX).await.unwrap().settle(tomorrow, usd(700));
    assert!(purse.reserve(NOW, usd(301), Usd::MAX).await.is_err(), "yesterday does not come back");
    purse.close().await;
    assert_eq!(place.open().left(), usd(300));
}

#[tokio::test]
async fn a_day_far_ahead_of_the_clock_is_a_fault_that_says_so_and_gives_nothing() {
    let place = Place::new();
    let purse = place.open();
    let glitch = NOW + 400 * A_DAY;
    purse.reserve(glitch, usd(1_000), Usd::MAX).await.unwrap().settle(glitch, usd(1_000));
    let fault = purse.fault(NOW).unwrap();
    assert!(fault.contains("2027-12-28") && fault.contains("set the clock"), "{fault}");
    assert_eq!(purse.fault(glitch - A_DAY), None);
    assert!(purse.reserve(NOW, usd(1), Usd::MAX).await.is_err());
}

#[tokio::test]
async fn many_at_once_share_their_writes_and_none_gets_more_than_there_is() {
    let place = Place::new();
    let purse = place.open();
    let spend = async |amount| purse.reserve(NOW, usd(amount), Usd::MAX).await.is_ok();
    let spenders: Vec<_> = (0..64).map(|_| Box::pin(spend(10))).collect();
    let given = join_all(spenders).await.into_iter().filter(|given| *given).count();
    assert_eq!(given, 64);
    let told = purse.snapshot(NOW);
    assert_eq!(told.book.spent, usd(640));
    let writes = purse.0.shared.lock().writes;
    assert!(writes <= 32, "{writes} writes for 64 that came together");
    let greedy: Vec<_> = (0..64).map(|_| Box::pin(spend(100))).collect();
    let given = join_all(greedy).await.into_iter().filter(|given| *given).count();
    assert_eq!(given, 3);
}

/// How long a reservation takes is printed; what it may take is the disk's affair.
#[tokio::test]
async fn sixty_four_spenders_share_each_flush_of_the_disk() {
    for spenders in [1, 64] {
        let place = Place::new();
        let purse = place.open_without_cap();
        let spend = async || {
            let mut took = Vec::new();
            for _ in 0..50 {
                let asked = std::time::Instant::now();
                let reserved = purse.reserve(NOW, usd(10), Usd::MAX).await.unwrap();
                took.push(asked.elapsed());
                reserved.settle(NOW, usd(1));
            }
            took
        };
        let mut took = join_all((0..spenders).map(|_| Box::pin(spend())).collect()).await.concat();
        took.sort_unstable();
        let at = |thousandths: usize| took[took.len() * thousandths / 1_000];
        let writes = purse.0.shared.lock().writes;
        println!("{spenders} at once: p50 {:?}, p99 {:?}, {writes} writes for {}", at(500), at(990), took.len());
        assert!(spenders == 1 || writes < took.len() / 2, "{writes}");
    }
}

#[tokio::test]
async fn only_its_owner_reads_the_file_and_one_process_at_a_time_has_it() {
    let place = Place::new();
    let purse = place.open();
    let _reserved = purse.reserve(NOW, usd(1), Usd::MAX).await.unwrap();
    for file in std::fs::read_dir(place.0.path()).unwrap().map(Result::unwrap) {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", file.file_name());
    }
    let second = place.refusal();
    assert!(matches!(second, PurseError::Locked(_)) && second.to_string().contains("second copy"), "{second}");
    purse.close().await;
    assert!(Purse::open(&place.path(), CAP, NOW).is_ok());
}

#[tokio::test]
async fn a_disk_that_cannot_be_written_refuses_every_call_says_why_and_gets_well_by_itself() {
    let place = Place::new();
    let purse = place.open();
    let before = purse.reserve(NOW, usd(600), Usd::MAX).await.unwrap();
    purse.tamper("PRAGMA query_only = ON");
    let refused = purse.reserve(NOW, usd(10), Usd::MAX).await.err().unwrap();
    assert!(
        matches!(&refused, Refused::Fault(why) if why.contains("let the user that runs this write it")),
        "{refused}"
    );
    assert_eq!(purse.fault(NOW).unwrap().to_string(), refused.to_string());
    before.settle(NOW, usd(100));
    assert_eq!(purse.left(), usd(900), "known in memory, and written later");
    assert_eq!(purse.reserve(NOW, usd(10), Usd::MAX).await.err(), Some(refused));
    purse.tamper("PRAGMA query_only = OFF");
    purse.until_fault_is(false).await;
    purse.reserve(NOW, usd(900), Usd::MAX).await.unwrap().release();
    purse.close().await;
    assert_eq!(place.open().left(), usd(900));
}

#[tokio::test]
async fn a_full_disk_says_so_and_what_is_settled_meanwhile_makes_room() {
    let place = Place::new();
    let purse = place.open_without_cap();
    purse.tamper("PRAGMA max_page_count = 1");
    let mut held = Vec::new();
    let full = loop {
        match purse.reserve(NOW, usd(1), Usd::MAX).await {
            Ok(reserved) => held.push(reserved),
            Err(refused) => break refused,
        }
    };
    assert!(matches!(&full, Refused::Fault(why) if why.contains("make room")), "{full}");
    held.clear();
    purse.until_fault_is(false).await;
    assert!(purse.reserve(NOW, usd(1), Usd::MAX).await.is_ok());
}

#[tokio::test]
async fn more_than_may_be_open_are_refused_until_one_ends() {
    let place = Place::new();
    let purse = place.open_without_cap();
    let reserve = || Box::pin(purse.reserve(NOW, usd(1), Usd::MAX));
    let mut held = join_all((0..MAX_OPEN_RESERVATIONS).map(|_| reserve()).collect()).await;
    assert!(held.iter().all(Result::is_ok));
    assert_eq!(reserve().await.err(), Some(Refused::Exhausted(Exhausted::Open)));
    held.pop();
    assert!(reserve().await.is_ok());
}

#[tokio::test]
async fn a_file_that_is_cut_anywhere_is_refused_and_never_taken_for_a_new_one() {
    let place = Place::new();
    let purse = place.open();
    purse.reserve(NOW, usd(500), Usd::MAX).await.unwrap().settle(NOW, usd(500));
    let _open = purse.reserve(NOW, usd(100), Usd::MAX).await.unwrap();
    purse.close().await;
    let whole = std::fs::read(place.path()).unwrap();
    assert!(whole.len() > 4_096);
    for length in (0..whole.len()).step_by(97).chain([4_095, 4_096, 8_192, whole.len() - 1]) {
        std::fs::write(place.path(), &whole[..length]).unwrap();
        let cut = place.refusal();
        assert!(
            matches!(cut, PurseError::Damaged { .. }) && cut.to_string().contains("move it away"),
            "{length}: {cut}"
        );
    }
    std::fs::write(place.path(), &whole).unwrap();
    assert_eq!(place.open().left(), usd(400));
}

#[tokio::test]
async fn a_file_at_rest_is_whole_without_its_log() {
    let place = Place::new();
    let purse = place.open();
    purse.reserve(NOW, usd(600), Usd::MAX).await.unwrap().settle(NOW, usd(600));
    purse.close().await;
    let names: Vec<_> = std::fs::read_dir(place.0.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(names, ["budget.sqlite"]);
}

#[tokio::test]
async fn other_damage_is_refused_with_what_to_do() {
    let place = Place::new();
    let purse = place.open();
    purse.reserve(NOW, usd(600), Usd::MAX).await.unwrap().settle(NOW, usd(600));
    purse.close().await;
    let whole = std::fs::read(place.path()).unwrap();
    let damaged = |bytes: &[u8]| {
        std::fs::write(place.path(), bytes).unwrap();
        let found = place.refusal();
        assert!(matches!(found, PurseError::Damaged { .. }), "{found}");
    };
    damaged("this is no database, but it is longer than a header of one hundred bytes".repeat(99).as_bytes());
    damaged(&[&whole[..4_096], &vec![0xff; whole.len() - 4_096][..]].concat());
    let edit = |sql: &str| {
        std::fs::write(place.path(), &whole).unwrap();
        rusqlite::Connection::open(place.path()).unwrap().execute_batch(sql).unwrap();
        place.refusal()
    };
    assert!(matches!(edit("DROP TABLE open"), PurseError::Damaged { .. }));
    assert!(matches!(edit("DELETE FROM days"), PurseError::Damaged { .. }));
    let negative = "PRAGMA ignore_check_constraints = ON; UPDATE days SET spent = -5";
    assert!(matches!(edit(negative), PurseError::Damaged { .. }));
    let newer = edit("PRAGMA user_version = 2");
    assert!(matches!(newer, PurseError::Newer(_)) && newer.to_string().contains("newer version"), "{newer}");
}

#[tokio::test]
async fn a_file_that_cannot_be_made_or_written_says_what_to_do() {
    let place = Place::new();
    let nowhere = Purse::open(&place.0.path().join("no/budget.sqlite"), CAP, NOW).err().unwrap();
    assert!(matches!(nowhere, PurseError::NoDirectory(_)), "{nowhere}");
    std::fs::create_dir(place.path()).unwrap();
    let folder = place.refusal();
    assert!(matches!(folder, PurseError::Denied(_)), "{folder}");
    // A disk that is read-only, which unlike a file's mode stops root too.
    let kernel = Purse::open(Path::new("/proc/budget.sqlite"), CAP, NOW).err().unwrap();
    assert!(matches!(kernel, PurseError::Denied(_) | PurseError::Other { .. }), "{kernel}");
}

#[tokio::test]
async fn days_long_past_are_forgotten_and_the_last_ones_kept() {
    let place = Place::new();
    let purse = place.open();
    for day in [0, 1, 300, 500] {
        let now = NOW + day * A_DAY;
        purse.reserve(now, usd(1), Usd::MAX).await.unwrap().settle(now, usd(day));
    }
    purse.close().await;
    let file = rusqlite::Connection::open(place.path()).unwrap();
    let kept: String = file
        .query_row("SELECT group_concat(spent) FROM (SELECT spent FROM days ORDER BY day)", [], |row| row.get(0))
        .unwrap();
    assert_eq!(kept, "300,500");
}

#[tokio::test]
async fn a_purse_that_is_closed_gives_nothing_and_its_end_is_told() {
    let place = Place::new();
    let purse = place.open();
    let last = purse.reserve(NOW, usd(1), Usd::MAX).await.unwrap();
    purse.close().await;
    purse.ended().await;
    let closed = purse.reserve(NOW, usd(1), Usd::MAX).await.err().unwrap();
    assert!(matches!(&closed, Refused::Fault(why) if why.contains("closed")), "{closed}");
    assert!(purse.fault(NOW).is_some());
    drop(last);
}

#[tokio::test]
async fn a_thread_that_dies_is_told_to_who_waits_and_to_who_watches() {
    let place = Place::new();
    let purse = place.open();
    purse.tamper("not SQL");
    let refused = purse.reserve(NOW, usd(1), Usd::MAX).await.err().unwrap();
    assert!(matches!(&refused, Refused::Fault(why) if why.contains("started again")), "{refused}");
    purse.ended().await;
    assert_eq!(purse.left(), usd(1_000));
    assert_eq!(purse.reserve(NOW, usd(1), Usd::MAX).await.err(), Some(refused));
}

/// All of them, each when it can.
async fn join_all<F: Future + Unpin>(mut futures: Vec<F>) -> Vec<F::Output> {
    let mut outputs: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, output) in futures.iter_mut().zip(&mut outputs) {
            if output.is_none()
                && let std::task::Poll::Ready(ready) = std::pin::Pin::new(future).poll(context)
            {
                *output = Some(ready);
            }
        }
        if outputs.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    outputs.into_iter().flatten().collect()
}
