//! The commands and options of `lacus`, and the help texts. What each command does is in [`crate::commands`].
//!
//! The doc comments here are what a user reads: they are a contract, and a snapshot test shows when one changes.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// The event lake in one binary: events in over HTTP, answers out in SQL.
#[derive(Debug, Parser)]
#[command(
    name = "lacus",
    version,
    max_term_width = 80,
    after_help = "\
Examples:
  lacus init shop && cd shop      make a project in the folder shop
  lacus up                        serve it
  lacus sql \"SELECT 1\"            ask a question
  lacus COMMAND --help            all about one command, with examples"
)]
pub(crate) struct Cli {
    /// The folder of the project
    #[arg(long, short = 'p', global = true, default_value = ".", value_name = "DIR", display_order = 100)]
    pub(crate) project: PathBuf,
    /// Write JSON for scripts instead of text for people
    #[arg(long, global = true, display_order = 101)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Init(Init),
    /// Serve the project of this folder until Ctrl-C
    ///
    /// Takes events at /v1/events over HTTP (HTTP/1.1 and HTTP/2 without TLS on one port), answers SQL over HTTP and the
    /// Postgres wire protocol. One process serves a project at a time.
    ///
    /// Settings are in lacus.toml; each can be set by an environment variable too: LACUS__SECTION__KEY. LACUS_LOG says
    /// what is logged to stderr.
    #[command(after_help = "\
Examples:
  lacus up
  lacus up --project shop
  LACUS__SERVER__HTTP=127.0.0.1:9000 lacus up
  LACUS_LOG=debug lacus up")]
    Up,
    Sql(Sql),
    /// Show how far each stream is: acknowledged, visible, committed
    ///
    /// Asks the server of this project when one runs, else opens the folder itself.
    #[command(after_help = "\
Examples:
  lacus status
  lacus status --json             one JSON object per stream")]
    Status,
    /// Look at the machine and the project, and say what is not well
    ///
    /// Without a running server the whole log is read, and the catalog and its files are verified. Nothing is changed but
    /// what a start would repair too.
    #[command(after_help = "\
Examples:
  lacus doctor
  lacus doctor --json             one JSON object per check")]
    Doctor,
    #[command(subcommand)]
    Table(Table),
    Demo(Demo),
}

/// Make a project: a folder with lacus.toml
///
/// Writes lacus.toml with every setting and its default, and .gitignore. Nothing is overwritten.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lacus init shop                 make the folder shop
  lacus init .                    make a project of this folder")]
pub(crate) struct Init {
    /// The folder; it is made when it is not there
    #[arg(default_value = ".")]
    pub(crate) dir: PathBuf,
}

/// Ask one question in SQL
///
/// Asks the server of this project when one runs, else opens the folder itself. Without a query, or with -, SQL is read
/// from stdin. For an interactive prompt use psql: lacus up says how.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lacus sql \"SELECT event_name, count(*) FROM clicks GROUP BY 1\"
  lacus sql --json \"SELECT * FROM clicks LIMIT 3\"      one JSON object per row
  lacus sql < queries/top-products.sql")]
pub(crate) struct Sql {
    /// The SQL, or - to read it from stdin
    pub(crate) query: Option<String>,
}

/// Act on a table
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  lacus table flush clicks        commit what came to table clicks")]
pub(crate) enum Table {
    /// Commit a table now: what SQL sees becomes files that every Iceberg reader sees
    #[command(after_help = "\
Examples:
  lacus table flush clicks")]
    Flush {
        /// The table
        table: String,
    },
}

/// See lacus at work: events come in, SQL answers
///
/// Serves the project in DIR, sends it made-up clickstream events over HTTP, shows what happens, answers the questions in
/// DIR/queries, and goes on until Ctrl-C. Run it again and it continues. A folder without a project gets the example
/// project.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lacus demo                      in the folder lacus-demo
  lacus demo examples/clickstream --seconds 30 --rate 5000
  lacus demo --exit               end after the answers")]
pub(crate) struct Demo {
    /// The folder of the project
    #[arg(default_value = "lacus-demo")]
    pub(crate) dir: PathBuf,
    /// Seconds of full rate before the questions
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) seconds: u64,
    /// Events sent per second until the questions
    #[arg(long, default_value_t = 3_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) rate: u64,
    /// End after the answers
    #[arg(long)]
    pub(crate) exit: bool,
}
