//! The composition root: the only place that reads the environment, builds the parts, binds sockets and hands them down.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use lacus_collect::MasterKey;
use lacus_core::{Clock, Context, Error, Kind, Result, SystemClock};
use tokio::net::TcpListener;
use tracing::{debug, warn};
use tracing_subscriber::EnvFilter;

use crate::cli::{Cli, Command, Table};
use crate::commands;
use crate::project::Project;
use crate::terminal::{Terminal, is_closed_pipe};

/// The log filter when neither `LACUS_LOG` nor `RUST_LOG` is set. Warnings of h2 are about clients, not about lacus.
const LOG_DEFAULT: &str = "warn,h2=error,lacus=info,lacus_collect=info,lacus_flow=info,lacus_lake=info,lacus_query=info,lacus_serve=info,lacus_stream=info";

/// What every command is handed: where it runs and whom it talks to.
#[derive(Clone)]
pub(crate) struct Invocation {
    /// The folder of the project.
    pub(crate) folder: PathBuf,
    /// Whether scripts read the output.
    pub(crate) json: bool,
    /// Where to write.
    pub(crate) terminal: Terminal,
    /// The clock.
    pub(crate) clock: Arc<dyn Clock>,
    /// How this program is called from here: `lacus`, or its path when it is not on the search path.
    pub(crate) program: String,
    environment: Arc<[(String, String)]>,
}

/// The variable with the key that encrypts secrets on disk.
const MASTER_KEY: &str = "LACUS_MASTER_KEY";

/// Runs the command that was asked for, and says with its exit code how it went.
pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(usage) => {
            // If nobody can be told, the exit code still tells.
            drop(usage.print());
            return ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(2));
        }
    };
    let environment = environment();
    let terminal = Terminal::new(variable(&environment, "NO_COLOR").is_none());
    log_to_stderr(&environment, &cli.command);
    let invocation = Invocation {
        folder: cli.project,
        json: cli.json,
        terminal,
        clock: Arc::new(SystemClock),
        program: program(&environment),
        environment: environment.into(),
    };
    let result = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(lacus_query::STACK_BYTES)
        .build()
        .context("start the runtime")
        .and_then(|runtime| runtime.block_on(Box::pin(dispatch(cli.command, invocation))));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            terminal.report(&error);
            ExitCode::from(error.kind().exit_code())
        }
    }
}

async fn dispatch(command: Command, invocation: Invocation) -> Result<()> {
    match command {
        Command::Init(init) => commands::init::run(&init.dir, &invocation),
        Command::Up => commands::up::run(&invocation).await,
        Command::Sql(sql) => commands::sql::run(sql.query, sql.cost, &invocation).await,
        Command::Status => commands::status::run(&invocation).await,
        Command::Doctor => commands::doctor::run(&invocation).await,
        // It blocks on disks, and perhaps on PostgreSQL.
        Command::Backup(backup) => tokio::task::block_in_place(|| commands::backup::run(&backup, &invocation)),
        Command::Key(key) => commands::key::run(key, &invocation).await,
        Command::User(user) => commands::user::run(user, &invocation).await,
        Command::Stream(stream) => commands::stream::run(stream, &invocation).await,
        Command::Table(Table::Show { table }) => commands::table::show(&table, &invocation).await,
        Command::Table(Table::Flush { table }) => commands::table::flush(&table, &invocation).await,
        Command::Table(Table::Tag { table, tag, snapshot }) => {
            commands::history::tag(&table, &tag, snapshot, &invocation).await
        }
        Command::Table(Table::Untag { table, tag }) => commands::history::untag(&table, &tag, &invocation).await,
        Command::Table(Table::Rollback { table, to }) => commands::history::rollback(&table, &to, &invocation).await,
        Command::Schema(schema) => commands::schema::run(schema, &invocation).await,
        Command::Erase(erase) => commands::erase::run(erase, &invocation).await,
        Command::Replay(asked) => commands::misfits::replay(asked, &invocation).await,
        Command::Demo(demo) => crate::demo::run(demo, &invocation).await,
    }
}

impl Invocation {
    /// The project of the folder this runs in.
    ///
    /// # Errors
    /// `NotFound` when there is none, `Invalid` when its settings can't be.
    pub(crate) fn project(&self) -> Result<Project> {
        let master_key = variable(&self.environment, MASTER_KEY).map(MasterKey::parse).transpose();
        let master_key = master_key.context(MASTER_KEY)?;
        Project::open(&self.folder, self.environment.iter().cloned(), master_key)
    }

    /// The same, in another folder.
    pub(crate) fn in_folder(&self, folder: &Path) -> Self {
        Self { folder: folder.to_owned(), ..self.clone() }
    }

    /// A command line that runs `command` for this folder.
    pub(crate) fn command_line(&self, command: &str) -> String {
        if self.folder == Path::new(".") {
            return format!("{} {command}", self.program);
        }
        format!("{} -p {} {command}", self.program, self.folder.display())
    }
}

/// Listens on `address`.
///
/// # Errors
/// `Unavailable` when another program listens there, with what to do about it.
pub(crate) async fn bind(address: SocketAddr, setting: &str) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let failed = Error::new(Kind::Unavailable, format!("could not listen on {address}: {error}"));
        let variable = setting.replace('.', "__").to_uppercase();
        failed.with_source(error).with_hint(format!(
            "another program may use this port: stop it, or set another one with {setting} in lacus.toml or LACUS__{variable}={}:0 (0 takes a free port)",
            address.ip()
        ))
    })
}

/// Raises the limit of open files and sockets to what the system allows without privileges: a shell or a service manager
/// often gives 1,024.
pub(crate) fn raise_file_limit() {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(files) => debug!(files, "files and sockets that may be open"),
        Err(error) => warn!(%error, "could not raise the limit of open files"),
    }
}

/// The environment as text. A variable that is no text can't be a setting of ours.
fn environment() -> Vec<(String, String)> {
    let text = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
    std::env::vars_os().filter_map(text).collect()
}

fn log_to_stderr(environment: &[(String, String)], command: &Command) {
    let default = if matches!(command, Command::Up) { LOG_DEFAULT } else { "warn" };
    let asked = variable(environment, "LACUS_LOG").or_else(|| variable(environment, "RUST_LOG"));
    // Below warnings this library logs the signature that a request should have had; and it logs mistakes of clients as
    // errors.
    let quiet = "s3s=off".parse().expect("it is a directive");
    let filter = EnvFilter::new(asked.unwrap_or(default)).add_directive(quiet);
    let colour = std::io::stderr().is_terminal() && variable(environment, "NO_COLOR").is_none();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colour).with_writer(std::io::stderr).init();
}

/// A variable that is set and not empty.
fn variable<'a>(environment: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = environment.iter().find(|(key, _)| key == name);
    found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
}

/// How this program was called, so that what we tell a user to type works when typed.
fn program(environment: &[(String, String)]) -> String {
    let Ok(path) = std::env::current_exe() else {
        return "lacus".to_owned();
    };
    let searched = variable(environment, "PATH").unwrap_or_default();
    if path.parent().is_some_and(|folder| std::env::split_paths(searched).any(|searched| searched == folder)) {
        return "lacus".to_owned();
    }
    let below = |folder: &Path, written: &str| Some(Path::new(written).join(path.strip_prefix(folder).ok()?));
    let here = std::env::current_dir().ok().and_then(|here| below(&here, "."));
    let shortest = here.or_else(|| below(Path::new(variable(environment, "HOME")?), "~"));
    shortest.unwrap_or(path.clone()).display().to_string()
}
