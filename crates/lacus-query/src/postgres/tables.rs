//! The tables of `pg_catalog` that are about the lake, as Postgres 15 has them.
//!
//! Tables of what the lake has not (indexes, constraints, policies …) are empty and have the types that questions expect.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Float32Array, new_empty_array, new_null_array};
use datafusion::arrow::datatypes::{DataType, Field, TimeUnit};

use super::relations::{Relation, Relations, is_system};
use super::types::storage;
use super::{Columns, bools, ints, maybe_texts, smalls, texts};
use crate::variables;

/// The tables that are here.
pub(super) const NAMES: [&str; 38] = [
    "pg_auth_members",
    "pg_authid",
    "pg_attribute",
    "pg_available_extensions",
    "pg_class",
    "pg_constraint",
    "pg_cursors",
    "pg_database",
    "pg_db_role_setting",
    "pg_default_acl",
    "pg_extension",
    "pg_group",
    "pg_index",
    "pg_indexes",
    "pg_locks",
    "pg_matviews",
    "pg_namespace",
    "pg_policy",
    "pg_prepared_statements",
    "pg_publication_rel",
    "pg_publication_tables",
    "pg_roles",
    "pg_rules",
    "pg_sequences",
    "pg_settings",
    "pg_stat_activity",
    "pg_stat_all_tables",
    "pg_stat_database",
    "pg_stat_ssl",
    "pg_stat_user_tables",
    "pg_statio_user_tables",
    "pg_statistic_ext",
    "pg_stats",
    "pg_tables",
    "pg_timezone_names",
    "pg_trigger",
    "pg_user",
    "pg_views",
];

/// The role that owns everything.
pub(crate) const OWNER: &str = "lacus";
/// Its number: the one of the role that Postgres begins with.
pub(super) const OWNER_OID: i32 = 10;
/// UTF8, among the encodings of Postgres.
const UTF8: i32 = 6;
/// The number of the collation that texts have.
const DEFAULT_COLLATION: i32 = 100;
/// The number of the database: any, but always the same.
const DATABASE_OID: i32 = 5;
/// The number of the tablespace `pg_default`.
const TABLESPACE_OID: i32 = 1663;

/// The columns of a table; none if it is not here.
pub(super) fn of(name: &str, all: &Relations) -> Option<Columns> {
    let is_ours = NAMES.contains(&name);
    is_ours.then(|| match name {
        "pg_attribute" => attributes(all),
        "pg_class" => classes(all),
        "pg_database" => databases(all),
        "pg_namespace" => namespaces(all),
        "pg_roles" | "pg_authid" => roles(),
        "pg_settings" => settings(),
        "pg_stat_database" => stat_database(all),
        "pg_tables" => tables(all),
        "pg_user" => users(),
        "pg_views" => views(all),
        other => empty(other),
    })
}

fn namespaces(all: &Relations) -> Columns {
    let count = all.namespaces.len();
    vec![
        ("oid", ints(all.namespaces.iter().map(|namespace| namespace.oid))),
        ("nspname", texts(all.namespaces.iter().map(|namespace| &namespace.name))),
        ("nspowner", ints(vec![OWNER_OID; count])),
        ("nspacl", none(&list(DataType::Utf8), count)),
    ]
}

fn classes(all: &Relations) -> Columns {
    let relations = &all.relations;
    let count = relations.len();
    let zeros = || ints(vec![0; count]);
    let no = || bools(vec![false; count]);
    let oids = || ints(relations.iter().map(|relation| relation.oid));
    let widths = relations.iter().map(|relation| i16::try_from(relation.columns.len()).unwrap_or(i16::MAX));
    vec![
        ("oid", oids()),
        ("relname", texts(relations.iter().map(|relation| &relation.name))),
        ("relnamespace", ints(relations.iter().map(|relation| relation.namespace_oid))),
        ("reltype", zeros()),
        ("reloftype", zeros()),
        ("relowner", ints(vec![OWNER_OID; count])),
        ("relam", zeros()),
        ("relfilenode", zeros()),
        ("reltablespace", zeros()),
        ("relpages", zeros()),
        // Nobody counted.
        ("reltuples", Arc::new(Float32Array::from(vec![-1.0; count]))),
        ("relallvisible", zeros()),
        ("reltoastrelid", zeros()),
        ("relhasindex", no()),
        ("relisshared", no()),
        ("relpersistence", texts(vec!["p"; count])),
        ("relkind", texts(relations.iter().map(kind))),
        ("relnatts", smalls(widths)),
        ("relchecks", smalls(vec![0; count])),
        ("relhasrules", no()),
        ("relhastriggers", no()),
        ("relhassubclass", no()),
        ("relrowsecurity", no()),
        ("relforcerowsecurity", no()),
        ("relispopulated", bools(vec![true; count])),
        ("relreplident", texts(vec!["n"; count])),
        ("relispartition", no()),
        ("relrewrite", zeros()),
        ("relfrozenxid", zeros()),
        ("relminmxid", zeros()),
        ("relacl", none(&list(DataType::Utf8), count)),
        ("reloptions", none(&list(DataType::Utf8), count)),
        ("relpartbound", none(&DataType::Utf8, count)),
    ]
}

/// `r` is a table, `v` a view.
fn kind(relation: &Relation) -> &'static str {
    if relation.is_view { "v" } else { "r" }
}

fn attributes(all: &Relations) -> Columns {
    let columns: Vec<_> = all.columns().collect();
    let count = columns.len();
    let no = || bools(vec![false; count]);
    let nothing = || texts(vec![""; count]);
    let stored: Vec<_> = columns.iter().map(|(_, column)| storage(&column.kind)).collect();
    let is_array = |kind: &postgres_types::Type| matches!(kind.kind(), postgres_types::Kind::Array(_));
    let collation = |kind: &postgres_types::Type| if kind.name().contains("text") { DEFAULT_COLLATION } else { 0 };
    vec![
        ("attrelid", ints(columns.iter().map(|(relation, _)| relation.oid))),
        ("attname", texts(columns.iter().map(|(_, column)| &column.name))),
        ("atttypid", ints(columns.iter().map(|(_, column)| oid(&column.kind)))),
        ("attstattarget", ints(vec![-1; count])),
        ("attlen", smalls(stored.iter().map(|stored| stored.0))),
        ("attnum", smalls(columns.iter().map(|(_, column)| column.number))),
        ("attndims", ints(columns.iter().map(|(_, column)| i32::from(is_array(&column.kind))))),
        ("attcacheoff", ints(vec![-1; count])),
        ("atttypmod", ints(columns.iter().map(|(_, column)| column.modifier))),
        ("attbyval", bools(stored.iter().map(|stored| stored.1))),
        ("attalign", texts(stored.iter().map(|stored| stored.2))),
        ("attstorage", texts(stored.iter().map(|stored| stored.3))),
        ("attcompression", nothing()),
        ("attnotnull", bools(columns.iter().map(|(_, column)| !column.is_nullable))),
        ("atthasdef", no()),
        ("atthasmissing", no()),
        ("attidentity", nothing()),
        ("attgenerated", nothing()),
        ("attisdropped", no()),
        ("attislocal", bools(vec![true; count])),
        ("attinhcount", ints(vec![0; count])),
        ("attcollation", ints(columns.iter().map(|(_, column)| collation(&column.kind)))),
        ("attacl", none(&list(DataType::Utf8), count)),
        ("attoptions", none(&list(DataType::Utf8), count)),
        ("attfdwoptions", none(&list(DataType::Utf8), count)),
        ("attmissingval", none(&DataType::Utf8, count)),
    ]
}

/// The numbers of built-in types are small.
pub(super) fn oid(kind: &postgres_types::Type) -> i32 {
    i32::try_from(kind.oid()).unwrap_or(0)
}

fn databases(all: &Relations) -> Columns {
    vec![
        ("oid", ints([DATABASE_OID])),
        ("datname", texts([&all.catalog])),
        ("datdba", ints([OWNER_OID])),
        ("encoding", ints([UTF8])),
        ("datlocprovider", texts(["c"])),
        ("datistemplate", bools([false])),
        ("datallowconn", bools([true])),
        ("datconnlimit", ints([-1])),
        ("datfrozenxid", ints([0])),
        ("datminmxid", ints([0])),
        ("dattablespace", ints([TABLESPACE_OID])),
        ("datcollate", texts(["C"])),
        ("datctype", texts(["C.UTF-8"])),
        ("daticulocale", none(&DataType::Utf8, 1)),
        ("datcollversion", none(&DataType::Utf8, 1)),
        ("datacl", none(&list(DataType::Utf8), 1)),
    ]
}

fn roles() -> Columns {
    vec![
        ("oid", ints([OWNER_OID])),
        ("rolname", texts([OWNER])),
        ("rolsuper", bools([false])),
        ("rolinherit", bools([true])),
        ("rolcreaterole", bools([false])),
        ("rolcreatedb", bools([true])),
        ("rolcanlogin", bools([true])),
        ("rolreplication", bools([false])),
        ("rolbypassrls", bools([false])),
        ("rolconnlimit", ints([-1])),
        ("rolpassword", none(&DataType::Utf8, 1)),
        ("rolvaliduntil", none(&timestamp(), 1)),
        ("rolconfig", none(&list(DataType::Utf8), 1)),
    ]
}

fn users() -> Columns {
    vec![
        ("usename", texts([OWNER])),
        ("usesysid", ints([OWNER_OID])),
        ("usecreatedb", bools([true])),
        ("usesuper", bools([false])),
        ("userepl", bools([false])),
        ("usebypassrls", bools([false])),
        ("passwd", none(&DataType::Utf8, 1)),
        ("valuntil", none(&timestamp(), 1)),
        ("useconfig", none(&list(DataType::Utf8), 1)),
    ]
}

/// What a new session begins with.
fn settings() -> Columns {
    let (names, values): (Vec<_>, Vec<_>) = variables::defaults().unzip();
    let count = names.len();
    let same = |text| texts(vec![text; count]);
    vec![
        ("name", texts(names)),
        ("setting", texts(values.clone())),
        ("unit", none(&DataType::Utf8, count)),
        ("category", same("lacus")),
        ("short_desc", same("")),
        ("extra_desc", none(&DataType::Utf8, count)),
        ("context", same("user")),
        ("vartype", same("string")),
        ("source", same("default")),
        ("min_val", none(&DataType::Utf8, count)),
        ("max_val", none(&DataType::Utf8, count)),
        ("enumvals", none(&list(DataType::Utf8), count)),
        ("boot_val", texts(values.clone())),
        ("reset_val", texts(values)),
        ("sourcefile", none(&DataType::Utf8, count)),
        ("sourceline", none(&DataType::Int32, count)),
        ("pending_restart", bools(vec![false; count])),
    ]
}

fn stat_database(all: &Relations) -> Columns {
    vec![
        ("datid", ints([DATABASE_OID])),
        ("datname", texts([&all.catalog])),
        ("numbackends", none(&DataType::Int32, 1)),
        ("xact_commit", none(&DataType::Int64, 1)),
        ("xact_rollback", none(&DataType::Int64, 1)),
    ]
}

fn tables(all: &Relations) -> Columns {
    let tables: Vec<_> = all.relations.iter().filter(|relation| !relation.is_view).collect();
    let no = || bools(vec![false; tables.len()]);
    vec![
        ("schemaname", texts(tables.iter().map(|table| &table.namespace))),
        ("tablename", texts(tables.iter().map(|table| &table.name))),
        ("tableowner", texts(vec![OWNER; tables.len()])),
        ("tablespace", none(&DataType::Utf8, tables.len())),
        ("hasindexes", no()),
        ("hasrules", no()),
        ("hastriggers", no()),
        ("rowsecurity", no()),
    ]
}

fn views(all: &Relations) -> Columns {
    let views: Vec<_> =
        all.relations.iter().filter(|relation| relation.is_view && !is_system(&relation.namespace)).collect();
    vec![
        ("schemaname", texts(views.iter().map(|view| &view.namespace))),
        ("viewname", texts(views.iter().map(|view| &view.name))),
        ("viewowner", texts(vec![OWNER; views.len()])),
        ("definition", maybe_texts(views.iter().map(|view| view.definition.clone()))),
    ]
}

/// A table without rows.
fn empty(name: &str) -> Columns {
    use DataType::{Boolean, Float32, Float64, Int16, Int32, Int64, Utf8};
    let (smalls, oids, names) = (list(Int16), list(Int32), list(Utf8));
    let columns: Vec<(&'static str, DataType)> = match name {
        "pg_auth_members" => {
            vec![("oid", Int32), ("roleid", Int32), ("member", Int32), ("grantor", Int32), ("admin_option", Boolean)]
        }
        "pg_available_extensions" => {
            vec![("name", Utf8), ("default_version", Utf8), ("installed_version", Utf8), ("comment", Utf8)]
        }
        "pg_constraint" => vec![
            ("oid", Int32),
            ("conname", Utf8),
            ("connamespace", Int32),
            ("contype", Utf8),
            ("condeferrable", Boolean),
            ("condeferred", Boolean),
            ("convalidated", Boolean),
            ("conrelid", Int32),
            ("contypid", Int32),
            ("conindid", Int32),
            ("conparentid", Int32),
            ("confrelid", Int32),
            ("confupdtype", Utf8),
            ("confdeltype", Utf8),
            ("confmatchtype", Utf8),
            ("conislocal", Boolean),
            ("coninhcount", Int32),
            ("connoinherit", Boolean),
            ("conkey", smalls.clone()),
            ("confkey", smalls),
            ("conpfeqop", oids.clone()),
            ("conppeqop", oids.clone()),
            ("conffeqop", oids.clone()),
            ("confdelsetcols", list(Int16)),
            ("conexclop", oids),
            ("conbin", Utf8),
        ],
        "pg_cursors" => vec![
            ("name", Utf8),
            ("statement", Utf8),
            ("is_holdable", Boolean),
            ("is_binary", Boolean),
            ("is_scrollable", Boolean),
            ("creation_time", timestamp()),
        ],
        "pg_db_role_setting" => vec![("setdatabase", Int32), ("setrole", Int32), ("setconfig", names)],
        "pg_default_acl" => {
            vec![
                ("oid", Int32),
                ("defaclrole", Int32),
                ("defaclnamespace", Int32),
                ("defaclobjtype", Utf8),
                ("defaclacl", names),
            ]
        }
        "pg_extension" => vec![
            ("oid", Int32),
            ("extname", Utf8),
            ("extowner", Int32),
            ("extnamespace", Int32),
            ("extrelocatable", Boolean),
            ("extversion", Utf8),
            ("extconfig", oids),
            ("extcondition", names),
        ],
        "pg_group" => vec![("groname", Utf8), ("grosysid", Int32), ("grolist", oids)],
        "pg_index" => vec![
            ("indexrelid", Int32),
            ("indrelid", Int32),
            ("indnatts", Int16),
            ("indnkeyatts", Int16),
            ("indisunique", Boolean),
            ("indnullsnotdistinct", Boolean),
            ("indisprimary", Boolean),
            ("indisexclusion", Boolean),
            ("indimmediate", Boolean),
            ("indisclustered", Boolean),
            ("indisvalid", Boolean),
            ("indcheckxmin", Boolean),
            ("indisready", Boolean),
            ("indislive", Boolean),
            ("indisreplident", Boolean),
            ("indkey", smalls.clone()),
            ("indcollation", oids.clone()),
            ("indclass", oids),
            ("indoption", smalls),
            ("indexprs", Utf8),
            ("indpred", Utf8),
        ],
        "pg_indexes" => vec![
            ("schemaname", Utf8),
            ("tablename", Utf8),
            ("indexname", Utf8),
            ("tablespace", Utf8),
            ("indexdef", Utf8),
        ],
        "pg_locks" => {
            vec![
                ("locktype", Utf8),
                ("database", Int32),
                ("relation", Int32),
                ("pid", Int32),
                ("mode", Utf8),
                ("granted", Boolean),
            ]
        }
        "pg_matviews" => vec![
            ("schemaname", Utf8),
            ("matviewname", Utf8),
            ("matviewowner", Utf8),
            ("tablespace", Utf8),
            ("hasindexes", Boolean),
            ("ispopulated", Boolean),
            ("definition", Utf8),
        ],
        "pg_policy" => vec![
            ("oid", Int32),
            ("polname", Utf8),
            ("polrelid", Int32),
            ("polcmd", Utf8),
            ("polpermissive", Boolean),
            ("polroles", oids),
            ("polqual", Utf8),
            ("polwithcheck", Utf8),
        ],
        "pg_prepared_statements" => {
            vec![
                ("name", Utf8),
                ("statement", Utf8),
                ("prepare_time", timestamp()),
                ("parameter_types", oids),
                ("from_sql", Boolean),
            ]
        }
        "pg_publication_rel" => {
            vec![("oid", Int32), ("prpubid", Int32), ("prrelid", Int32), ("prqual", Utf8), ("prattrs", smalls)]
        }
        "pg_publication_tables" => vec![("pubname", Utf8), ("schemaname", Utf8), ("tablename", Utf8)],
        "pg_rules" => vec![("schemaname", Utf8), ("tablename", Utf8), ("rulename", Utf8), ("definition", Utf8)],
        "pg_sequences" => vec![
            ("schemaname", Utf8),
            ("sequencename", Utf8),
            ("sequenceowner", Utf8),
            ("data_type", Int32),
            ("start_value", Int64),
            ("min_value", Int64),
            ("max_value", Int64),
            ("increment_by", Int64),
            ("cycle", Boolean),
            ("cache_size", Int64),
            ("last_value", Int64),
        ],
        "pg_stat_activity" => vec![
            ("datid", Int32),
            ("datname", Utf8),
            ("pid", Int32),
            ("usesysid", Int32),
            ("usename", Utf8),
            ("application_name", Utf8),
            ("client_addr", Utf8),
            ("client_port", Int32),
            ("backend_start", timestamp()),
            ("xact_start", timestamp()),
            ("query_start", timestamp()),
            ("state_change", timestamp()),
            ("wait_event_type", Utf8),
            ("wait_event", Utf8),
            ("state", Utf8),
            ("query", Utf8),
            ("backend_type", Utf8),
        ],
        "pg_stat_all_tables" | "pg_stat_user_tables" => vec![
            ("relid", Int32),
            ("schemaname", Utf8),
            ("relname", Utf8),
            ("seq_scan", Int64),
            ("idx_scan", Int64),
            ("n_live_tup", Int64),
            ("n_dead_tup", Int64),
            ("last_vacuum", timestamp()),
            ("last_analyze", timestamp()),
        ],
        "pg_stat_ssl" => {
            vec![("pid", Int32), ("ssl", Boolean), ("version", Utf8), ("cipher", Utf8), ("bits", Int32)]
        }
        "pg_statio_user_tables" => {
            vec![
                ("relid", Int32),
                ("schemaname", Utf8),
                ("relname", Utf8),
                ("heap_blks_read", Int64),
                ("heap_blks_hit", Int64),
            ]
        }
        "pg_statistic_ext" => vec![
            ("oid", Int32),
            ("stxrelid", Int32),
            ("stxname", Utf8),
            ("stxnamespace", Int32),
            ("stxowner", Int32),
            ("stxstattarget", Int32),
            ("stxkeys", smalls),
            ("stxkind", names),
            ("stxexprs", Utf8),
        ],
        "pg_stats" => vec![
            ("schemaname", Utf8),
            ("tablename", Utf8),
            ("attname", Utf8),
            ("null_frac", Float32),
            ("avg_width", Int32),
            ("n_distinct", Float32),
            ("correlation", Float32),
        ],
        "pg_timezone_names" => vec![("name", Utf8), ("abbrev", Utf8), ("utc_offset", Float64), ("is_dst", Boolean)],
        "pg_trigger" => vec![
            ("oid", Int32),
            ("tgrelid", Int32),
            ("tgparentid", Int32),
            ("tgname", Utf8),
            ("tgfoid", Int32),
            ("tgtype", Int16),
            ("tgenabled", Utf8),
            ("tgisinternal", Boolean),
            ("tgconstrrelid", Int32),
            ("tgconstrindid", Int32),
            ("tgconstraint", Int32),
            ("tgdeferrable", Boolean),
            ("tginitdeferred", Boolean),
            ("tgnargs", Int16),
            ("tgattr", smalls),
            ("tgargs", DataType::Binary),
            ("tgqual", Utf8),
            ("tgoldtable", Utf8),
            ("tgnewtable", Utf8),
        ],
        _ => Vec::new(),
    };
    columns.into_iter().map(|(name, kind)| (name, new_empty_array(&kind))).collect()
}

pub(super) fn none(kind: &DataType, count: usize) -> ArrayRef {
    new_null_array(kind, count)
}

fn list(element: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(element, true)))
}

pub(super) fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()))
}
