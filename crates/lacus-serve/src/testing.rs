//! A whole lake behind real sockets: log, deliveries, tables, engine, servers.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use lacus_core::{Clock, NewRecord, Settings, StreamName, SystemClock, settings};
use lacus_flow::Deliveries;
use lacus_lake::Lake;
use lacus_query::Engine;
use lacus_stream::{Log, MessageIds, NewStream};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::engines::Engines;
use crate::http::{Served, router};
use crate::postgres::Door;
use crate::users::Users;

/// Ends with the test.
pub(crate) struct TestServer {
    pub(crate) postgres: SocketAddr,
    pub(crate) router: axum::Router,
    pub(crate) shutdown: CancellationToken,
    pub(crate) deliveries: Deliveries,
    pub(crate) users: Arc<Users>,
    pub(crate) log: Log,
    _directory: TempDir,
}

impl TestServer {
    pub(crate) async fn start() -> Self {
        Self::start_with(&settings::Query::default()).await
    }

    pub(crate) async fn start_with(query: &settings::Query) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let log =
            Log::open(&directory.path().join("stream"), &settings::Stream::default(), Arc::clone(&clock)).unwrap();
        let lake = Arc::new(Lake::open(directory.path(), Arc::clone(&clock)).await.unwrap());
        let defaults = Settings::default();
        let ids = Arc::new(MessageIds::open(&directory.path().join("ids")).unwrap());
        let deliveries =
            Deliveries::start(log.clone(), Arc::clone(&lake), ids, &defaults, Arc::clone(&clock)).await.unwrap();
        let engine = Engine::new(Arc::clone(&lake), Arc::new(deliveries.clone()), query).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let postgres = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let users = Arc::new(Users::open(directory.path(), Arc::clone(&clock)).unwrap());
        let door =
            Door::open(&settings::Postgres::default(), directory.path(), Arc::clone(&users), postgres, true).unwrap();
        let (asked, door) = (engine.clone(), Arc::new(door));
        tokio::spawn(crate::postgres::serve(listener, asked, deliveries.clone(), door, 16, shutdown.clone()));
        let engines = Arc::new(Engines::new(|_| None, || false, Arc::clone(&clock)));
        let served = Served {
            engine,
            deliveries: deliveries.clone(),
            lake,
            log: log.clone(),
            users: Arc::clone(&users),
            engines,
            address: None,
            clock,
        };
        Self { postgres, router: router(served), shutdown, deliveries, users, log, _directory: directory }
    }

    /// Sends events, one on each line, and waits until they are visible.
    pub(crate) async fn send(&self, source: &str, events: &str) {
        self.acknowledge(source, events).await;
        self.deliveries.caught_up().await.unwrap();
    }

    /// Sends events, and does not wait until tables have them.
    pub(crate) async fn acknowledge(&self, source: &str, events: &str) {
        let stream = StreamName::new(source).unwrap();
        self.log.create_stream(&stream, &NewStream::of_shards(1)).unwrap();
        let records: Vec<NewRecord> =
            events.lines().map(|line| NewRecord::of(Bytes::copy_from_slice(line.trim().as_bytes()))).collect();
        self.log.append(&stream, records).await.unwrap();
    }

    /// The events that most tests ask about.
    pub(crate) async fn with_clicks() -> Self {
        let server = Self::start().await;
        server.send("clicks", CLICKS).await;
        server
    }
}

pub(crate) const CLICKS: &str = r#"{"event_name":"Search","user_id":1,"additional_data":{"query":"shoes"}}
{"event_name":"Purchase","user_id":2,"additional_data":{"price":9.5,"items":[{"id":7,"tags":["a","b"]}]},"tags":["x","y z"],"ok":true}
{"event_name":"Purchase","user_id":1,"additional_data":{"price":2.5}}"#;
