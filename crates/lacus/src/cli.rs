//! The commands and options of `lacus`, and the help texts. What each command does is in [`crate::commands`].
//!
//! The doc comments here are what a user reads: they are a contract, and a snapshot test shows when one changes.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand};
use lacus_core::units::{ByteSize, Millis};

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
    Backup(Backup),
    #[command(subcommand)]
    Key(Key),
    #[command(subcommand)]
    User(User),
    #[command(subcommand)]
    Stream(Stream),
    #[command(subcommand)]
    Table(Table),
    #[command(subcommand)]
    Schema(Schema),
    Erase(Erase),
    Replay(Replay),
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
  lacus sql --json --cost < queries/top-products.sql 2> cost.json
  lacus sql < queries/top-products.sql")]
pub(crate) struct Sql {
    /// The SQL, or - to read it from stdin
    pub(crate) query: Option<String>,
    /// With --json: what the question cost as one JSON object on stderr
    ///
    /// Rows, bytes and files read and skipped, and milliseconds. Without --json they are below the answer.
    #[arg(long)]
    pub(crate) cost: bool,
}

/// Take a copy of the project, while it is served or while it is not
///
/// The copy has every event that was acknowledged before the backup began: log, tables, raw events, settings and keys as of
/// one moment. Files are hard links where the folder is on the disk of the project, which takes moments and no space; else
/// they are copied. The folder is a project of its own: it can be served as it is, or be put in the place of a lost one.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lacus backup backups/monday
  lacus backup /mnt/other-disk/monday
  lacus backup backups/monday --copy      copies, no links
  lacus -p backups/monday doctor          verify it
  lacus -p backups/monday up              serve it")]
pub(crate) struct Backup {
    /// The folder, which must not be there yet
    pub(crate) folder: PathBuf,
    /// Copy every file, so that the backup shares nothing with the project
    #[arg(long)]
    pub(crate) copy: bool,
}

/// Make and revoke the keys of senders and engines
///
/// A write key sends the events of one source and nothing else: it may stand in a browser. An AWS key lets AWS clients sign
/// their requests. A lake key opens the Iceberg REST catalog to engines: once there is one, the catalog asks all of them
/// for it. Several keys may be for one source: hand out a new one, then revoke the old one.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  lacus key create --source web
  lacus key create --aws
  lacus key create --lake
  lacus key list")]
pub(crate) enum Key {
    Create(CreateKey),
    /// Show all keys, without their secrets
    #[command(after_help = "\
Examples:
  lacus key list
  lacus key list --json           one JSON object per key")]
    List,
    /// Take a key away: requests with it are refused from now on
    #[command(after_help = "\
Examples:
  lacus key revoke key_4fJq0ZtYwB1mXc7R")]
    Revoke {
        /// The id of the key, as lacus key list shows it
        id: String,
    },
}

/// Make a key; its secret is shown this once
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lacus key create --source web              for a Segment SDK, or over HTTP
  lacus key create --source web --name \"web site\" --events-per-second 500
  lacus key create --aws --name producers    for Kinesis and Firehose clients
  lacus key create --lake --name notebooks   for pyiceberg, DuckDB and others
  lacus key create --aws --json              for scripts")]
#[group(skip)]
#[command(group(clap::ArgGroup::new("grant").required(true)))]
pub(crate) struct CreateKey {
    /// A write key for this source
    #[arg(long, group = "grant", value_name = "SOURCE")]
    pub(crate) source: Option<String>,
    /// An access key for AWS clients
    #[arg(long, group = "grant")]
    pub(crate) aws: bool,
    /// A key for engines that read and write tables, from other machines, too
    #[arg(long, group = "grant")]
    pub(crate) lake: bool,
    /// What people call it
    #[arg(long, default_value = "")]
    pub(crate) name: String,
    /// The most events per second, on average over a few seconds
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) events_per_second: Option<u32>,
}

/// Make and drop the users who ask over the Postgres protocol
///
/// By default everybody on this machine may ask while there is no user, and once there is one, a name and a password
/// are needed; the setting postgres.passwords is for other ways. What changes holds for the next who connects, and
/// sessions that have begun go on. Kept of a password is what PostgreSQL keeps: a SCRAM-SHA-256 verifier.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  lacus user create ada
  lacus user list
  lacus user drop ada")]
pub(crate) enum User {
    /// Make a user; without --password-stdin a password is made, and shown this once
    #[command(after_help = "\
Examples:
  lacus user create ada
  lacus user create ada --json > ada.json
  lacus user create ada --password-stdin < password.txt
  lacus user create ada --scan-max 10GB --rows-max 1000000 --time-max 60s
  lacus user create looker --md5             for a driver that knows no SCRAM")]
    Create(NewUser),
    /// Show all users
    #[command(after_help = "\
Examples:
  lacus user list
  lacus user list --json          one JSON object per user")]
    List,
    /// Give a user another password; without --password-stdin one is made, and shown this once
    #[command(after_help = "\
Examples:
  lacus user password ada
  lacus user password ada --password-stdin < password.txt")]
    Password(AnotherPassword),
    /// Change the limits of a user's statements; "none" takes one away
    #[command(after_help = "\
Examples:
  lacus user limit ada --scan-max 10GB --memory-max 256MB
  lacus user limit ada --rows-max none       what holds for all holds for ada")]
    Limit(LimitsOf),
    /// Take a user away: nobody begins a session with this name any more
    #[command(after_help = "\
Examples:
  lacus user drop ada")]
    Drop {
        /// The user
        name: String,
    },
}

/// A user, and where the password comes from.
#[derive(Debug, Args)]
pub(crate) struct UserPassword {
    /// The user: letters, digits, and _ - . @
    pub(crate) name: String,
    /// Read the password from stdin: its first line, or what a PostgreSQL stores of one (SCRAM-SHA-256$...)
    #[arg(long)]
    pub(crate) password_stdin: bool,
    /// Keep an MD5 hash, which is weak, for clients that know nothing else: older drivers for Redshift
    #[arg(long)]
    pub(crate) md5: bool,
}

/// A user that is made.
#[derive(Debug, Args)]
pub(crate) struct NewUser {
    #[command(flatten)]
    pub(crate) user: UserPassword,
    #[command(flatten)]
    pub(crate) limits: Limits,
}

/// A user, and limits that change.
#[derive(Debug, Args)]
pub(crate) struct LimitsOf {
    /// The user
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) limits: Limits,
}

/// Limits of a user's statements.
#[derive(Debug, Args)]
pub(crate) struct Limits {
    /// Bytes that one statement may read at most: 10GB
    #[arg(long, value_name = "SIZE")]
    pub(crate) scan_max: Option<OrNone<ByteSize>>,
    /// Rows that one statement may have at most: 1000000
    #[arg(long, value_name = "COUNT")]
    pub(crate) rows_max: Option<OrNone<u64>>,
    /// Time that one statement may run at most: 60s
    #[arg(long, value_name = "TIME")]
    pub(crate) time_max: Option<OrNone<Millis>>,
    /// Memory that one statement may have at most: 256MB
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory_max: Option<OrNone<ByteSize>>,
}

/// A value, or the word "none".
#[derive(Debug, Clone, Copy)]
pub(crate) struct OrNone<T>(pub(crate) Option<T>);

impl<T: FromStr<Err: fmt::Display>> FromStr for OrNone<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(None));
        }
        text.parse().map(|value| Self(Some(value))).map_err(|error: T::Err| error.to_string())
    }
}

/// Another password of a user.
#[derive(Debug, Args)]
pub(crate) struct AnotherPassword {
    #[command(flatten)]
    pub(crate) user: UserPassword,
    /// Keep a SCRAM-SHA-256 verifier; without --md5 and --scram it is kept as the password before
    #[arg(long, conflicts_with = "md5")]
    pub(crate) scram: bool,
}

/// Look at streams, and change their shards
///
/// A stream is what events come in by: durable, and divided into shards. Events with the same partition key go to one shard
/// and stay in order. Streams make themselves when the first event arrives.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  lacus stream list
  lacus stream tail clicks        see events as they come")]
pub(crate) enum Stream {
    /// Make a stream
    #[command(after_help = "\
Examples:
  lacus stream create clicks
  lacus stream create clicks --shards 4")]
    Create {
        /// The stream
        stream: String,
        /// Its number of shards
        #[arg(long, default_value_t = 1)]
        shards: u32,
    },
    /// Show all streams
    #[command(after_help = "\
Examples:
  lacus stream list
  lacus stream list --json        one JSON object per stream")]
    List,
    /// Show the shards of a stream
    #[command(after_help = "\
Examples:
  lacus stream describe clicks")]
    Describe {
        /// The stream
        stream: String,
    },
    Reshard(Reshard),
    Tail(Tail),
}

/// Split and merge shards while events come and go
///
/// Events with one key stay in order: a shard is closed, and its children take over where it ends. Readers read it to its end
/// before them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lacus stream reshard clicks --shards 4         equal shards
  lacus stream reshard clicks --split 0          halve shard 0
  lacus stream reshard clicks --merge 1 2        join two neighbours")]
#[group(skip)]
#[command(group(clap::ArgGroup::new("how").required(true)))]
pub(crate) struct Reshard {
    /// The stream
    pub(crate) stream: String,
    /// As many shards of equal size
    #[arg(long, group = "how", value_name = "COUNT")]
    pub(crate) shards: Option<u32>,
    /// Divide this shard
    #[arg(long, group = "how", value_name = "SHARD")]
    pub(crate) split: Option<u32>,
    /// Join these two adjacent shards
    #[arg(long, group = "how", num_args = 2, value_names = ["SHARD", "ADJACENT"])]
    pub(crate) merge: Option<Vec<u32>>,
    /// The hash key at which to divide; default: the middle
    #[arg(long, requires = "split", value_name = "HASH_KEY")]
    pub(crate) at: Option<String>,
}

/// Show the events of a stream as they come
///
/// One line per event: when it was received, its place (shard/offset), its key, its JSON. Ends with Ctrl-C, after --limit
/// events, or at the end with --no-follow. Without a running server it shows what is there and ends.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lacus stream tail clicks
  lacus stream tail clicks --where event_name=Purchase
  lacus stream tail clicks --from start --limit 10 --json
  lacus stream tail clicks --from 2026-11-20T19:30:00Z --no-follow")]
pub(crate) struct Tail {
    /// The stream
    pub(crate) stream: String,
    /// Where to begin: now, start, a time, or with --shard an offset
    #[arg(long, default_value = "now", value_name = "WHERE")]
    pub(crate) from: String,
    /// One shard only
    #[arg(long)]
    pub(crate) shard: Option<u32>,
    /// Only events whose field has this value
    #[arg(long, value_name = "FIELD=VALUE")]
    pub(crate) r#where: Option<String>,
    /// Only events that contain this text
    #[arg(long, value_name = "TEXT")]
    pub(crate) contains: Option<String>,
    /// End after so many events
    #[arg(long, short = 'n', value_name = "COUNT")]
    pub(crate) limit: Option<u64>,
    /// End when there are no more for now
    #[arg(long)]
    pub(crate) no_follow: bool,
}

/// Act on a table
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  lacus table show clicks         rows, files and last commits
  lacus table flush clicks        commit what came to table clicks
  lacus table tag clicks monday   keep the last commit under a name")]
pub(crate) enum Table {
    /// Show what a table is made of: rows, files, the last commits
    #[command(after_help = "\
Examples:
  lacus table show clicks
  lacus table show web.tracks --json")]
    Show {
        /// The table
        table: String,
    },
    /// Commit a table now: what SQL sees becomes files that every Iceberg reader sees
    #[command(after_help = "\
Examples:
  lacus table flush clicks")]
    Flush {
        /// The table
        table: String,
    },
    /// Give a snapshot a name: it stays until the name is taken away
    ///
    /// SQL asks it by its name: SELECT … FROM clicks FOR VERSION AS OF 'monday'.
    #[command(after_help = "\
Examples:
  lacus table tag clicks monday                           the last commit
  lacus table tag clicks before_launch --snapshot 7241034623093452219
  lacus table tag clicks noon --snapshot 2026-11-20T12:00:00Z")]
    Tag {
        /// The table
        table: String,
        /// The name
        tag: String,
        /// The snapshot: its number, a tag, or a time; default: the last commit
        #[arg(long, value_name = "VERSION")]
        snapshot: Option<String>,
    },
    /// Take a name of a snapshot away: it expires like any other
    #[command(after_help = "\
Examples:
  lacus table untag clicks monday")]
    Untag {
        /// The table
        table: String,
        /// The name
        tag: String,
    },
    /// Return to the rows of a snapshot
    ///
    /// First commits what came until now. Then the table has the rows of that snapshot, and all that comes from then on.
    /// What was committed in between stays in older snapshots until they expire: rolling back to one undoes the rollback.
    #[command(after_help = "\
Examples:
  lacus table rollback clicks --to monday                 a tag
  lacus table rollback clicks --to 7241034623093452219    a snapshot
  lacus table rollback clicks --to 2026-11-20T12:00:00Z   as it was then")]
    Rollback {
        /// The table
        table: String,
        /// The snapshot: its number, a tag, or a time
        #[arg(long, value_name = "VERSION")]
        to: String,
    },
}

/// Erase what is known of somebody: from tables, older snapshots, the raw zone
///
/// An event that has a row for which the condition is true goes as a whole: from each table of its stream, from quarantine,
/// and from the raw zone. Tables that had one of its rows lose their older snapshots, and tags. Files that are replaced are
/// deleted an hour later. The log can't be changed: it removes events when their retention is over. If it is interrupted,
/// do it again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lacus erase --where \"user_id = 'u1'\" --dry-run     what would be erased
  lacus erase --where \"user_id = 'u1'\"
  lacus erase --where \"_rescued LIKE '%a@b.c%'\" --table clicks
  lacus erase --where \"from_utf8(bytes) LIKE '%u1%'\" --table web__quarantine
  lacus erase --where \"user_id = 'u1'\" --json        for scripts")]
pub(crate) struct Erase {
    /// The condition, in SQL
    #[arg(long, value_name = "CONDITION")]
    pub(crate) r#where: String,
    /// Look in this table only; default: in all that have the columns of the condition
    #[arg(long)]
    pub(crate) table: Option<String>,
    /// Say what would be erased, and erase nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// See and change the columns of a table
///
/// Files stay as they are: they are read with the new columns. A field inside another column is named by its path:
/// user.address.city; the fields of a list's elements: items.element.price. The same is done in SQL by ALTER TABLE.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  lacus schema show clicks
  lacus schema add clicks paid \"numeric(12,2)\"
  lacus schema rename clicks usr user_id      senders of usr go on feeding it
  lacus schema widen clicks count bigint
  lacus schema drop clicks debug
  lacus schema proposals clicks               columns for what is in _rescued
  lacus schema accept clicks amount")]
pub(crate) enum Schema {
    /// Show every column of a table, nested ones too
    #[command(after_help = "\
Examples:
  lacus schema show clicks
  lacus schema show clicks --json           one JSON object per column")]
    Show {
        /// The table
        table: String,
    },
    /// Add a column: events that have the field fill it from now on
    #[command(after_help = "\
Examples:
  lacus schema add clicks paid \"numeric(12,2)\"
  lacus schema add clicks user.age integer
  lacus schema add clicks labels \"map(text, text)\"")]
    Add {
        /// The table
        table: String,
        /// The name, or the path, of the new column
        column: String,
        /// boolean, integer, bigint, real, double precision, numeric(p,s), date, time, timestamp, timestamptz, text,
        /// uuid, bytea, bigint[], struct<a bigint>, map(text, bigint)
        r#type: String,
    },
    /// Give a column another name; events with the old one go on feeding it
    #[command(after_help = "\
Examples:
  lacus schema rename clicks usr user_id
  lacus schema rename clicks user.adr address")]
    Rename {
        /// The table
        table: String,
        /// The column
        column: String,
        /// Its new name
        to: String,
    },
    /// Drop a column: nothing shows its values any more
    #[command(after_help = "\
Examples:
  lacus schema drop clicks debug")]
    Drop {
        /// The table
        table: String,
        /// The column
        column: String,
    },
    /// Give a column a wider type: integer to bigint, real to double precision, numeric to more digits
    #[command(after_help = "\
Examples:
  lacus schema widen clicks count bigint")]
    Widen {
        /// The table
        table: String,
        /// The column
        column: String,
        /// The new type
        r#type: String,
    },
    /// Show what stands in _rescued, and the columns that would hold it
    ///
    /// A column keeps its type. What it can't hold is in _rescued; when that comes often, another column beside it may hold
    /// it: senders go on using the one name, and each value goes to the first column that it fits.
    #[command(after_help = "\
Examples:
  lacus schema proposals clicks
  lacus schema proposals clicks --json      one JSON object per proposal")]
    Proposals {
        /// The table
        table: String,
    },
    /// Make the columns that are proposed for a column, and put the values from _rescued there, those of old files too
    ///
    /// It writes each file anew that has such values, and commits after each: stop it at any time, and begin it again.
    #[command(after_help = "\
Examples:
  lacus schema accept clicks amount         all that is proposed for amount
  lacus schema accept clicks amount_text    that column only")]
    Accept {
        /// The table
        table: String,
        /// The column, or the one that it is to become, as lacus schema proposals shows them
        column: String,
    },
}

/// Try again what is in quarantine: events that fit by now become rows
///
/// An event is in quarantine or in its tables, never in both and never lost: stop it at any time, and begin it again. --where
/// and --fix are SQL over the columns text (the event as it came), bytes, reason, _received_at, _partition and _offset. What
/// --fix gives is the event then; where it gives NULL the event stays.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lacus replay clicks                       after a column was added
  lacus replay clicks --where \"reason LIKE 'price:%'\"
  lacus replay clicks --fix \"replace(text, 'NaN', 'null')\"")]
pub(crate) struct Replay {
    /// The table
    pub(crate) table: String,
    /// Only events for which this holds
    #[arg(long, value_name = "SQL")]
    pub(crate) r#where: Option<String>,
    /// What the event should be
    #[arg(long, value_name = "SQL")]
    pub(crate) fix: Option<String>,
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
