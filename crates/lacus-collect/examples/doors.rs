//! Serves all doors, with a fresh log and nothing behind it: `doors [ADDRESS]`. To try clients by hand, and to measure.
//!
//! Prints what a shell needs: `eval "$(doors 127.0.0.1:8484 | head -3)"`.
#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::sync::Arc;

use lacus_collect::{Collect, Grant, Keyring, NewKey, Schemas};
use lacus_core::{Clock, Context, Result, Settings, StreamName, SystemClock};
use lacus_stream::Log;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let directory = tempfile::tempdir().context("make a directory")?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let settings = Settings::load("", [])?;
    let log = Log::open(directory.path(), &settings.stream, Arc::clone(&clock))?;
    let keyring = Arc::new(Keyring::open(directory.path(), None, Arc::clone(&clock))?);
    let key = |grant| keyring.create(NewKey { name: "doors".to_owned(), grant, events_per_second: None });
    let (aws, web) = (key(Grant::Aws)?, key(Grant::Write { source: StreamName::new("web")? })?);
    let collect = Collect::new(log, Arc::new(settings), Schemas::default(), keyring, clock);
    let listener = TcpListener::bind(&address).await.context(format!("listen on {address}"))?;
    let address = listener.local_addr().context("ask for the address")?;
    println!("export AWS_ENDPOINT_URL=http://{address} AWS_DEFAULT_REGION=eu-central-1");
    println!("export AWS_ACCESS_KEY_ID={} AWS_SECRET_ACCESS_KEY={}", aws.info.id, aws.secret);
    println!("export LACUS_WRITE_KEY={}", web.secret);
    println!("# serving from {}", directory.path().display());
    axum::serve(listener, lacus_collect::router(collect)).await.context("serve")
}
