//! An open project, and one that is served: its parts built in order, and closed in the opposite order.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use lacus_collect::{Collect, Keyring, Schemas};
use lacus_core::{Clock, Context, Kind, Result};
use lacus_flow::Deliveries;
use lacus_lake::{Lake, Outside};
use lacus_query::Engine;
use lacus_serve::engines::Engines;
use lacus_serve::http::{Pass, Served};
use lacus_serve::postgres::Door;
use lacus_serve::users::Users;
use lacus_stream::{Log, MessageIds};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::lock::{Lock, ServerAddress};
use crate::project::Project;
use crate::{http, metrics, run};

/// The HTTP interface, for clients that read it. `tests/it/openapi.rs` checks the server against it.
const OPENAPI: &str = include_str!("../../../docs/reference/openapi.json");

/// An open project. Only the holder of its lock can have one.
pub(crate) struct Parts {
    /// The durable log.
    pub(crate) log: Log,
    /// The tables.
    pub(crate) lake: Arc<Lake>,
    /// The deliveries from the log to the tables.
    pub(crate) deliveries: Deliveries,
    /// Every HTTP route.
    pub(crate) router: Router,
    /// Who may ask over the Postgres protocol.
    pub(crate) users: Arc<Users>,
    engine: Engine,
    /// What commands present where the loopback is not trusted.
    pass: Option<Pass>,
    lock: Lock,
}

/// The sockets of a server.
pub(crate) struct Sockets {
    http: TcpListener,
    postgres: TcpListener,
}

/// A project that is served.
pub(crate) struct Server {
    /// Where.
    pub(crate) address: ServerAddress,
    parts: Parts,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Parts {
    /// Opens the log, the lake and the deliveries of a project.
    ///
    /// # Errors
    /// If one of them can't be opened.
    pub(crate) async fn open(project: &Project, lock: Lock, clock: &Arc<dyn Clock>) -> Result<Self> {
        let settings = &project.settings;
        let schemas = Schemas::load(settings, project.root())?;
        let log = Log::open(&project.stream(), &settings.stream, Arc::clone(clock))?;
        let mut lake = Lake::open_as(&project.data(), &settings.lake, Arc::clone(clock)).await?;
        lake.set_layouts(settings.tables()?);
        lake.keep_free(settings.stream.disk_reserve);
        lake.set_outside(Outside::open(project.root(), &settings.lake, &settings.query)?);
        let lake = Arc::new(lake);
        let ids = Arc::new(MessageIds::open(&project.message_ids())?);
        let (known, tables) = (Arc::clone(&ids), Arc::clone(&lake));
        let deliveries = Deliveries::start(log.clone(), tables, known, settings, Arc::clone(clock)).await?;
        let engine = Engine::new(Arc::clone(&lake), Arc::new(deliveries.clone()), &settings.query)?;
        let users = Arc::new(Users::open(&project.data(), Arc::clone(clock))?);
        let keyring = Arc::new(Keyring::open(&project.data(), project.master_key.clone(), Arc::clone(clock))?);
        let engines = Arc::new(engines(&keyring, clock));
        let collect = Collect::new(log.clone(), Arc::new(settings.clone()), schemas, keyring, Arc::clone(clock));
        let numbers = metrics::Sources {
            collect: collect.clone(),
            log: log.clone(),
            deliveries: deliveries.clone(),
            ids,
            lake: Arc::clone(&lake),
        };
        let router = lacus_collect::router(collect)
            .merge(metrics::router(numbers))
            .route("/openapi.json", get(async || ([(CONTENT_TYPE, "application/json")], OPENAPI)))
            .merge(lacus_serve::http::router(Served {
                engine: engine.clone(),
                deliveries: deliveries.clone(),
                lake: Arc::clone(&lake),
                log: log.clone(),
                users: Arc::clone(&users),
                engines: Arc::clone(&engines),
                address: settings.lake.address.clone(),
                clock: Arc::clone(clock),
            }))
            .method_not_allowed_fallback(lacus_collect::wrong_method)
            .fallback(lacus_collect::not_found);
        let router = match lake.served() {
            Some(served) => lacus_serve::http::with_files(router, served, &engines),
            None => router,
        };
        let pass = if settings.server.trust_loopback { None } else { Some(Pass::new()?) };
        let router = http::open_to_others(router, settings.lake.bucket.as_deref(), pass.clone());
        Ok(Self { log, lake, deliveries, router, users, engine, pass, lock })
    }

    /// Ends the deliveries and closes the log. The lock is free after it.
    ///
    /// # Errors
    /// If the last write of the log fails.
    pub(crate) async fn close(self) -> Result<()> {
        self.deliveries.stop().await;
        self.log.close().await.context("close the log")?;
        self.lock.withdraw()
    }
}

impl Sockets {
    /// Listens where the settings say.
    ///
    /// # Errors
    /// If another program listens there.
    pub(crate) async fn bind(project: &Project) -> Result<Self> {
        let server = &project.settings.server;
        Ok(Self {
            http: run::bind(server.http, "server.http").await?,
            postgres: run::bind(server.postgres, "server.postgres").await?,
        })
    }

    /// The same, but on any free port where another program has the one of the settings.
    ///
    /// # Errors
    /// If there is no free port either.
    pub(crate) async fn bind_or_any(project: &Project) -> Result<Self> {
        let server = &project.settings.server;
        Ok(Self {
            http: bind_or_any(server.http, "server.http").await?,
            postgres: bind_or_any(server.postgres, "server.postgres").await?,
        })
    }
}

impl Server {
    /// Opens the project and serves it on `sockets`.
    ///
    /// # Errors
    /// If the project can't be opened, or if anybody could come in by Postgres where others reach it.
    pub(crate) async fn start(project: &Project, lock: Lock, sockets: Sockets, clock: &Arc<dyn Clock>) -> Result<Self> {
        project.settings.check_secrets()?;
        run::raise_file_limit();
        let (http, postgres) = (sockets.http.local_addr()?, sockets.postgres.local_addr()?);
        let parts = Parts::open(project, lock, clock).await?;
        let pass = parts.pass.as_ref().map(|pass| pass.reveal().to_owned());
        let address = ServerAddress { pid: std::process::id(), http, postgres, pass };
        let users = Arc::clone(&parts.users);
        let is_only_here = project.settings.server.is_only_here(postgres);
        let door = match Door::open(&project.settings.postgres, project.root(), users, postgres, is_only_here) {
            Ok(door) => Arc::new(door),
            Err(error) => {
                parts.close().await?;
                return Err(error);
            }
        };
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let connections_max = project.settings.server.connections_max;
        tasks.spawn(http::serve(sockets.http, parts.router.clone(), connections_max, stop.clone()));
        tasks.spawn(lacus_serve::postgres::serve(
            sockets.postgres,
            parts.engine.clone(),
            parts.deliveries.clone(),
            door,
            connections_max,
            stop.clone(),
        ));
        if let Some(glue) = parts.lake.glue().cloned() {
            let stop = stop.clone();
            tasks.spawn(async move { stop.run_until_cancelled(glue.run()).await });
        }
        tasks.close();
        parts.lock.announce(&address)?;
        Ok(Self { address, parts, stop, tasks })
    }

    /// The open project.
    pub(crate) fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Takes no more requests, lets running ones finish for a bounded time, and closes the project.
    ///
    /// # Errors
    /// If the log can't be closed.
    pub(crate) async fn stop(self) -> Result<()> {
        self.stop.cancel();
        self.tasks.wait().await;
        self.parts.close().await
    }
}

/// The keys of engines, as the keyring has them.
fn engines(keyring: &Arc<Keyring>, clock: &Arc<dyn Clock>) -> Engines {
    let (secrets, keys) = (Arc::clone(keyring), Arc::clone(keyring));
    Engines::new(move |id| secrets.lake_secret(id), move || keys.has_lake_keys(), Arc::clone(clock))
}

async fn bind_or_any(address: SocketAddr, setting: &str) -> Result<TcpListener> {
    match run::bind(address, setting).await {
        Err(error) if error.kind() == Kind::Unavailable => run::bind(SocketAddr::new(address.ip(), 0), setting).await,
        bound => bound,
    }
}
