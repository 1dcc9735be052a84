//! A token bucket: so many events per second on average, a few seconds' worth at once.

use lacus_core::Timestamp;

/// A bucket holds this many seconds' worth.
const BURST_SECONDS: f64 = 5.0;

/// Events that may still be sent now.
pub(super) struct Bucket {
    per_second: f64,
    tokens: f64,
    filled_at: Timestamp,
}

impl Bucket {
    /// A full bucket.
    pub(super) fn new(per_second: u32, now: Timestamp) -> Self {
        let per_second = f64::from(per_second);
        Self { per_second, tokens: per_second * BURST_SECONDS, filled_at: now }
    }

    /// Takes `events` out, if there is any left: a large request may overdraw it once, and others wait for that. Refusing it
    /// whenever it is larger than the bucket would refuse it for ever.
    ///
    /// # Errors
    /// The seconds after which there is some left again, if nobody else takes it.
    #[expect(clippy::cast_precision_loss, reason = "counts of events in one request")]
    pub(super) fn take(&mut self, events: u64, now: Timestamp) -> Result<(), f64> {
        let micros = now.as_micros().saturating_sub(self.filled_at.as_micros()).max(0);
        self.tokens = (self.tokens + micros as f64 / 1e6 * self.per_second).min(self.per_second * BURST_SECONDS);
        // A clock that is set back is followed: to wait until it comes to the same time again would refuse a sender for as long.
        self.filled_at = now;
        if self.tokens <= 0.0 {
            return Err((1.0 - self.tokens) / self.per_second);
        }
        self.tokens -= events as f64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_millisecond_count() {
        let at = |micros: i64| Timestamp::from_micros(micros);
        let mut bucket = Bucket::new(800, at(0));
        assert!(bucket.take(4_000, at(0)).is_ok());
        assert!((1..100).all(|turn| bucket.take(1, at(turn * 1_900)).is_ok()), "one each 1.25 ms may pass");
    }

    #[test]
    fn a_bucket_gives_a_burst_and_then_its_rate() {
        let at = |ms: u64| Timestamp::from_micros(0).plus_ms(ms);
        let mut bucket = Bucket::new(10, at(0));
        assert!((0..50).all(|_| bucket.take(1, at(0)).is_ok()));
        assert_eq!(bucket.take(1, at(0)), Err(0.1));
        assert_eq!(bucket.take(1, at(0)), Err(0.1), "a refused one costs nothing");
        assert!(bucket.take(1, at(100)).is_ok() && bucket.take(1, at(100)).is_err());
        assert!((0..50).all(|_| bucket.take(1, at(3_600_000)).is_ok()) && bucket.take(1, at(3_600_000)).is_err());
        assert!(bucket.take(1_000, at(3_601_000)).is_ok(), "one large request passes");
        assert_eq!(bucket.take(1, at(3_602_000)), Err(98.1), "and is paid for after");
        assert!(bucket.take(1, at(0)).is_err(), "a clock that is set back gives nothing");
        assert!(bucket.take(1, at(99_000)).is_ok(), "and is followed from there");
    }
}
