//! `lacus demo`: a project at work. A real server in this process, real HTTP from made-up visitors, real questions.
//!
//! Nothing shown is made up: counts are what senders have a 200 for and what SQL answers; freshness is the time from that
//! 200 until a query found the event.

mod freshness;
mod questions;
mod senders;
mod view;
mod visitors;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lacus_core::units::human_count;
use lacus_core::{Context, Kind, Result, StreamName, settings};
use lacus_lake::Lake;
use lacus_stream::StreamInfo;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::cli::Demo;
use crate::commands::init::write_new;
use crate::commands::sql::point_at;
use crate::commands::up::stop_signal;
use crate::demo::freshness::Freshness;
use crate::demo::senders::Tally;
use crate::demo::view::{Frame, View};
use crate::door::Door;
use crate::lock::{Attempt, Lock, ServerAddress};
use crate::project::SETTINGS_FILE;
use crate::run::Invocation;
use crate::server::{Server, Sockets};

/// The source and table of the example project.
const SOURCE: &str = "clicks";
/// Events per second after the questions.
const LIVE_RATE: u64 = 40;
/// The view is drawn this often.
const DRAW_EVERY: Duration = Duration::from_millis(200);
/// Without a terminal, a line is printed this often …
const LINE_EVERY: Duration = Duration::from_secs(2);
/// … and this often once the questions are answered.
const QUIET_LINE_EVERY: Duration = Duration::from_secs(60);
/// Rates kept: one each second.
const RATES_MAX: usize = 60;
/// Rows are counted this often.
const COUNT_EVERY: Duration = Duration::from_millis(500);
/// The settings and questions of `examples/clickstream`, for a folder that has no project.
const EXAMPLE: [(&str, &str); 5] = [
    ("queries/1-events-by-name.sql", include_str!("../../../examples/clickstream/queries/1-events-by-name.sql")),
    ("queries/2-revenue-per-hour.sql", include_str!("../../../examples/clickstream/queries/2-revenue-per-hour.sql")),
    ("queries/3-top-products.sql", include_str!("../../../examples/clickstream/queries/3-top-products.sql")),
    ("queries/4-engaged-users.sql", include_str!("../../../examples/clickstream/queries/4-engaged-users.sql")),
    // Last: what has it is a project.
    (SETTINGS_FILE, include_str!("../../../examples/clickstream/lacus.toml")),
];

/// Serves the project in `demo.dir`, sends it events, asks the questions, and goes on until Ctrl-C.
pub(crate) async fn run(demo: Demo, invocation: &Invocation) -> Result<()> {
    let invocation = invocation.in_folder(&demo.dir);
    make_project(&demo.dir)?;
    let project = invocation.project()?;
    let lock = match Lock::attempt(&project)? {
        Attempt::Taken(lock) => lock,
        Attempt::Held(holder) => return Err(holder.refusal()),
    };
    let stop = stop_signal()?;
    let sockets = Sockets::bind_or_any(&project).await?;
    let server = Server::start(&project, lock, sockets, &invocation.clock).await?;
    let shown = match Show::begin(&server, &demo, &invocation, &stop) {
        Ok(show) => show.go_on(&demo, &stop).await,
        Err(error) => Err(error),
    };
    let total = acknowledged(&server);
    server.stop().await?;
    shown?;
    invocation.terminal.say(&format!(
        "\nStopped. {} events are in {}; run it again and it continues.",
        human_count(total),
        project.data().display()
    ))
}

/// Writes the example project into a folder that has none.
fn make_project(folder: &Path) -> Result<()> {
    if folder.join(SETTINGS_FILE).try_exists().context("look for lacus.toml")? {
        return Ok(());
    }
    std::fs::create_dir_all(folder.join("queries")).context(format_args!("make the folder {}", folder.display()))?;
    for (name, text) in EXAMPLE {
        write_new(&folder.join(name), text)?;
    }
    write_new(&folder.join(".gitignore"), ".lacus/\n").map(|_| ())
}

/// A running demo: what sends, what measures, and what is shown of it.
struct Show<'a> {
    invocation: &'a Invocation,
    lake: Arc<Lake>,
    address: ServerAddress,
    door: Door,
    tally: Arc<Tally>,
    earlier: u64,
    rows: watch::Receiver<u64>,
    freshness: watch::Receiver<Option<Freshness>>,
    view: View,
    begun: Instant,
    until: Duration,
    /// When a rate was taken last, and of how many events.
    rated: (Instant, u64),
    per_second: Vec<u64>,
    tasks: TaskTracker,
    stop_tasks: CancellationToken,
}

impl<'a> Show<'a> {
    /// Starts sending and measuring.
    fn begin(server: &Server, demo: &Demo, invocation: &'a Invocation, stop: &CancellationToken) -> Result<Self> {
        let base = format!("http://{}", server.address.http);
        let door = Door::to_server(&server.address)?;
        let earlier = acknowledged(server);
        greet(server, &invocation.project()?.settings.server, earlier, invocation)?;
        let (tasks, stop_tasks) = (TaskTracker::new(), stop.child_token());
        let tally = Tally::new(demo.rate);
        let url = format!("{base}/v1/events?source={SOURCE}");
        senders::start(&url, &invocation.clock, &tally, &stop_tasks, &tasks)?;
        let (count, rows) = watch::channel(0);
        tasks.spawn(count_rows(Door::to_server(&server.address)?, count, stop_tasks.clone()));
        let (measured, freshness) = watch::channel(None);
        let measuring = Door::to_server(&server.address)?;
        tasks.spawn(freshness::measure(measuring, SOURCE, rows.clone(), tally.latest(), measured, stop_tasks.clone()));
        tasks.close();
        Ok(Self {
            invocation,
            lake: Arc::clone(&server.parts().lake),
            address: server.address.clone(),
            door,
            tally,
            earlier,
            rows,
            freshness,
            view: View::new(invocation.terminal),
            begun: Instant::now(),
            until: Duration::from_secs(demo.seconds),
            rated: (Instant::now(), 0),
            per_second: Vec::new(),
            tasks,
            stop_tasks,
        })
    }

    /// Shows it all, and ends what sends and measures.
    async fn go_on(mut self, demo: &Demo, stop: &CancellationToken) -> Result<()> {
        let shown = self.acts(demo, stop).await;
        self.stop_tasks.cancel();
        self.tasks.wait().await;
        shown
    }

    /// Full rate, the questions, then on and on.
    async fn acts(&mut self, demo: &Demo, stop: &CancellationToken) -> Result<()> {
        // Half way some rows become files, so that the answers come from files and memory together.
        self.watch(Some(self.until / 2), LINE_EVERY, stop).await?;
        if !stop.is_cancelled() {
            self.door.flush(&StreamName::new(SOURCE)?.table()).await.context("commit")?;
        }
        self.watch(Some(self.until), LINE_EVERY, stop).await?;
        if stop.is_cancelled() {
            return Ok(());
        }
        self.tally.go_live(LIVE_RATE);
        self.view.keep();
        self.answer_questions().await?;
        if demo.exit {
            return Ok(());
        }
        self.say_how_to_go_on()?;
        self.watch(None, QUIET_LINE_EVERY, stop).await
    }

    /// Draws what happens, until a time after the beginning or `stop`.
    async fn watch(&mut self, until: Option<Duration>, line_every: Duration, stop: &CancellationToken) -> Result<()> {
        let period = if self.invocation.terminal.is_live() { DRAW_EVERY } else { line_every };
        let mut due = tokio::time::interval_at(Instant::now() + period, period);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let end = self.begun + until.unwrap_or(Duration::from_secs(u64::from(u32::MAX)));
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep_until(end) => break,
                _ = due.tick() => {}
            }
            let frame = self.frame();
            self.view.draw(&frame)?;
        }
        if self.invocation.terminal.is_live() {
            let last = self.frame();
            self.view.draw(&last)?;
        }
        Ok(())
    }

    fn frame(&mut self) -> Frame {
        let sent = self.tally.acknowledged();
        let passed = self.rated.0.elapsed();
        if passed >= Duration::from_secs(1) {
            let rate = (sent - self.rated.1) as f64 / passed.as_secs_f64();
            self.per_second.push(rate.round() as u64);
            self.per_second.drain(..self.per_second.len().saturating_sub(RATES_MAX));
            self.rated = (Instant::now(), sent);
        }
        let lake = self.lake.stats();
        Frame {
            elapsed: self.begun.elapsed(),
            until: self.until,
            acknowledged: self.earlier + sent,
            per_second: self.per_second.clone(),
            queryable: *self.rows.borrow(),
            freshness: self.freshness.borrow().map(|found| (found.median, found.p99)),
            committed: lake.rows,
            files: lake.files,
            file_bytes: lake.bytes,
            raw_bytes: lake.raw_bytes,
            trouble: self.tally.trouble(),
        }
    }

    async fn answer_questions(&self) -> Result<()> {
        let terminal = self.invocation.terminal;
        for question in questions::of_project(&self.invocation.folder)? {
            let answer = self.door.ask(&question.sql).await.map_err(|refused| point_at(&question.sql, refused))?;
            terminal.say(&format!("\n{}", terminal.bold(&question.title)))?;
            terminal.write(&answer.draw_with_bars(terminal.width()))?;
            terminal.say(&terminal.dim(&answer.footer()))?;
        }
        Ok(())
    }

    fn say_how_to_go_on(&self) -> Result<()> {
        let terminal = self.invocation.terminal;
        let address = &self.address;
        let sql = "SELECT count(*) FROM clicks";
        terminal.say(&format!("\n{}", terminal.bold("Your turn: it goes on until Ctrl-C.")))?;
        terminal.say(&format!("  psql -h {} -p {} -U lacus lake", address.postgres.ip(), address.postgres.port()))?;
        terminal.say(&format!("  curl -d '{sql}' http://{}/v1/sql", address.http))?;
        terminal.say(&format!("  {}\n", self.invocation.command_line(&format!("sql \"{sql}\""))))
    }
}

/// Counts the rows that SQL sees, again and again.
async fn count_rows(door: Door, rows: watch::Sender<u64>, stop: CancellationToken) {
    let sql = format!("SELECT count(*) FROM {SOURCE}");
    while let Some(counted) = stop.run_until_cancelled(door.count(&sql)).await {
        match counted {
            Ok(count) => drop(rows.send_replace(count)),
            // The first event makes the table.
            Err(error) if error.kind() == Kind::NotFound => {}
            Err(error) => warn!(%error, "could not count rows"),
        }
        tokio::time::sleep(COUNT_EVERY).await;
    }
}

/// Events that were acknowledged, in all runs.
fn acknowledged(server: &Server) -> u64 {
    let is_ours = |stream: &StreamInfo| stream.name.as_str() == SOURCE;
    server.parts().log.streams().iter().find(|stream| is_ours(stream)).map_or(0, |stream| stream.end.total())
}

fn greet(server: &Server, wanted: &settings::Server, earlier: u64, invocation: &Invocation) -> Result<()> {
    let terminal = invocation.terminal;
    let (http, postgres) = (server.address.http, server.address.postgres);
    terminal.say(&format!("{} {}", terminal.bold("lacus demo"), invocation.folder.display()))?;
    let taken = |wanted: SocketAddr, got: SocketAddr| {
        let other = wanted.port() != 0 && wanted != got;
        if other { format!(" ({} is taken)", wanted.port()) } else { String::new() }
    };
    terminal.say(&format!("  HTTP      {http}{}", taken(wanted.http, http)))?;
    terminal.say(&format!("  Postgres  {postgres}{}", taken(wanted.postgres, postgres)))?;
    if earlier > 0 {
        terminal.say(&format!("  {} events of earlier runs are still here; it continues", human_count(earlier)))?;
    }
    terminal.say("")
}
