//! The functions that Postgres clients call in their questions about the lake.
//!
//! What the lake has not (comments, indexes, triggers) is null, as for a Postgres object without one. Locks are not granted, so
//! there is no `pg_advisory_lock`; to give back all that one holds is nothing to do.

use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int32Array, ListBuilder, StringArray, StringBuilder,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Int32Type, Int64Type};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Signature, SimpleScalarUDF, TypeSignature, Volatility};
use datafusion::prelude::SessionContext;
use postgres_types::Type;

use super::PG_CATALOG;
use super::json_functions::{json_build_array, json_build_object};
use super::oids::Oids;
use super::tables::OWNER;
use super::types::{postgres_type, sql_name};
use crate::activity::{Sessions, Signal};
use crate::error::external;
use crate::variables::Variables;

/// Who asks.
#[derive(Clone)]
pub(crate) struct Asking {
    /// The user's name.
    pub(crate) user: String,
    /// The number of the connection.
    pub(crate) backend: i32,
    /// The session's variables.
    pub(crate) variables: Arc<Mutex<Variables>>,
    /// All sessions that are listed.
    pub(crate) sessions: Arc<Sessions>,
}

type Answer = Result<ColumnarValue>;

/// A function of any arguments, or of none.
pub(super) fn function(
    name: &str,
    returns: DataType,
    volatility: Volatility,
    answer: impl Fn(&[ColumnarValue]) -> Answer + Send + Sync + 'static,
) -> ScalarUDF {
    let any = Signature::one_of(vec![TypeSignature::Nullary, TypeSignature::VariadicAny], volatility);
    ScalarUDF::from(SimpleScalarUDF::new_with_signature(name, any, returns, Arc::new(answer)))
}

/// Adds the functions that answer every session alike.
pub(super) fn register(context: &SessionContext, oids: &Arc<Oids>) {
    for (names, value) in constants() {
        for name in names {
            let value = value.clone();
            let returns = value.data_type();
            let answer = move |_: &[ColumnarValue]| Ok(ColumnarValue::Scalar(value.clone()));
            context.register_udf(function(name, returns, Volatility::Stable, answer));
        }
    }
    let functions = [
        json_build_object(),
        json_build_array(),
        format_type(),
        pg_size_pretty(),
        pg_encoding_to_char(),
        pg_get_userbyid(),
        pg_typeof(),
        to_regtype(),
    ];
    for function in functions {
        context.register_udf(function);
    }
    for function in [pg_get_viewdef(oids), regclass_name(oids), to_regclass(oids), parse_ident()] {
        context.register_udf(function);
    }
}

/// Functions with constant answers.
fn constants() -> Vec<(Vec<&'static str>, ScalarValue)> {
    let no_text = ScalarValue::Utf8(None);
    let yes = ScalarValue::Boolean(Some(true));
    let no = ScalarValue::Boolean(Some(false));
    vec![
        (
            vec![
                "col_description",
                "inet_client_addr",
                "inet_server_addr",
                "obj_description",
                "pg_advisory_unlock_all",
                "pg_get_constraintdef",
                "pg_get_expr",
                "pg_get_function_arguments",
                "pg_get_function_identity_arguments",
                "pg_get_function_result",
                "pg_get_function_sqlbody",
                "pg_get_functiondef",
                "pg_get_indexdef",
                "pg_get_partition_constraintdef",
                "pg_get_partkeydef",
                "pg_get_ruledef",
                "pg_get_serial_sequence",
                "pg_get_statisticsobjdef",
                "pg_get_statisticsobjdef_columns",
                "pg_get_triggerdef",
                "pg_tablespace_location",
                "shobj_description",
            ],
            no_text,
        ),
        (
            vec![
                "has_any_column_privilege",
                "has_column_privilege",
                "has_database_privilege",
                "has_function_privilege",
                "has_language_privilege",
                "has_schema_privilege",
                "has_sequence_privilege",
                "has_server_privilege",
                "has_table_privilege",
                "has_tablespace_privilege",
                "has_type_privilege",
                "pg_collation_is_visible",
                "pg_conversion_is_visible",
                "pg_function_is_visible",
                "pg_has_role",
                "pg_opclass_is_visible",
                "pg_operator_is_visible",
                "pg_opfamily_is_visible",
                "pg_statistics_obj_is_visible",
                "pg_ts_config_is_visible",
                "pg_ts_dict_is_visible",
                "pg_ts_parser_is_visible",
                "pg_ts_template_is_visible",
                "pg_type_is_visible",
            ],
            yes,
        ),
        (vec!["pg_is_in_recovery", "pg_is_other_temp_schema", "pg_relation_is_publishable", "row_security_active"], no),
        (vec!["_pg_expandarray"], no_member()),
        (vec!["pg_char_to_encoding"], ScalarValue::Int32(Some(6))),
        (vec!["pg_my_temp_schema"], ScalarValue::Int32(Some(0))),
        (vec!["inet_client_port", "inet_server_port"], ScalarValue::Int32(None)),
        (
            vec![
                "pg_database_size",
                "pg_indexes_size",
                "pg_relation_size",
                "pg_table_size",
                "pg_tablespace_size",
                "pg_total_relation_size",
            ],
            ScalarValue::Int64(None),
        ),
        (vec!["getdatabaseencoding"], ScalarValue::Utf8(Some("UTF8".to_owned()))),
    ]
}

/// An empty set of array members with places: asked only about keys and indexes, of which there are none.
fn no_member() -> ScalarValue {
    let fields = ["x", "n"].map(|name| Field::new(name, DataType::Int32, true));
    ScalarValue::try_from(&DataType::Struct(fields.to_vec().into())).expect("a struct can be null")
}

/// Adds the functions whose answers depend on the session and its user.
pub(crate) fn of_session(state: &mut SessionState, asking: &Asking, oids: &Arc<Oids>) {
    state.config_mut().set_extension(Arc::new(asking.clone()));
    let user = ScalarValue::Utf8(Some(asking.user.clone()));
    let backend = ScalarValue::Int32(Some(asking.backend));
    let fixed = [("session_user", user.clone()), ("current_user", user), ("pg_backend_pid", backend)];
    for (name, value) in fixed {
        let returns = value.data_type();
        let answer = move |_: &[ColumnarValue]| Ok(ColumnarValue::Scalar(value.clone()));
        add(state, function(name, returns, Volatility::Stable, answer));
    }
    let functions = [
        current_schema(asking),
        current_schemas(asking),
        current_setting(asking),
        set_config(asking),
        pg_table_is_visible(asking, oids),
        tell(asking, "pg_cancel_backend", Signal::Cancel),
        tell(asking, "pg_terminate_backend", Signal::Terminate),
    ];
    for function in functions {
        add(state, function);
    }
}

fn add(state: &mut SessionState, function: ScalarUDF) {
    // An earlier one of the same name is replaced.
    let _old = state.register_udf(Arc::new(function)).expect("a session takes any function");
}

impl Asking {
    fn variables<T>(&self, work: impl FnOnce(&mut Variables) -> T) -> T {
        // Every change is one assignment: a panic leaves nothing half done.
        work(&mut self.variables.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn search_path(&self) -> Vec<String> {
        self.variables(|variables| variables.search_path())
    }
}

fn current_schema(asking: &Asking) -> ScalarUDF {
    let asking = asking.clone();
    function("current_schema", DataType::Utf8, Volatility::Stable, move |_| {
        let first = asking.search_path().into_iter().next();
        Ok(ColumnarValue::Scalar(ScalarValue::Utf8(first)))
    })
}

/// With `true`, the schemas that are always searched count, too.
fn current_schemas(asking: &Asking) -> ScalarUDF {
    let asking = asking.clone();
    let returns = DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)));
    function("current_schemas", returns, Volatility::Stable, move |arguments| {
        let implicit = matches!(arguments.first(), Some(ColumnarValue::Scalar(ScalarValue::Boolean(Some(true)))));
        let names = implicit.then(|| PG_CATALOG.to_owned()).into_iter().chain(asking.search_path());
        let names: Vec<ScalarValue> = names.map(|name| ScalarValue::Utf8(Some(name))).collect();
        Ok(ColumnarValue::Scalar(ScalarValue::List(ScalarValue::new_list_nullable(&names, &DataType::Utf8))))
    })
}

/// `current_setting(name [, missing_ok])`.
fn current_setting(asking: &Asking) -> ScalarUDF {
    let asking = asking.clone();
    function("current_setting", DataType::Utf8, Volatility::Stable, move |arguments| {
        let may_miss = matches!(arguments.get(1), Some(ColumnarValue::Scalar(ScalarValue::Boolean(Some(true)))));
        texts_of(arguments, |name| match asking.variables(|variables| variables.get(name).map(str::to_owned)) {
            Err(_) if may_miss => Ok(None),
            value => value.map(Some).map_err(external),
        })
    })
}

/// `set_config(name, value, is_local)`. There is no transaction for the setting to end with.
fn set_config(asking: &Asking) -> ScalarUDF {
    let asking = asking.clone();
    function("set_config", DataType::Utf8, Volatility::Volatile, move |arguments| {
        let Some(ColumnarValue::Scalar(ScalarValue::Utf8(Some(value)))) = arguments.get(1) else {
            return exec_err!("set_config wants the value as a text");
        };
        texts_of(arguments, |name| {
            let set = asking.variables(|variables| {
                variables.set(name, Some(value))?;
                variables.get(name).map(str::to_owned)
            });
            set.map(Some).map_err(external)
        })
    })
}

/// `pg_cancel_backend(pid)`, `pg_terminate_backend(pid)`: whether there is such a session.
fn tell(asking: &Asking, name: &'static str, signal: Signal) -> ScalarUDF {
    let asking = asking.clone();
    function(name, DataType::Boolean, Volatility::Volatile, move |arguments| {
        let Some(backends) = arguments.first() else { return exec_err!("{name} wants the number of a session") };
        let backends = int32(&backends.to_array(1)?)?;
        let tell = |backend| asking.sessions.tell(backend, signal, &asking.user).map_err(external);
        let mut told = Vec::with_capacity(backends.len());
        for backend in backends.as_primitive::<Int32Type>() {
            told.push(backend.map(tell).transpose()?);
        }
        in_form_of(&arguments[..1], Arc::new(BooleanArray::from(told)))
    })
}

/// Whether a table is found without naming its database.
fn pg_table_is_visible(asking: &Asking, oids: &Arc<Oids>) -> ScalarUDF {
    let (asking, oids) = (asking.clone(), Arc::clone(oids));
    function("pg_table_is_visible", DataType::Boolean, Volatility::Stable, move |arguments| {
        let path = asking.search_path();
        let visible = |oid| {
            let about = oids.about(oid)?;
            Some(about.namespace == PG_CATALOG || path.contains(&about.namespace))
        };
        of_oids(arguments, |found| Arc::new(found.map(|oid| oid.and_then(visible)).collect::<BooleanArray>()))
    })
}

/// The name of a table, qualified unless its database is the first in the search path.
fn regclass_name(oids: &Arc<Oids>) -> ScalarUDF {
    let oids = Arc::clone(oids);
    function("_regclass_name", DataType::Utf8, Volatility::Stable, move |arguments| {
        let name = |oid: i32| match oids.about(oid) {
            Some(about) if [PG_CATALOG, lacus_core::MAIN_DATABASE].contains(&about.namespace.as_str()) => about.name,
            Some(about) => about.name.map(|name| format!("{}.{name}", about.namespace)),
            None => Some(if oid == 0 { "-".to_owned() } else { oid.to_string() }),
        };
        of_oids(arguments, |found| Arc::new(found.map(|oid| oid.and_then(name)).collect::<StringArray>()))
    })
}

fn to_regclass(oids: &Arc<Oids>) -> ScalarUDF {
    let oids = Arc::clone(oids);
    function("to_regclass", DataType::Int32, Volatility::Stable, move |arguments| {
        let [name] = arguments else { return exec_err!("to_regclass wants one name") };
        let names = cast(&name.to_array(1)?, &DataType::Utf8)?;
        let find = |name: &str| {
            let plain = parts_of(name)?.join(".");
            let of = |database: &str| oids.named(&format!("{database}.{plain}"));
            oids.named(&plain).or_else(|| of(lacus_core::MAIN_DATABASE)).or_else(|| of(PG_CATALOG))
        };
        let found: Int32Array = names.as_string::<i32>().iter().map(|name| name.and_then(find)).collect();
        in_form_of(arguments, Arc::new(found))
    })
}

/// `parse_ident(name)`: the parts of a name, null if it is invalid. The library's does not allow the blanks around the dot
/// that ADBC sends.
fn parse_ident() -> ScalarUDF {
    let parts = DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)));
    function("parse_ident", parts, Volatility::Immutable, |arguments| {
        let [name] = arguments else { return exec_err!("parse_ident wants one name") };
        let names = cast(&name.to_array(1)?, &DataType::Utf8)?;
        let mut lists = ListBuilder::new(StringBuilder::new());
        for name in names.as_string::<i32>() {
            lists.append_option(name.and_then(parts_of).map(|parts| parts.into_iter().map(Some)));
        }
        in_form_of(arguments, Arc::new(lists.finish()))
    })
}

/// `"Web" . Clicks` as `Web` and `clicks`. None if a quote is not closed or a part is empty.
fn parts_of(name: &str) -> Option<Vec<String>> {
    let (mut parts, mut is_quoted) = (vec![String::new()], false);
    for letter in name.chars() {
        let part = parts.last_mut()?;
        match letter {
            '"' => is_quoted = !is_quoted,
            letter if is_quoted => part.push(letter),
            '.' => parts.push(String::new()),
            letter if letter.is_whitespace() => {}
            letter => part.extend(letter.to_lowercase()),
        }
    }
    (!is_quoted && parts.iter().all(|part| !part.is_empty())).then_some(parts)
}

/// The OID of a built-in type, by either of its names.
fn to_regtype() -> ScalarUDF {
    /// The OIDs of these types are below this.
    const OIDS_END: u32 = 6_000;
    function("to_regtype", DataType::Int32, Volatility::Stable, |arguments| {
        let [name] = arguments else { return exec_err!("to_regtype wants one name") };
        let names = cast(&name.to_array(1)?, &DataType::Utf8)?;
        let find = |name: &str| {
            let mut kinds = (1..OIDS_END).filter_map(Type::from_oid);
            let found = kinds.find(|kind| kind.name() == name || sql_name(kind, -1) == name)?;
            i32::try_from(found.oid()).ok()
        };
        let found: Int32Array = names.as_string::<i32>().iter().map(|name| name.and_then(find)).collect();
        in_form_of(arguments, Arc::new(found))
    })
}

fn pg_get_viewdef(oids: &Arc<Oids>) -> ScalarUDF {
    let oids = Arc::clone(oids);
    function("pg_get_viewdef", DataType::Utf8, Volatility::Stable, move |arguments| {
        let definition = |oid| oids.about(oid)?.definition;
        of_oids(arguments, |found| Arc::new(found.map(|oid| oid.and_then(definition)).collect::<StringArray>()))
    })
}

fn pg_get_userbyid() -> ScalarUDF {
    function("pg_get_userbyid", DataType::Utf8, Volatility::Stable, |_| {
        Ok(ColumnarValue::Scalar(ScalarValue::Utf8(Some(OWNER.to_owned()))))
    })
}

/// `format_type(oid, modifier)`.
fn format_type() -> ScalarUDF {
    function("format_type", DataType::Utf8, Volatility::Stable, |arguments| {
        let arrays = ColumnarValue::values_to_arrays(arguments)?;
        let (oids, modifiers) = match arrays.as_slice() {
            [oids] => (int32(oids)?, None),
            [oids, modifiers] => (int32(oids)?, Some(int32(modifiers)?)),
            _ => return exec_err!("format_type wants the number of a type and its modifier"),
        };
        let names = (0..oids.len()).map(|row| {
            let oids = oids.as_primitive::<Int32Type>();
            let oid = (!oids.is_null(row)).then(|| oids.value(row))?;
            let modifiers = modifiers.as_ref().map(|modifiers| modifiers.as_primitive::<Int32Type>());
            let modifier = modifiers.filter(|modifiers| !modifiers.is_null(row)).map_or(-1, |all| all.value(row));
            Some(match u32::try_from(oid).ok().and_then(Type::from_oid) {
                Some(kind) => sql_name(&kind, modifier),
                None if oid == 0 => "-".to_owned(),
                None => "???".to_owned(),
            })
        });
        let names: ArrayRef = Arc::new(names.collect::<StringArray>());
        in_form_of(arguments, names)
    })
}

fn pg_encoding_to_char() -> ScalarUDF {
    function("pg_encoding_to_char", DataType::Utf8, Volatility::Stable, |arguments| {
        of_oids(arguments, |numbers| {
            let name = |number| if number == 6 { "UTF8" } else { "" };
            Arc::new(numbers.map(|number| number.map(name)).collect::<StringArray>())
        })
    })
}

/// The name of a value's type, without precision.
fn pg_typeof() -> ScalarUDF {
    function("pg_typeof", DataType::Utf8, Volatility::Stable, |arguments| {
        let [value] = arguments else { return exec_err!("pg_typeof wants one value") };
        let name = sql_name(&postgres_type(&Field::new("value", value.data_type(), true)), -1);
        Ok(ColumnarValue::Scalar(ScalarValue::Utf8(Some(name))))
    })
}

/// `12 kB`: in the largest unit that gives at least ten.
fn pg_size_pretty() -> ScalarUDF {
    function("pg_size_pretty", DataType::Utf8, Volatility::Stable, |arguments| {
        let [sizes] = arguments else { return exec_err!("pg_size_pretty wants one number") };
        let sizes = cast(&sizes.to_array(1)?, &DataType::Int64)?;
        let texts = sizes.as_primitive::<Int64Type>().iter().map(|size| size.map(pretty));
        in_form_of(arguments, Arc::new(texts.collect::<StringArray>()))
    })
}

fn pretty(bytes: i64) -> String {
    let mut size = bytes;
    for unit in ["bytes", "kB", "MB", "GB", "TB"] {
        if size.abs() < 10 * 1024 {
            return format!("{size} {unit}");
        }
        size = (size + 512) / 1024;
    }
    format!("{size} PB")
}

/// Maps each text of the first argument to a text.
fn texts_of(arguments: &[ColumnarValue], answer: impl Fn(&str) -> Result<Option<String>>) -> Answer {
    let Some(first) = arguments.first() else { return exec_err!("a name is missing") };
    let names = cast(&first.to_array(1)?, &DataType::Utf8)?;
    let mut found = Vec::with_capacity(names.len());
    for name in names.as_string::<i32>() {
        found.push(match name {
            Some(name) => answer(name)?,
            None => None,
        });
    }
    in_form_of(&arguments[..1], Arc::new(StringArray::from(found)))
}

/// Maps each number of the first argument.
fn of_oids(arguments: &[ColumnarValue], answer: impl Fn(&mut dyn Iterator<Item = Option<i32>>) -> ArrayRef) -> Answer {
    let Some(first) = arguments.first() else { return exec_err!("the number of an object is missing") };
    let oids = int32(&first.to_array(1)?)?;
    let found = answer(&mut oids.as_primitive::<Int32Type>().iter());
    in_form_of(&arguments[..1], found)
}

fn int32(numbers: &ArrayRef) -> Result<ArrayRef> {
    Ok(cast(numbers, &DataType::Int32)?)
}

/// A scalar if the arguments are scalars.
fn in_form_of(arguments: &[ColumnarValue], found: ArrayRef) -> Answer {
    if arguments.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_))) {
        return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&found, 0)?));
    }
    Ok(ColumnarValue::Array(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_pretty() {
        assert_eq!(pretty(10_239), "10239 bytes");
        assert_eq!(pretty(10_240), "10 kB");
        assert_eq!(pretty(5_000_000_000), "4768 MB");
    }
}
