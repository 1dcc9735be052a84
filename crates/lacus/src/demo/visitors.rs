//! Made-up visitors of a shop, and what they click.
//!
//! Some people are more active and some products sell better than others (Zipf-Mandelbrot). A session searches, looks, adds
//! to the cart and maybe buys, and it is the same product at the same price all the way. The dice have a seed, so every run
//! looks alike; only the ids of the events differ from run to run.

use lacus_core::Timestamp;
use lacus_core::clock::Hour;
use serde::Serialize;

const USERS: u32 = 20_000;
/// As many users are about equally, and most, active.
const USERS_BUSY: u32 = 40;
const PRODUCTS: u32 = 600;
/// As many products are about equally, and most, wanted.
const PRODUCTS_WANTED: u32 = 8;
/// Sessions that go on side by side in one [`Visitors`]: their events come mixed.
const SESSIONS: usize = 48;
/// Sessions begin within this time before now.
const HISTORY_MS: u64 = 12 * 3_600_000;

/// Where clicks come from: an endless, repeatable stream of them.
pub(crate) struct Visitors {
    dice: Dice,
    /// Ids have dice of their own: they differ between runs, and behaviour does not.
    ids: Dice,
    sessions: Vec<Session>,
}

/// When sessions take place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// Some time in the last hours: a day's story in a few seconds.
    LastHours,
    /// Now.
    Now,
}

/// One event, as the shop sends it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Click {
    timestamp: String,
    user_id: String,
    pixel_id: String,
    /// Different for each event.
    pub(crate) click_id: String,
    insertion_timestamp: String,
    event_name: &'static str,
    user_ip: String,
    additional_data: AdditionalData,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct AdditionalData {
    time_on_data: u64,
    percent_viewed: serde_json::Number,
    product_id: u32,
    price: serde_json::Number,
}

struct Session {
    user: u32,
    user_ip: String,
    product: u32,
    step: Step,
    at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Search,
    View,
    Cart,
    Purchase,
    Leave,
}

impl Visitors {
    /// Visitors who behave by `seed` and whose events have ids by `run`.
    pub(crate) fn new(seed: u64, run: u64) -> Self {
        Self { dice: Dice::new(seed), ids: Dice::new(seed ^ run), sessions: Vec::with_capacity(SESSIONS) }
    }

    /// What is clicked next, as seen at `now`.
    pub(crate) fn next(&mut self, now: Timestamp, when: When) -> Click {
        if self.sessions.len() < SESSIONS {
            let session = Session::begin(&mut self.dice, now, when);
            self.sessions.push(session);
        }
        let chosen = self.dice.below(self.sessions.len() as u64) as usize;
        let session = &mut self.sessions[chosen];
        if when == When::Now {
            session.at = now;
        }
        let click = session.click(&mut self.dice, &mut self.ids);
        session.go_on(&mut self.dice);
        if session.step == Step::Leave || (when == When::LastHours && session.at > now) {
            self.sessions.swap_remove(chosen);
        }
        click
    }
}

impl Session {
    fn begin(dice: &mut Dice, now: Timestamp, when: When) -> Self {
        let user = dice.zipf(USERS, USERS_BUSY);
        let at = match when {
            When::Now => now,
            When::LastHours => busy_time(dice, now),
        };
        Self {
            user,
            user_ip: address_of(user, dice.below(3)),
            product: dice.zipf(PRODUCTS, PRODUCTS_WANTED),
            step: Step::Search,
            at,
        }
    }

    fn click(&self, dice: &mut Dice, ids: &mut Dice) -> Click {
        let (seconds, percent) = match self.step {
            Step::Search => (3 + dice.below(40), 5.0 + dice.unit() * 45.0),
            Step::View => (8 + dice.below(200), 100.0 * dice.unit().sqrt()),
            Step::Cart => (2 + dice.below(20), 70.0 + dice.unit() * 30.0),
            Step::Purchase | Step::Leave => (20 + dice.below(100), 100.0),
        };
        Click {
            timestamp: written(self.at.as_micros()),
            user_id: user_id(self.user).to_string(),
            pixel_id: letters(&mut Dice::new(0x9127 ^ u64::from(self.user)), 10),
            click_id: format!("{:016x}{:016x}", ids.next(), ids.next()),
            insertion_timestamp: written(self.at.as_micros() + 20 + dice.below(60) as i64),
            event_name: self.step.event_name(),
            user_ip: self.user_ip.clone(),
            additional_data: AdditionalData {
                time_on_data: seconds,
                percent_viewed: short((percent * 10.0).round() / 10.0),
                product_id: product_id(self.product),
                price: short(price(self.product)),
            },
        }
    }

    /// What this person does next, and when.
    fn go_on(&mut self, dice: &mut Dice) {
        let before = self.step;
        self.step = match (before, dice.below(100)) {
            (Step::Search, ..80) | (Step::View, ..35) | (Step::Cart, ..25) => Step::View,
            (Step::Search, ..90) | (Step::View, ..50) | (Step::Purchase, ..15) => Step::Search,
            (Step::View, ..73) => Step::Cart,
            (Step::Cart, ..72) => Step::Purchase,
            _ => Step::Leave,
        };
        if before != Step::Search && matches!(self.step, Step::View | Step::Search) {
            self.product = dice.zipf(PRODUCTS, PRODUCTS_WANTED);
        }
        self.at = self.at.plus_ms(2_000 + dice.below(90_000));
    }
}

impl Step {
    fn event_name(self) -> &'static str {
        match self {
            Self::Search => "Search",
            Self::View => "ViewContent",
            Self::Cart => "AddToCart",
            Self::Purchase | Self::Leave => "Purchase",
        }
    }
}

/// A time in the last hours, more often in the evening than in the early morning.
fn busy_time(dice: &mut Dice, now: Timestamp) -> Timestamp {
    let mut at = now;
    for _ in 0..8 {
        let back = dice.below(HISTORY_MS * 1_000);
        at = Timestamp::from_micros(now.as_micros() - back as i64);
        let Hour { hour, .. } = at.hour();
        let from_peak = (f64::from(hour) - 20.0) / 24.0 * std::f64::consts::TAU;
        if dice.unit() < 0.6 + 0.4 * from_peak.cos() {
            break;
        }
    }
    at
}

fn address_of(user: u32, which: u64) -> String {
    let mut dice = Dice::new(0x1b_u64 ^ u64::from(user) << 8 ^ which);
    format!("{}.{}.{}.{}", 11 + dice.below(110), dice.below(256), dice.below(256), 1 + dice.below(254))
}

fn user_id(user: u32) -> u32 {
    // 7919 shares no factor with 20,000: no two users get the same id.
    1 + (34 + user * 7_919) % USERS
}

fn product_id(product: u32) -> u32 {
    // 611,953 shares no factor with 900,000: no two products get the same id.
    100_000 + (457_246 + product * 611_953) % 900_000
}

fn price(product: u32) -> f64 {
    let mut dice = Dice::new(0xca5 ^ u64::from(product) << 12);
    let cents = 495.0 * (1.0 + 180.0 * dice.unit().powi(3));
    cents.round() / 100.0
}

fn letters(dice: &mut Dice, count: usize) -> String {
    const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    (0..count).map(|_| char::from(LETTERS[dice.below(LETTERS.len() as u64) as usize])).collect()
}

/// A number as people write it: `87`, not `87.0`.
fn short(number: f64) -> serde_json::Number {
    if number.fract() == 0.0 {
        return (number as i64).into();
    }
    serde_json::Number::from_f64(number).expect("prices and percentages are finite")
}

fn written(micros: i64) -> String {
    let time = chrono::DateTime::from_timestamp_micros(micros).unwrap_or_default();
    time.format("%Y-%m-%d %H:%M:%S%.6f").to_string()
}

/// Dice that fall the same way for the same seed: splitmix64.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// 0 to `end`, `end` not included.
    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// 0.0 to 1.0, 1.0 not included.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// 0 to `count`, not included: small numbers more often than large ones, the first `flat` about equally.
    fn zipf(&mut self, count: u32, flat: u32) -> u32 {
        let (count_and_flat, flat) = (f64::from(count + flat), f64::from(flat));
        let rank = flat * (count_and_flat / flat).powf(self.unit()) - flat;
        (rank as u32).min(count - 1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    const NOW: Timestamp = Timestamp(1_626_091_318_732_726);

    fn clicks(run: u64, when: When) -> Vec<Click> {
        let mut visitors = Visitors::new(1, run);
        (0..20_000).map(|_| visitors.next(NOW, when)).collect()
    }

    #[test]
    fn runs_are_alike_and_no_two_events_are_the_same() {
        let (first, second) = (clicks(1, When::LastHours), clicks(2, When::LastHours));
        let ids: HashSet<_> = first.iter().chain(&second).map(|click| &click.click_id).collect();
        assert_eq!(ids.len(), 40_000);
        for (a, b) in first.iter().zip(&second) {
            assert_eq!((&a.timestamp, &a.user_id, &a.additional_data), (&b.timestamp, &b.user_id, &b.additional_data));
        }
    }

    #[test]
    fn people_search_more_than_they_buy_and_times_are_in_the_last_hours() {
        let clicks = clicks(1, When::LastHours);
        let mut by_name = HashMap::new();
        for click in &clicks {
            *by_name.entry(click.event_name).or_insert(0) += 1;
            assert!(click.timestamp.as_str() <= "2021-07-12 12:01:58.732726", "{}", click.timestamp);
            assert!(click.timestamp.as_str() >= "2021-07-12 00:01:58", "{}", click.timestamp);
        }
        assert_eq!(by_name.len(), 4);
        assert!(by_name["ViewContent"] > by_name["AddToCart"] && by_name["AddToCart"] > by_name["Purchase"]);
        assert!(by_name["Purchase"] > 200, "{by_name:?}");
    }

    #[test]
    fn a_product_has_one_price_and_a_person_few_addresses() {
        let (mut prices, mut addresses) = (HashMap::new(), HashMap::new());
        for click in clicks(1, When::Now) {
            assert_eq!(click.timestamp, "2021-07-12 12:01:58.732726");
            let data = click.additional_data;
            assert_eq!(prices.entry(data.product_id).or_insert_with(|| data.price.clone()), &data.price);
            addresses.entry(click.user_id).or_insert_with(HashSet::new).insert(click.user_ip);
        }
        assert!(addresses.values().all(|addresses| addresses.len() <= 3));
    }
}
