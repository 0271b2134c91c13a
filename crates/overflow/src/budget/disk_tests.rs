//! A disk that is really full, and one that is really read-only: a small file system of the test's own.
//!
//! The test starts itself in a mount namespace with a tmpfs; where the machine does not let it
//! (no `unshare`, no user namespaces) it leaves itself out with a line. What it shows is also tried by
//! other means in `budget_tests.rs`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use causeway_policy::{BudgetCap, Usd};

use super::{Purse, PurseError, Refused};

/// Makes this test's process the one inside: the tmpfs.
const INSIDE: &str = "CAUSEWAY_TEST_SMALL_DISK";
const THIS_TEST: &str = "budget::disk_tests::a_full_disk_and_one_that_is_read_only_refuse_and_get_well";
/// "$1": where the tmpfs goes, "$2": this test's binary.
const ENTER: &str = "mount -t tmpfs -o size=256k none \"$1\" && exec \"$2\" --exact \"$3\" --nocapture";

const NOW: u64 = 1_795_392_000;
const CAP: BudgetCap = BudgetCap::Daily(usd(1_000));

const fn usd(nanos: u64) -> Usd {
    Usd::from_nanos(nanos)
}

#[test]
fn a_full_disk_and_one_that_is_read_only_refuse_and_get_well() {
    if let Some(disk) = std::env::var_os(INSIDE) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        return runtime.block_on(inside(&Disk(disk.into())));
    }
    if !Command::new("unshare")
        .args(["-rm", "mount", "-t", "tmpfs", "none", "/mnt"])
        .status()
        .is_ok_and(|status| status.success())
    {
        println!("left out: no tmpfs can be mounted here");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let inside = Command::new("unshare")
        .args(["-rm", "sh", "-c", ENTER, "sh"])
        .args([directory.path(), &std::env::current_exe().unwrap(), Path::new(THIS_TEST)])
        .env(INSIDE, directory.path())
        .status();
    assert!(inside.unwrap().success());
}

/// The small file system.
struct Disk(PathBuf);

impl Disk {
    fn budget(&self) -> PathBuf {
        self.0.join("budget.sqlite")
    }

    fn open(&self) -> Result<Purse, PurseError> {
        Purse::open(&self.budget(), CAP, NOW)
    }

    fn fill(&self) {
        let mut filler = std::fs::File::create(self.0.join("filler")).unwrap();
        while filler.write_all(&[1; 512]).is_ok() {}
    }

    fn make_room(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }

    fn remount(&self, option: &str) {
        let done = Command::new("mount").args(["-o", &format!("remount,{option}")]).arg(&self.0).status().unwrap();
        assert!(done.success());
    }
}

async fn inside(disk: &Disk) {
    disk.fill();
    let unmade = disk.open().err().unwrap();
    assert!(matches!(unmade, PurseError::Full(_)), "{unmade}");
    assert_eq!(std::fs::read_dir(&disk.0).unwrap().count(), 1, "half a file is left");
    disk.make_room();

    let purse = disk.open().unwrap();
    let before = purse.reserve(NOW, usd(500), Usd::MAX).await.unwrap();
    disk.fill();
    let refused = refused_at_last(&purse).await;
    assert!(matches!(&refused, Refused::Fault(why) if why.contains("make room")), "{refused}");
    before.settle(NOW, usd(200));
    disk.make_room();
    until_well(&purse).await;
    assert_eq!(purse.snapshot(NOW).left(), usd(800));
    let cut = purse.reserve(NOW, usd(300), Usd::MAX).await.unwrap();
    purse.close().await;
    drop(cut);

    // Started on a full disk it knows what was spent, and writes it when it can.
    disk.fill();
    let purse = disk.open().unwrap();
    assert_eq!(purse.snapshot(NOW).book.spent, usd(500));
    let refused = refused_at_last(&purse).await;
    assert!(matches!(&refused, Refused::Fault(why) if why.contains("make room")), "{refused}");
    disk.make_room();
    until_well(&purse).await;
    purse.close().await;

    disk.remount("ro");
    let denied = disk.open().err().unwrap();
    assert!(matches!(denied, PurseError::Denied(_)), "{denied}");
    disk.remount("rw");
    assert_eq!(disk.open().unwrap().snapshot(NOW).book.spent, usd(500));
}

/// The rest of a page or of the log may still have room for a few.
async fn refused_at_last(purse: &Purse) -> Refused {
    loop {
        match purse.reserve(NOW, usd(1), Usd::MAX).await {
            Ok(reserved) => reserved.release(),
            Err(refused) => return refused,
        }
    }
}

async fn until_well(purse: &Purse) {
    while purse.fault(NOW).is_some() {
        tokio::task::yield_now().await;
    }
}
