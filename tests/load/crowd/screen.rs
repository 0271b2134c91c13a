//! The table on a terminal, drawn anew in place; elsewhere a line for each change.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use super::{Seat, Told};
use crate::figures::Samples;
use crate::output::print;

/// What a caller's row last said, without its running times.
#[derive(Clone, PartialEq, Default)]
struct Said {
    number: usize,
    word: &'static str,
    place: Option<u32>,
    answers: usize,
}

/// Where the crowd is shown.
pub(super) struct Screen {
    begun: Instant,
    in_place: bool,
    /// Lines of the table that stands there.
    drawn: usize,
    said: Vec<Said>,
}

impl Screen {
    /// `plain`: lines even on a terminal.
    pub(super) fn new(plain: bool) -> Self {
        let in_place = !plain && std::io::stdout().is_terminal();
        Self { begun: Instant::now(), in_place, drawn: 0, said: Vec::new() }
    }

    pub(super) fn draw(&mut self, seats: &[Seat]) {
        let passed = self.begun.elapsed();
        if self.in_place {
            let lines = table(seats, passed);
            let up = if self.drawn > 0 { format!("\x1b[{}A\x1b[J", self.drawn) } else { String::new() };
            self.drawn = lines.len();
            let mut out = std::io::stdout().lock();
            // Nothing can be done about a closed terminal.
            let _ = writeln!(out, "{up}{}", lines.join("\n")).and_then(|()| out.flush());
            return;
        }
        self.said.resize(seats.len(), Said::default());
        for (place, (seat, said)) in seats.iter().zip(&mut self.said).enumerate() {
            let now = said_of(seat);
            if now != *said {
                print(&format!("{:>6.1} s  {}", passed.as_secs_f64(), line(place, seat)));
                *said = now;
            }
        }
    }

    /// Every answer with what was promised for it, then the errors' median and p90.
    pub(super) fn summary(&self, seats: &[Seat]) {
        let mut out = String::from(
            "\ncaller  answer   queued  promised  first token    error  served by  why             cost\n",
        );
        let mut errors = Samples::default();
        for (place, seat) in seats.iter().enumerate() {
            for (number, Told { real, promised, queued, served_by, reason, usd, .. }) in seat.told.iter().enumerate() {
                let error = promised.map(|promised| (promised.as_secs_f64() / real.as_secs_f64() - 1.0) * 100.0);
                if let Some(error) = error {
                    errors.push(error.abs());
                }
                let error = error.map_or_else(|| "–".to_owned(), |error| format!("{error:+.0} %"));
                let (queued, promised) = (seconds(Some(*queued)), seconds(*promised));
                let real = seconds(Some(*real));
                let why = reason.as_deref().unwrap_or("–");
                let cost = usd.map_or_else(|| "–".to_owned(), |usd| format!("${usd:.7}"));
                out.push_str(&format!(
                    "{:>6}  {:>6}  {queued:>7}  {promised:>8}  {real:>11}  {error:>7}  {served_by:<9}  {why:<14}  {cost}\n",
                    place + 1,
                    number + 1
                ));
            }
        }
        let (median, p90) = (errors.percentile(0.5), errors.percentile(0.9));
        let whole = self.begun.elapsed().as_secs_f64();
        let answers: usize = seats.iter().map(|seat| seat.told.len()).sum();
        out.push_str(&format!("\n{answers} answers in {whole:.1} s"));
        if !median.is_nan() {
            out.push_str(&format!("; promises off by {median:.0} % (median), {p90:.0} % (p90)"));
        }
        print(&out);
    }

    /// Who was served where, how many came too late, and what it cost.
    pub(super) fn places(&self, seats: &[Seat], deadline: Duration, occupancy: f64) {
        let all: Vec<&Told> = seats.iter().flat_map(|seat| &seat.told).collect();
        let there = all.iter().filter(|told| told.served_by == "bedrock").count();
        let late = all.iter().filter(|told| told.real > deadline).count();
        let usd: f64 = all.iter().filter_map(|told| told.usd).sum();
        print(&format!(
            "{} here, {there} at Bedrock for ${usd:.6}; {late} first tokens later than {}; slot in use {:.1} % of the time",
            all.len() - there,
            seconds(Some(deadline)),
            occupancy * 100.0
        ));
    }
}

/// `waits`, `runs`, `done`, or what lies between.
fn word(seat: &Seat) -> &'static str {
    match (&seat.live, seat.sent) {
        (Some(live), _) if live.state == "waiting" => "waits",
        (Some(_), _) => "runs",
        (None, Some(_)) => "asks",
        (None, None) if seat.done => "done",
        (None, None) => "",
    }
}

fn said_of(seat: &Seat) -> Said {
    let place = seat.live.as_ref().and_then(|live| live.place);
    Said { number: seat.number, word: word(seat), place, answers: seat.told.len() }
}

fn table(seats: &[Seat], passed: Duration) -> Vec<String> {
    let waiting = seats.iter().filter(|seat| word(seat) == "waits").count();
    let answers: usize = seats.iter().map(|seat| seat.told.len()).sum();
    let head = "caller  answer  state  place   waited  promised  to come   last first token (promised)";
    let title = format!("{:.1} s: {waiting} wait, {answers} answers", passed.as_secs_f64());
    let mut lines = vec![title, head.to_owned()];
    lines.extend(seats.iter().enumerate().map(|(place, seat)| row(place, seat)));
    lines
}

/// One caller in the table.
fn row(place: usize, seat: &Seat) -> String {
    let live = seat.live.as_ref();
    let ms = |ms: Option<u64>| seconds(ms.map(Duration::from_millis));
    let [waited, promised, expected] = [
        live.map(|live| live.waited_ms),
        live.and_then(|live| live.promised_ms),
        live.and_then(|live| live.expected_ms),
    ]
    .map(ms);
    let ahead = live.and_then(|live| live.place).map_or_else(|| "–".to_owned(), |place| (place + 1).to_string());
    let last = seat.told.last().map_or_else(String::new, told);
    let (number, word) = (seat.number, word(seat));
    format!("{:>6}  {number:>6}  {word:<5}  {ahead:>5}  {waited:>7}  {promised:>8}  {expected:>7}   {last}", place + 1)
}

/// What has just become of one caller.
fn line(place: usize, seat: &Seat) -> String {
    let caller = format!("caller {}, request {}", place + 1, seat.number);
    match (&seat.live, seat.told.last()) {
        (Some(live), _) if live.state == "waiting" => {
            let promised = seconds(live.promised_ms.map(Duration::from_millis));
            let ahead = live.place.map_or_else(|| "–".to_owned(), |place| (place + 1).to_string());
            format!("{caller}: waits at place {ahead}, promised {promised}")
        }
        (Some(live), _) => format!("{caller}: runs, after {}", seconds(Some(Duration::from_millis(live.waited_ms)))),
        (None, Some(last)) if seat.sent.is_none() => format!("{caller}: answered, first token after {}", told(last)),
        (None, _) => format!("{caller}: asks"),
    }
}

fn told(told: &Told) -> String {
    let real = seconds(Some(told.real));
    match told.promised {
        Some(promised) => format!("{real} ({})", seconds(Some(promised))),
        None => real,
    }
}

fn seconds(time: Option<Duration>) -> String {
    time.map_or_else(|| "–".to_owned(), |time| format!("{:.1} s", time.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use super::super::Live;
    use super::*;

    fn waiting(place: u32) -> Seat {
        let live = Live {
            id: "x".to_owned(),
            state: "waiting".to_owned(),
            place: Some(place),
            waited_ms: 1_500,
            promised_ms: Some(4_000),
            expected_ms: Some(2_460),
        };
        Seat { number: 2, sent: Some(Instant::now()), live: Some(live), ..Seat::default() }
    }

    #[test]
    fn a_row_shows_place_wait_promise_and_what_is_to_come() {
        assert_eq!(row(0, &waiting(2)).trim_end(), "     1       2  waits      3    1.5 s     4.0 s    2.5 s");
        assert_eq!(line(0, &waiting(2)), "caller 1, request 2: waits at place 3, promised 4.0 s");
    }

    #[test]
    fn a_caller_with_all_its_answers_is_done() {
        let last = Told { real: Duration::from_millis(4_100), ..Told::default() };
        let seat = Seat { number: 3, done: true, told: vec![last], ..Seat::default() };
        assert_eq!(
            (word(&seat), line(4, &seat).as_str()),
            ("done", "caller 5, request 3: answered, first token after 4.1 s")
        );
    }
}
