//! The shell around the ledger: mailboxes, commands, the breaker. Time is made up.

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const ONE: ModelSettings = ModelSettings { parallel: 1, forced_one: false };

fn ask(model: ModelId) -> Ask {
    Ask {
        model,
        key: Key(1),
        class: causeway_policy::Class::Interactive,
        prompt_bytes: 100,
        max_tokens: None,
        prefix: 0,
        deadline: None,
        queue_timeout: 300 * SECOND,
        overflow: false,
        runs_twice: false,
        truncate: false,
    }
}

/// A model in memory, and the context that requests ask for.
fn row(name: &str, context: Option<u32>, wanted: Option<u32>) -> Row<'_> {
    Row { name, settings: ONE, context, wanted }
}

/// An admission whose model `m` is in memory.
fn warm(now: Instant) -> (Arc<Admission>, mpsc::Receiver<Chore>) {
    let (admission, chores) = Admission::new(Limits::default());
    admission.resident(now, now, [row("m", Some(4_096), None)].into_iter());
    (admission, chores)
}

fn submit(admission: &Arc<Admission>, now: Instant, id: &str) -> (Verdict, Option<Place>) {
    admission.submit(now, Wanted { id, model: "m", settings: ONE, overflow: false }, ask)
}

fn admitted(admission: &Arc<Admission>, now: Instant) -> Place {
    let (Verdict::Admit, Some(place)) = submit(admission, now, "first") else { panic!("not admitted") };
    place
}

fn waiting(admission: &Arc<Admission>, now: Instant) -> Place {
    let (Verdict::Queue(_), Some(place)) = submit(admission, now, "second") else { panic!("does not wait") };
    place
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_told_when_the_slot_comes_free() {
    let now = crate::now();
    let (admission, _chores) = warm(now);
    let first = admitted(&admission, now);
    let mut second = waiting(&admission, now);
    assert_eq!(second.waited(), None);
    first.finished(now + 2 * SECOND, causeway_policy::Measured::default());
    assert_eq!(second.decided().await, Decision::Granted);
    assert_eq!(second.waited(), Some(2 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_place_that_is_dropped_is_given_back_once_ollama_has_plausibly_stopped() {
    let now = crate::now();
    let (admission, _chores) = warm(now);
    drop(admitted(&admission, now));
    assert_eq!(admission.total(now), 1);
    let freed = admission.poll_timeout().expect("nothing ends the release");
    admission.handle_timeout(freed);
    assert_eq!(admission.total(freed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_cold_model_is_loaded_by_a_command_and_a_failed_load_is_told_in_ollamas_words() {
    let now = crate::now();
    let (admission, mut chores) = Admission::new(Limits::default());
    let mut place = waiting(&admission, now);
    let chore = chores.try_recv().unwrap();
    assert_eq!((chore.kind, chore.name.as_str()), (ChoreKind::Preload, "m"));
    let fault = (Code::LocalUnavailable, "model requires more system memory".to_owned());
    admission.loaded(now, chore.model, Err(fault.clone()));
    let Decision::Refused(refusal) = place.decided().await else { panic!("not refused") };
    assert_eq!(admission.explain(refusal, "m"), fault);
    // The next load goes well, and the fault is forgotten.
    let later = now + 10 * SECOND;
    let mut place = waiting(&admission, later);
    admission.loaded(later, chores.try_recv().unwrap().model, Ok(None));
    assert_eq!(place.decided().await, Decision::Granted);
    assert!(admission.explain(refusal, "m").1.contains("Ollama does not answer"));
}

#[tokio::test(start_paused = true)]
async fn what_ps_said_before_a_load_ended_is_not_believed() {
    let now = crate::now();
    let (admission, mut chores) = Admission::new(Limits::default());
    let mut place = waiting(&admission, now);
    admission.loaded(now + SECOND, chores.try_recv().unwrap().model, Ok(None));
    assert_eq!(place.decided().await, Decision::Granted);
    admission.resident(now + SECOND, now, std::iter::empty());
    assert!(admission.snapshot(now + SECOND)[0].resident);
    admission.resident(now + 2 * SECOND, now + 2 * SECOND, std::iter::empty());
    assert!(!admission.snapshot(now + 2 * SECOND)[0].resident);
}

#[tokio::test(start_paused = true)]
async fn a_model_that_others_loaded_with_another_context_is_loaded_before_its_first_request() {
    let now = crate::now();
    let (admission, mut chores) = Admission::new(Limits::default());
    let ps = |at| admission.resident(at, at, [row("m", Some(4_096), Some(8_192))].into_iter());
    ps(now);
    let mut place = waiting(&admission, now);
    let chore = chores.try_recv().unwrap();
    assert_eq!(chore.kind, ChoreKind::Preload);
    admission.loaded(now + SECOND, chore.model, Ok(None));
    assert_eq!(place.decided().await, Decision::Granted);
    // Ollama gave less than was asked for; to load it again would change nothing.
    ps(now + 2 * SECOND);
    assert!(admission.snapshot(now + 2 * SECOND)[0].resident);
    // It went and came back by somebody else's doing.
    place.finished(now + 3 * SECOND, causeway_policy::Measured::default());
    admission.resident(now + 4 * SECOND, now + 4 * SECOND, std::iter::empty());
    ps(now + 5 * SECOND);
    assert!(!admission.snapshot(now + 5 * SECOND)[0].resident);
    admission.resident(now + 6 * SECOND, now + 6 * SECOND, [row("m", Some(8_192), Some(8_192))].into_iter());
    assert!(admission.snapshot(now + 6 * SECOND)[0].resident);
}

#[tokio::test(start_paused = true)]
async fn an_ollama_that_fails_three_times_is_left_alone_and_nobody_waits_for_it() {
    let now = crate::now();
    let (admission, _chores) = warm(now);
    for _ in 0..2 {
        admitted(&admission, now).failed(now, Health::Gone);
    }
    let third = admitted(&admission, now);
    let mut waiting = waiting(&admission, now);
    third.failed(now, Health::Gone);
    // Who waited had its slot the moment it came free, or is refused.
    let decision = waiting.decided().await;
    assert!(matches!(decision, Decision::Granted | Decision::Refused(_)), "{decision:?}");
    let (Verdict::Refuse(refusal), None) = submit(&admission, now, "fourth") else { panic!("passed") };
    assert_eq!(refusal.code, RefusalCode::LocalUnavailable);
    assert!(refusal.retry_after > Duration::ZERO);
    // Later one request finds out whether it is back.
    drop(waiting);
    let later = now + 60 * SECOND;
    admission.handle_timeout(later);
    admitted(&admission, later).finished(later, causeway_policy::Measured::default());
    assert!(admission.is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_model_whose_runner_breaks_again_and_again_holds_no_other_back() {
    let now = crate::now();
    let (admission, _chores) = warm(now);
    admission.resident(now, now, [row("m", None, None), row("n", None, None)].into_iter());
    for _ in 0..3 {
        admitted(&admission, now).failed(now, Health::Broken);
    }
    let (Verdict::Refuse(refusal), None) = submit(&admission, now, "fourth") else { panic!("passed") };
    assert!(admission.explain(refusal, "m").1.contains("rests"));
    let other = admission.submit(now, Wanted { id: "other", model: "n", settings: ONE, overflow: false }, ask);
    assert!(matches!(other, (Verdict::Admit, Some(_))));
    assert!(admission.is_closed());
}

#[tokio::test(start_paused = true)]
async fn live_requests_say_who_waits_and_what_was_promised() {
    let now = crate::now();
    let (admission, _chores) = warm(now);
    let _first = admitted(&admission, now);
    let second = waiting(&admission, now);
    let live = admission.live(now + SECOND);
    let [running, waits] = &live[..] else { panic!("{live:?}") };
    assert_eq!((running.id.as_str(), running.state, running.place), ("first", "running", None));
    assert_eq!((waits.state, waits.place, waits.waited_ms), ("waiting", Some(0), 1_000));
    assert_eq!(waits.promised_ms, None, "nothing is known yet, so nothing is promised");
    drop(second);
    assert_eq!(admission.live(now + SECOND).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn keys_keep_their_number_and_differ() {
    let (admission, _chores) = Admission::new(Limits::default());
    assert_eq!(admission.key("k1"), admission.key("k1"));
    assert_ne!(admission.key("k1"), admission.key("k2"));
}
