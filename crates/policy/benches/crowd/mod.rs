//! A ledger as full as the contract lets it be: what both benchmarks ask.

use std::time::{Duration, Instant};

use causeway_policy::{
    Ask, Class, Deadline, Key, Ledger, Limits, Measured, ModelId, ModelSettings, Resident, Ticket, Verdict,
};

/// The contract's `queue-limit`.
const WAITING: u64 = 64;
const SLOTS: u32 = 4;

pub(crate) fn ask(model: ModelId, number: u64) -> Ask {
    let after = Duration::from_secs(3_000 + number * 7 % 64);
    Ask {
        model,
        key: Key(number % 8),
        class: if number.is_multiple_of(5) { Class::Batch } else { Class::Interactive },
        prompt_bytes: 1_000 + number * 31 % 500,
        max_tokens: number.is_multiple_of(3).then_some(512),
        prefix: number,
        deadline: (!number.is_multiple_of(4)).then_some(Deadline { after, hard: number % 4 == 1 }),
        queue_timeout: Duration::from_secs(3_600),
        overflow: number.is_multiple_of(2),
        runs_twice: false,
        truncate: false,
    }
}

fn answer(ledger: &mut Ledger, now: &mut Instant, ticket: Ticket, tokens: u32) {
    *now += Duration::from_millis(100);
    ledger.first_token(*now, ticket);
    let time = Duration::from_millis(20) * tokens;
    *now += time;
    ledger.progress(*now, ticket, tokens);
    let measured = Measured {
        prompt_eval_count: Some(300),
        prompt_eval_duration: Some(Duration::from_millis(100)),
        eval_count: Some(u64::from(tokens)),
        eval_duration: Some(time),
        ..Measured::default()
    };
    ledger.finished(*now, ticket, measured);
}

/// A ledger with all slots taken and one place short of 65 waiting.
#[expect(clippy::disallowed_methods, reason = "virtual time needs one beginning")]
pub(crate) fn full() -> (Ledger, Instant, ModelId) {
    let (mut ledger, mut now) = (Ledger::new(Limits { queue: 65 }), Instant::now());
    let settings = ModelSettings { parallel: SLOTS, forced_one: false };
    let model = ledger.model(now, "m", settings).unwrap();
    ledger.resident(now, &[Resident { model, context: Some(32_768) }]);
    for number in 0..200 {
        let (ticket, verdict) = ledger.submit(now, &ask(model, number));
        assert_eq!(verdict, Verdict::Admit);
        answer(&mut ledger, &mut now, ticket, 20 + u32::try_from(number * 37 % 300).unwrap());
    }
    for number in 0..u64::from(SLOTS) + WAITING {
        let (ticket, verdict) = ledger.submit(now, &ask(model, number));
        assert!(matches!(verdict, Verdict::Admit | Verdict::Queue(_)), "{verdict:?}");
        if verdict == Verdict::Admit {
            ledger.first_token(now, ticket);
        }
    }
    assert!(ledger.poll_event().is_none());
    (ledger, now, model)
}
