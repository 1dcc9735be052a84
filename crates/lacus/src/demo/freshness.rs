//! How fresh answers are, measured from outside: an event has its 200, and queries ask for it until one finds it.

use std::collections::VecDeque;
use std::time::Duration;

use lacus_core::{Error, Result};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::demo::senders::Acknowledged;
use crate::door::Door;

/// Measurements kept: the latest.
const SAMPLES_MAX: usize = 1_000;
/// Rest between two measurements, so that measuring does not load what it measures.
const PAUSE: Duration = Duration::from_millis(50);
/// Rest before an event that was not found is asked for again.
const ASK_AGAIN: Duration = Duration::from_millis(1);
/// An event that is not found within this time is given up, and counts with it.
const FOUND_MAX: Duration = Duration::from_secs(30);

/// Acknowledged → in the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Freshness {
    /// Half of the events were found faster.
    pub(crate) median: Duration,
    /// 99 of 100 were.
    pub(crate) p99: Duration,
}

/// Measures one event after the other until `stop`, as soon as there are `rows` and so a table to ask.
pub(crate) async fn measure(
    door: Door,
    table: &'static str,
    mut rows: watch::Receiver<u64>,
    mut latest: watch::Receiver<Option<Acknowledged>>,
    freshness: watch::Sender<Option<Freshness>>,
    stop: CancellationToken,
) {
    let Some(Ok(_)) = stop.run_until_cancelled(rows.wait_for(|rows| *rows > 0)).await else { return };
    let mut samples = VecDeque::with_capacity(SAMPLES_MAX);
    loop {
        // Only an event that is acknowledged from now on: the time an older one waited for us is not its freshness.
        latest.mark_unchanged();
        let Some(Ok(())) = stop.run_until_cancelled(latest.changed()).await else { return };
        let Some(event) = latest.borrow_and_update().clone() else { continue };
        match stop.run_until_cancelled(find(&door, table, &event)).await {
            None => return,
            Some(Err(error)) => warn!(%error, "could not measure freshness"),
            Some(Ok(took)) => {
                if samples.len() == SAMPLES_MAX {
                    samples.pop_front();
                }
                samples.push_back(took);
                freshness.send_replace(Some(summary(&samples)));
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Asks for the event until it is in an answer, and says how long after its acknowledgement that was.
async fn find(door: &Door, table: &str, event: &Acknowledged) -> Result<Duration> {
    let sql = format!("SELECT count(*) FROM {table} WHERE click_id = '{}'", event.click_id);
    loop {
        let found = door.count(&sql).await?;
        let waited = Instant::now() - event.at;
        match found {
            1 => return Ok(waited),
            0 if waited < FOUND_MAX => tokio::time::sleep(ASK_AGAIN).await,
            0 => return Ok(waited),
            more => return Err(Error::internal(format!("event {} is there {more} times", event.click_id))),
        }
    }
}

fn summary(samples: &VecDeque<Duration>) -> Freshness {
    let mut sorted: Vec<Duration> = samples.iter().copied().collect();
    sorted.sort_unstable();
    let at = |percent: usize| sorted[(sorted.len() - 1) * percent / 100];
    Freshness { median: at(50), p99: at(99) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_in_order() {
        let samples: VecDeque<_> = (1..=100).rev().map(Duration::from_millis).collect();
        let expected = Freshness { median: Duration::from_millis(50), p99: Duration::from_millis(99) };
        assert_eq!(summary(&samples), expected);
        let one = VecDeque::from([Duration::from_millis(7)]);
        assert_eq!(summary(&one).p99, Duration::from_millis(7));
    }
}
