//! `lacus up`: serves the project until it is asked to stop.

use lacus_core::{Context, Result};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::lock::{Attempt, Lock};
use crate::run::Invocation;
use crate::server::{Server, Sockets};

/// Serves until SIGINT or SIGTERM.
pub(crate) async fn run(invocation: &Invocation) -> Result<()> {
    let project = invocation.project()?;
    let stop = stop_signal()?;
    let lock = match Lock::attempt(&project)? {
        Attempt::Taken(lock) => lock,
        Attempt::Held(holder) => return Err(holder.refusal()),
    };
    let sockets = Sockets::bind(&project).await?;
    let server = Server::start(&project, lock, sockets, &invocation.clock).await?;
    info!(http = %server.address.http, postgres = %server.address.postgres, "serving");
    let greeted = greet(invocation, &server, project.settings.server.trust_loopback);
    if greeted.is_ok() {
        stop.cancelled().await;
    }
    info!("stopping");
    server.stop().await?;
    info!("stopped");
    greeted
}

/// Fires when the process is asked to stop.
///
/// # Errors
/// If signals can't be received.
pub(crate) fn stop_signal() -> Result<CancellationToken> {
    let stop = CancellationToken::new();
    for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
        let mut signal = signal(kind).context("receive signals")?;
        let stop = stop.clone();
        tokio::spawn(async move {
            // Ends after the first; a second one finds the stop under way, which has its own bound.
            if signal.recv().await.is_some() {
                stop.cancel();
            }
        });
    }
    Ok(stop)
}

fn greet(invocation: &Invocation, server: &Server, takes_events: bool) -> Result<()> {
    let (http, postgres) = (server.address.http, server.address.postgres);
    if invocation.json {
        let line = json!({"pid": server.address.pid, "http": http, "postgres": postgres});
        return invocation.terminal.say(&line.to_string());
    }
    let terminal = invocation.terminal;
    let say = |what: &str, how: &str| terminal.say(&format!("  {what:<9} {how}"));
    let folder = std::fs::canonicalize(&invocation.folder).context("look up the folder of the project")?;
    terminal.say(&terminal.bold(&format!("lacus serves {}; Ctrl-C stops it", folder.display())))?;
    if takes_events {
        say("send", &format!("curl -d '{{\"hello\":\"world\"}}' 'http://{http}/v1/events?source=greetings'"))?;
    }
    say("ask", &invocation.command_line("sql \"SELECT * FROM greetings\""))?;
    let users = server.parts().users.list();
    let user = users.first().map_or("lacus", |user| user.name.as_str());
    say("psql", &format!("psql -h {} -p {} -U {user} lake", postgres.ip(), postgres.port()))?;
    Ok(())
}
