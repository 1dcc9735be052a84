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

/// The tables that are here, and the table of sessions, which is elsewhere.
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
/// The OID of Postgres' first role.
pub(super) const OWNER_OID: i32 = 10;
/// The number of UTF8 among Postgres' encodings.
const UTF8: i32 = 6;
/// The OID of the default collation.
const DEFAULT_COLLATION: i32 = 100;
/// The OID of the database: arbitrary, but always the same.
pub(super) const DATABASE_OID: i32 = 5;
/// The OID of the tablespace `pg_default`.
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

/// The OIDs of built-in types are small.
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

/// The tables without rows: their columns and types.
const EMPTY: [(&str, &str); 26] = [
    ("pg_auth_members", "oid:int4 roleid:int4 member:int4 grantor:int4 admin_option:bool"),
    ("pg_available_extensions", "name:text default_version:text installed_version:text comment:text"),
    (
        "pg_constraint",
        "oid:int4 conname:text connamespace:int4 contype:text condeferrable:bool condeferred:bool \
         convalidated:bool conrelid:int4 contypid:int4 conindid:int4 conparentid:int4 confrelid:int4 \
         confupdtype:text confdeltype:text confmatchtype:text conislocal:bool coninhcount:int4 \
         connoinherit:bool conkey:int2[] confkey:int2[] conpfeqop:int4[] conppeqop:int4[] \
         conffeqop:int4[] confdelsetcols:int2[] conexclop:int4[] conbin:text",
    ),
    (
        "pg_cursors",
        "name:text statement:text is_holdable:bool is_binary:bool is_scrollable:bool \
         creation_time:timestamptz",
    ),
    ("pg_db_role_setting", "setdatabase:int4 setrole:int4 setconfig:text[]"),
    ("pg_default_acl", "oid:int4 defaclrole:int4 defaclnamespace:int4 defaclobjtype:text defaclacl:text[]"),
    (
        "pg_extension",
        "oid:int4 extname:text extowner:int4 extnamespace:int4 extrelocatable:bool extversion:text \
         extconfig:int4[] extcondition:text[]",
    ),
    ("pg_group", "groname:text grosysid:int4 grolist:int4[]"),
    (
        "pg_index",
        "indexrelid:int4 indrelid:int4 indnatts:int2 indnkeyatts:int2 indisunique:bool \
         indnullsnotdistinct:bool indisprimary:bool indisexclusion:bool indimmediate:bool \
         indisclustered:bool indisvalid:bool indcheckxmin:bool indisready:bool indislive:bool \
         indisreplident:bool indkey:int2[] indcollation:int4[] indclass:int4[] indoption:int2[] \
         indexprs:text indpred:text",
    ),
    ("pg_indexes", "schemaname:text tablename:text indexname:text tablespace:text indexdef:text"),
    ("pg_locks", "locktype:text database:int4 relation:int4 pid:int4 mode:text granted:bool"),
    (
        "pg_matviews",
        "schemaname:text matviewname:text matviewowner:text tablespace:text hasindexes:bool \
         ispopulated:bool definition:text",
    ),
    (
        "pg_policy",
        "oid:int4 polname:text polrelid:int4 polcmd:text polpermissive:bool polroles:int4[] \
         polqual:text polwithcheck:text",
    ),
    (
        "pg_prepared_statements",
        "name:text statement:text prepare_time:timestamptz parameter_types:int4[] from_sql:bool",
    ),
    ("pg_publication_rel", "oid:int4 prpubid:int4 prrelid:int4 prqual:text prattrs:int2[]"),
    ("pg_publication_tables", "pubname:text schemaname:text tablename:text"),
    ("pg_rules", "schemaname:text tablename:text rulename:text definition:text"),
    (
        "pg_sequences",
        "schemaname:text sequencename:text sequenceowner:text data_type:int4 start_value:int8 \
         min_value:int8 max_value:int8 increment_by:int8 cycle:bool cache_size:int8 last_value:int8",
    ),
    (
        "pg_stat_all_tables",
        "relid:int4 schemaname:text relname:text seq_scan:int8 idx_scan:int8 n_live_tup:int8 \
         n_dead_tup:int8 last_vacuum:timestamptz last_analyze:timestamptz",
    ),
    (
        "pg_stat_user_tables",
        "relid:int4 schemaname:text relname:text seq_scan:int8 idx_scan:int8 n_live_tup:int8 \
         n_dead_tup:int8 last_vacuum:timestamptz last_analyze:timestamptz",
    ),
    ("pg_stat_ssl", "pid:int4 ssl:bool version:text cipher:text bits:int4"),
    ("pg_statio_user_tables", "relid:int4 schemaname:text relname:text heap_blks_read:int8 heap_blks_hit:int8"),
    (
        "pg_statistic_ext",
        "oid:int4 stxrelid:int4 stxname:text stxnamespace:int4 stxowner:int4 stxstattarget:int4 \
         stxkeys:int2[] stxkind:text[] stxexprs:text",
    ),
    (
        "pg_stats",
        "schemaname:text tablename:text attname:text null_frac:float4 avg_width:int4 \
         n_distinct:float4 correlation:float4",
    ),
    ("pg_timezone_names", "name:text abbrev:text utc_offset:float8 is_dst:bool"),
    (
        "pg_trigger",
        "oid:int4 tgrelid:int4 tgparentid:int4 tgname:text tgfoid:int4 tgtype:int2 tgenabled:text \
         tgisinternal:bool tgconstrrelid:int4 tgconstrindid:int4 tgconstraint:int4 tgdeferrable:bool \
         tginitdeferred:bool tgnargs:int2 tgattr:int2[] tgargs:bytea tgqual:text tgoldtable:text \
         tgnewtable:text",
    ),
];

fn empty(name: &str) -> Columns {
    let columns = EMPTY.iter().find(|(empty, _)| *empty == name).map_or("", |(_, columns)| columns);
    let columns = columns.split_whitespace().filter_map(|column| column.split_once(':'));
    columns.map(|(name, kind)| (name, new_empty_array(&arrow(kind)))).collect()
}

fn arrow(kind: &str) -> DataType {
    if let Some(element) = kind.strip_suffix("[]") {
        return list(arrow(element));
    }
    match kind {
        "bool" => DataType::Boolean,
        "bytea" => DataType::Binary,
        "float4" => DataType::Float32,
        "float8" => DataType::Float64,
        "int2" => DataType::Int16,
        "int4" => DataType::Int32,
        "int8" => DataType::Int64,
        "timestamptz" => timestamp(),
        _ => DataType::Utf8,
    }
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
