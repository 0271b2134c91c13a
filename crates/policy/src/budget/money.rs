//! Money as whole nano-dollars, and what a call costs.
//!
//! Invariants: a cost is rounded up and a cap down, so that what is booked is never less than what
//! is owed; sums saturate and never wrap. A dollar amount that came from [`Usd::dollars`] gives the
//! same amount again, either way, up to a million dollars. Absent: whose money it is.

use std::fmt;

/// Nano-dollars in a dollar: a token of the cheapest model costs tens of them.
const NANOS: u64 = 1_000_000_000;
/// Tokens that a price is for.
const PRICED_TOKENS: f64 = 1e6;
/// Relative error that decimal fractions and up to four operations on them bring along: what is this
/// near to a whole nano-dollar is that many, and not one more or less.
const NOISE: f64 = 4.0 * f64::EPSILON;

/// Tokens by which an answer without usage may have been longer than what was seen of it: at least
/// so many, and at least a fifth.
const UNSEEN_TOKENS: u64 = 64;
const UNSEEN_PART: u64 = 5;

/// An amount in US dollars, whole nano-dollars.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Usd(u64);

impl Usd {
    /// Nothing.
    pub const ZERO: Usd = Usd(0);
    /// More than anybody has.
    pub const MAX: Usd = Usd(u64::MAX);

    /// From nano-dollars.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Usd {
        Usd(nanos)
    }

    /// In nano-dollars.
    #[must_use]
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// Dollars that are owed, rounded up. What is no number is more than anything; less than nothing
    /// is nothing.
    #[must_use]
    pub fn cost(dollars: f64) -> Usd {
        if dollars.is_nan() { Usd::MAX } else { Usd(whole(dollars * NANOS as f64, f64::ceil)) }
    }

    /// Dollars that may be spent, rounded down. What is no number, or less than nothing, is nothing.
    #[must_use]
    pub fn cap(dollars: f64) -> Usd {
        Usd(whole(dollars * NANOS as f64, f64::floor))
    }

    /// In dollars.
    #[must_use]
    pub fn dollars(self) -> f64 {
        self.0 as f64 / NANOS as f64
    }

    /// The sum, at most [`Usd::MAX`].
    #[must_use]
    pub const fn plus(self, other: Usd) -> Usd {
        Usd(self.0.saturating_add(other.0))
    }

    /// The difference, at least nothing.
    #[must_use]
    pub const fn minus(self, other: Usd) -> Usd {
        Usd(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Usd {
    /// `$1.50`, `$0.000013`: cents at least, nano-dollars at most.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fraction = format!("{:09}", self.0 % NANOS);
        let digits = fraction.trim_end_matches('0').len().max(2);
        write!(f, "${}.{}", self.0 / NANOS, &fraction[..digits])
    }
}

impl std::iter::Sum for Usd {
    fn sum<I: Iterator<Item = Usd>>(amounts: I) -> Usd {
        amounts.fold(Usd::ZERO, Usd::plus)
    }
}

/// What a model costs, USD per million tokens.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Price {
    input: f64,
    output: f64,
}

impl Price {
    /// USD per million tokens of each kind; none where one is negative or not finite.
    #[must_use]
    pub fn per_million(input: f64, output: f64) -> Option<Price> {
        let fine = |price: f64| price.is_finite() && price >= 0.0;
        (fine(input) && fine(output)).then_some(Price { input, output })
    }

    /// USD per million tokens of the prompt.
    #[must_use]
    pub fn input(self) -> f64 {
        self.input
    }

    /// USD per million tokens of the answer.
    #[must_use]
    pub fn output(self) -> f64 {
        self.output
    }

    /// What this many tokens cost, rounded up.
    #[must_use]
    pub fn cost(self, input_tokens: u64, output_tokens: u64) -> Usd {
        let priced = input_tokens as f64 * self.input + output_tokens as f64 * self.output;
        Usd(whole(priced * (NANOS as f64 / PRICED_TOKENS), f64::ceil))
    }

    /// What to book for a call that brought no usage (cancelled, hedged, broken): the model was read
    /// to and may have written further than was seen. Never more than what was reserved for it,
    /// which also bounds what the backend was allowed to write.
    #[must_use]
    pub fn cost_without_usage(self, input_estimated: u64, output_seen: u64, reserved: Usd) -> Usd {
        let unseen = output_seen.div_ceil(UNSEEN_PART).max(UNSEEN_TOKENS);
        self.cost(input_estimated, output_seen.saturating_add(unseen)).min(reserved)
    }
}

/// A whole number: the nearest if that is where the amount really is, else what `round` says.
fn whole(nanos: f64, round: fn(f64) -> f64) -> u64 {
    let near = nanos.round();
    let is_near = (nanos - near).abs() <= near.abs() * NOISE;
    // A float becomes the nearest integer there is; what is no number becomes 0.
    (if is_near { near } else { round(nanos) }) as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_cost_is_rounded_up_and_a_cap_down() {
        assert_eq!(Usd::cost(1.000_000_000_1), Usd(1_000_000_001));
        assert_eq!(Usd::cap(1.999_999_999_9), Usd(1_999_999_999));
        assert_eq!(Usd::cost(1e-30), Usd(1));
        assert_eq!(Usd::cap(1e-30), Usd::ZERO);
    }

    #[test]
    fn a_decimal_fraction_is_the_amount_that_a_person_wrote() {
        for cents in 0..100_000_u64 {
            let (dollars, exact) = (cents as f64 / 100.0, Usd(cents * 10_000_000));
            assert_eq!((Usd::cost(dollars), Usd::cap(dollars)), (exact, exact), "{dollars}");
        }
    }

    #[test]
    fn what_is_no_amount_neither_frees_money_nor_costs_nothing() {
        assert_eq!([Usd::cost(f64::NAN), Usd::cost(f64::INFINITY)], [Usd::MAX; 2]);
        assert_eq!([Usd::cap(f64::NAN), Usd::cap(-5.0), Usd::cap(f64::NEG_INFINITY)], [Usd::ZERO; 3]);
        assert_eq!(Usd::cost(-5.0), Usd::ZERO);
        assert_eq!(Usd::MAX.plus(Usd(1)), Usd::MAX);
        assert_eq!(Usd(1).minus(Usd(2)), Usd::ZERO);
    }

    #[test]
    fn an_amount_reads_as_dollars_with_cents_and_as_many_digits_as_it_has() {
        let shown = [0, 1, 1_500_000_000, 12_340_000, u64::MAX].map(|nanos| Usd(nanos).to_string());
        assert_eq!(shown, ["$0.00", "$0.000000001", "$1.50", "$0.01234", "$18446744073.709551615"]);
    }

    #[test]
    fn tokens_cost_their_price_and_not_a_nano_dollar_more_for_being_fractions() {
        let price = Price::per_million(0.07, 0.30).unwrap();
        assert_eq!(price.cost(1_000_000, 0), Usd(70_000_000));
        assert_eq!(price.cost(100, 7), Usd(7_000 + 2_100));
        assert_eq!(Price::per_million(0.000_1, 0.0).unwrap().cost(1, 0), Usd(1), "rounded up");
        assert_eq!(Price::per_million(0.0, 0.0).unwrap().cost(u64::MAX, u64::MAX), Usd::ZERO);
        assert_eq!(Price::per_million(f64::MAX, f64::MAX).unwrap().cost(u64::MAX, 0), Usd::MAX);
    }

    #[test]
    fn a_price_is_a_finite_number_that_is_not_negative() {
        for bad in [f64::NAN, f64::INFINITY, -0.01] {
            assert_eq!(Price::per_million(bad, 1.0), None);
            assert_eq!(Price::per_million(1.0, bad), None);
        }
        let price = Price::per_million(0.5, 1.5).unwrap();
        assert_eq!((price.input(), price.output()), (0.5, 1.5));
    }

    #[test]
    fn a_call_without_usage_costs_more_than_was_seen_and_at_most_its_reservation() {
        // One dollar for a token, so that the amounts are the tokens.
        let price = Price::per_million(1e6, 1e6).unwrap();
        let booked = |seen| price.cost_without_usage(10, seen, Usd::cap(2_000.0)).dollars();
        assert_eq!(booked(0), 74.0);
        assert_eq!(booked(320), 10.0 + 384.0);
        assert_eq!(booked(321), 10.0 + 386.0, "a fifth is rounded up too");
        assert_eq!(booked(1_000), 1_210.0);
        assert_eq!(booked(u64::MAX), 2_000.0);
    }

    proptest! {
        #[test]
        fn an_amount_goes_through_dollars_and_back_unchanged(nanos in 0_u64..1 << 50) {
            let amount = Usd(nanos);
            prop_assert_eq!(Usd::cost(amount.dollars()), amount);
            prop_assert_eq!(Usd::cap(amount.dollars()), amount);
        }

        #[test]
        fn more_tokens_never_cost_less(
            input in 0.0..1e3_f64, output in 0.0..1e3_f64, tokens in 0_u64..1 << 30, answer in 0_u64..1 << 30, more in 0_u64..1 << 20
        ) {
            let price = Price::per_million(input, output).unwrap();
            prop_assert!(price.cost(tokens + more, answer) >= price.cost(tokens, answer));
            prop_assert!(price.cost(tokens, answer + more) >= price.cost(tokens, answer));
            let free = price.cost_without_usage(tokens, answer, Usd::MAX);
            prop_assert!(free >= price.cost(tokens, answer + 64));
        }
    }
}
