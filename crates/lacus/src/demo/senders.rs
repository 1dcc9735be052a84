//! The demo's shop: a few connections that post clicks as fast as they are asked to, and never faster.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use lacus_core::{Clock, Context, Error, Result};
use reqwest::Client;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::demo::visitors::{Click, Visitors, When};

/// Connections that send at once.
const CONNECTIONS: u64 = 4;
/// Events of one request, in turn.
const BATCHES: [usize; 6] = [1, 20, 60, 1, 120, 200];
/// Batches up to this size go as a JSON array, larger ones as NDJSON.
const ARRAY_MAX: usize = 20;
/// What the visitors' dice start with.
const SEED: u64 = 1_001;
/// A sender that fell behind catches up at most this much.
const BEHIND_MAX: Duration = Duration::from_secs(1);
/// Rest after a refused request. The same batch is sent again.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// An answer takes no longer than this.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// What senders and viewers tell each other.
pub(crate) struct Tally {
    acknowledged: AtomicU64,
    events_per_second: AtomicU64,
    live: AtomicBool,
    latest: watch::Sender<Option<Acknowledged>>,
    trouble: watch::Sender<Option<String>>,
}

/// An event whose sender just got its 200.
#[derive(Debug, Clone)]
pub(crate) struct Acknowledged {
    /// Which event.
    pub(crate) click_id: String,
    /// When the answer arrived.
    pub(crate) at: Instant,
}

impl Tally {
    /// Nothing acknowledged, and `events_per_second` to be sent.
    pub(crate) fn new(events_per_second: u64) -> Arc<Self> {
        Arc::new(Self {
            acknowledged: AtomicU64::new(0),
            events_per_second: AtomicU64::new(events_per_second),
            live: AtomicBool::new(false),
            latest: watch::Sender::new(None),
            trouble: watch::Sender::new(None),
        })
    }

    /// Events acknowledged in this run.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// From now on clicks happen now, at this rate.
    pub(crate) fn go_live(&self, events_per_second: u64) {
        self.events_per_second.store(events_per_second, Ordering::Relaxed);
        self.live.store(true, Ordering::Relaxed);
    }

    /// The event acknowledged last.
    pub(crate) fn latest(&self) -> watch::Receiver<Option<Acknowledged>> {
        self.latest.subscribe()
    }

    /// Why the last request failed, until one succeeds.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.borrow().clone()
    }

    fn when(&self) -> When {
        if self.live.load(Ordering::Relaxed) { When::Now } else { When::LastHours }
    }

    /// Events per second for each connection.
    fn pace(&self) -> u64 {
        (self.events_per_second.load(Ordering::Relaxed) / CONNECTIONS).max(1)
    }
}

/// Starts the connections; they end with `stop`, and `tasks` waits for them.
///
/// # Errors
/// If no HTTP client can be made.
pub(crate) fn start(
    url: &str,
    clock: &Arc<dyn Clock>,
    tally: &Arc<Tally>,
    stop: &CancellationToken,
    tasks: &TaskTracker,
) -> Result<()> {
    let run = clock.now().as_micros().unsigned_abs();
    for number in 0..CONNECTIONS {
        let sender = Sender {
            client: client()?,
            url: url.to_owned(),
            clock: Arc::clone(clock),
            tally: Arc::clone(tally),
            visitors: Visitors::new(SEED + number, run),
        };
        tasks.spawn(sender.run(stop.clone()));
    }
    Ok(())
}

/// A client with one connection that is kept.
///
/// # Errors
/// If no HTTP client can be made.
pub(crate) fn client() -> Result<Client> {
    let client = Client::builder().pool_max_idle_per_host(1).timeout(ANSWER_MAX).no_proxy().build();
    client.map_err(|error| Error::internal(format!("make an HTTP client: {error}")))
}

struct Sender {
    client: Client,
    url: String,
    clock: Arc<dyn Clock>,
    tally: Arc<Tally>,
    visitors: Visitors,
}

impl Sender {
    async fn run(mut self, stop: CancellationToken) {
        let mut due = Instant::now();
        for turn in 0_usize.. {
            let pace = self.tally.pace();
            let size = BATCHES[turn % BATCHES.len()].min(pace as usize);
            let clicks = self.clicks(size);
            if stop.run_until_cancelled(self.deliver(&clicks)).await.is_none() {
                return;
            }
            due += Duration::from_secs_f64(size as f64 / pace as f64);
            due = due.max(Instant::now() - BEHIND_MAX);
            if stop.run_until_cancelled(tokio::time::sleep_until(due)).await.is_none() {
                return;
            }
        }
    }

    fn clicks(&mut self, count: usize) -> Vec<Click> {
        let when = self.tally.when();
        let now = self.clock.now();
        (0..count).map(|_| self.visitors.next(now, when)).collect()
    }

    /// Sends a batch until it is acknowledged.
    async fn deliver(&self, clicks: &[Click]) {
        let body = body(clicks);
        while let Err(error) = self.post(body.clone()).await {
            self.tally.trouble.send_replace(Some(error.message().to_owned()));
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        let at = Instant::now();
        self.tally.acknowledged.fetch_add(clicks.len() as u64, Ordering::Relaxed);
        let click_id = clicks.last().map(|click| click.click_id.clone());
        self.tally.latest.send_replace(click_id.map(|click_id| Acknowledged { click_id, at }));
        self.tally.trouble.send_if_modified(|trouble| trouble.take().is_some());
    }

    async fn post(&self, body: String) -> Result<()> {
        let request = self.client.post(&self.url).header("content-type", "application/json").body(body);
        let response = request.send().await.map_err(|error| Error::unavailable(error.to_string()))?;
        let status = response.status();
        let text =
            response.text().await.map_err(|error| Error::unavailable(error.to_string())).context("read reply")?;
        if status.is_success() {
            return Ok(());
        }
        Err(Error::unavailable(format!("events refused with {status}: {text}")))
    }
}

/// One object, an array or NDJSON: all three ways in.
fn body(clicks: &[Click]) -> String {
    let text = |click| serde_json::to_string(click).expect("a click has only text and finite numbers");
    match clicks {
        [click] => text(click),
        few if few.len() <= ARRAY_MAX => format!("[{}]", few.iter().map(text).collect::<Vec<_>>().join(",")),
        many => many.iter().map(|click| text(click) + "\n").collect(),
    }
}
