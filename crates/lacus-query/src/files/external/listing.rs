//! The files of an external table, with what the names of their folders say.
//!
//! `dt=2026-11-22/hour=7/part-0.parquet`: the folders are those of `PARTITIONED BY (dt date, hour int)`, in this order. A file
//! that is not in such folders is an error, as its rows would be missing otherwise.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, StringArray};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::Expr;
use lacus_core::Kind;
use lacus_lake::{Column, Outside, OutsideFile, Readers};

use super::definition::Definition;
use crate::error::SqlError;
use crate::files::options::Form;
use crate::files::source::Input;
use crate::files::writer::of_lake;
use crate::json::type_name;

/// The name of a folder whose value is null.
const NULL_FOLDER: &str = "__HIVE_DEFAULT_PARTITION__";
/// Suffixes of text files that can't be decompressed here.
const COMPRESSED: [&str; 8] = [".bz2", ".snappy", ".lzo", ".lz4", ".deflate", ".xz", ".zip", ".br"];

/// Files that were found.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) inputs: Arc<Vec<Input>>,
    /// For each column of folders, the value of each file.
    pub(super) values: Arc<[ArrayRef]>,
    /// The columns of folders.
    columns: SchemaRef,
    /// The folders that contain files, as `dt=2026-11-22/hour=7`.
    pub(super) folders: Vec<String>,
    /// Turns to read them.
    pub(super) readers: Readers,
}

impl Listing {
    /// Looks for the files of a table.
    ///
    /// # Errors
    /// If there are none, too many, or such as can't be read; and where SQL may not read.
    pub(super) async fn of(outside: &Outside, definition: &Definition) -> Result<Self, SqlError> {
        let location = outside.to_read(&definition.location).map_err(of_lake)?.as_folder();
        let begin = location.to_string();
        let files = with_rows(location.files().await.map_err(of_lake)?, &begin, &definition.folders);
        if files.is_empty() {
            let message = format!("there is no file whose path begins with {begin}");
            return Err(SqlError::new(Kind::NotFound, "58P01", message)
                .with_hint("names that begin with _ or . are passed over"));
        }
        let is_text = !matches!(definition.how.form, Form::Parquet);
        if let Some(file) = files.iter().find(|file| is_text && COMPRESSED.iter().any(|end| file.name.ends_with(end))) {
            return Err(SqlError::invalid("0A000", format!("{} is compressed as lacus does not read it", file.name))
                .with_hint("compress it with gzip or zstd"));
        }
        let (values, folders) = values(&files, &begin, definition)?;
        let first = definition.columns.columns.len();
        let columns: Vec<Arc<Field>> = definition.schema.fields().iter().skip(first).cloned().collect();
        let inputs = files.into_iter().map(Input::File).collect();
        let (inputs, columns) = (Arc::new(inputs), Arc::new(Schema::new(columns)));
        Ok(Self { inputs, values, columns, folders, readers: outside.readers() })
    }

    /// How large a file is.
    pub(super) fn bytes(&self, file: usize) -> u64 {
        match &self.inputs[file] {
            Input::File(file) => file.bytes,
            Input::Sent(_) => 0,
        }
    }

    /// The files in folders that all filters accept, in order.
    pub(super) fn files_to_read(&self, filters: &[Expr], session: &dyn Session) -> Result<Vec<usize>> {
        let count = self.inputs.len();
        let mut is_kept = vec![true; count];
        if self.values.is_empty() {
            return Ok((0..count).collect());
        }
        let named = DFSchema::try_from(Arc::clone(&self.columns))?;
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        let folders = RecordBatch::try_new_with_options(Arc::clone(&self.columns), self.values.to_vec(), &options)?;
        for filter in filters.iter().filter(|filter| self.is_about_folders(filter)) {
            // A filter that fails here fails again above, or there are no rows to fail on.
            let Ok(filter) = session.create_physical_expr(filter.clone(), &named) else { continue };
            let Ok(accepted) = filter.evaluate(&folders).and_then(|accepted| accepted.into_array(count)) else {
                continue;
            };
            let Some(accepted) = accepted.as_boolean_opt() else { continue };
            for (is_kept, is_accepted) in is_kept.iter_mut().zip(accepted) {
                *is_kept &= is_accepted == Some(true);
            }
        }
        Ok((0..count).filter(|&file| is_kept[file]).collect())
    }

    /// Whether a filter depends on the folder alone.
    fn is_about_folders(&self, filter: &Expr) -> bool {
        let columns = filter.column_refs();
        let is_folder = |name: &str| self.columns.fields().iter().any(|field| field.name() == name);
        !filter.is_volatile() && !columns.is_empty() && columns.iter().all(|column| is_folder(&column.name))
    }
}

/// The files that may have rows. As in Hive, names that begin with `_` or `.` are skipped, and so are the empty files that
/// consoles of buckets make for folders.
fn with_rows(files: Vec<OutsideFile>, begin: &str, columns: &[Column]) -> Vec<OutsideFile> {
    let mut around: HashSet<String> = HashSet::new();
    for file in &files {
        around.extend(file.name.match_indices('/').map(|(end, _)| file.name[..end].to_owned()));
    }
    let is_of_column = |name: &str| {
        let column = name.split_once('=').map(|(column, _)| column);
        column.is_some_and(|column| columns.iter().any(|other| other.name.eq_ignore_ascii_case(column)))
    };
    let may_have = |file: &OutsideFile| {
        let rest = file.name.strip_prefix(begin).unwrap_or(&file.name);
        let is_hidden = rest.split('/').any(|part| part.starts_with(['_', '.']));
        let name = rest.rsplit('/').next().unwrap_or(rest);
        let is_like_folder = name.ends_with("_$folder$") || around.contains(&file.name) || is_of_column(name);
        !(is_hidden || file.bytes == 0 && is_like_folder)
    };
    files.into_iter().filter(may_have).collect()
}

/// The value of each file for each column of folders, and all folders.
fn values(
    files: &[OutsideFile],
    begin: &str,
    definition: &Definition,
) -> Result<(Arc<[ArrayRef]>, Vec<String>), SqlError> {
    let columns = &definition.folders;
    let mut values: Vec<ArrayRef> = Vec::with_capacity(columns.len());
    if columns.is_empty() {
        return Ok((values.into(), Vec::new()));
    }
    let mut texts: Vec<Vec<Option<String>>> = vec![Vec::new(); columns.len()];
    let mut folders: Vec<String> = Vec::new();
    for file in files {
        let rest = file.name.strip_prefix(begin).unwrap_or(&file.name);
        let (folder, named) = in_folders(rest, columns).ok_or_else(|| misplaced(file, columns))?;
        texts.iter_mut().zip(named).for_each(|(texts, value)| texts.push(value));
        if folders.last() != Some(&folder) {
            folders.push(folder);
        }
    }
    let fields = definition.schema.fields().iter().skip(definition.columns.columns.len());
    for (texts, field) in texts.into_iter().zip(fields) {
        values.push(typed(&texts.into_iter().collect(), field, files)?);
    }
    Ok((values.into(), folders))
}

/// The folders of a file as far as they are columns, and their values. None if the file is not in such folders.
fn in_folders(rest: &str, columns: &[Column]) -> Option<(String, Vec<Option<String>>)> {
    let mut parts = rest.split('/');
    let (mut folders, mut values) = (Vec::with_capacity(columns.len()), Vec::with_capacity(columns.len()));
    for column in columns {
        let part = parts.next()?;
        let (name, value) = part.split_once('=')?;
        if !unescaped(name)?.eq_ignore_ascii_case(&column.name) {
            return None;
        }
        let value = unescaped(value)?;
        values.push(Some(value).filter(|value| value != NULL_FOLDER));
        folders.push(part);
    }
    // The file itself.
    parts.next()?;
    Some((folders.join("/"), values))
}

fn misplaced(file: &OutsideFile, columns: &[Column]) -> SqlError {
    let folders: Vec<String> = columns.iter().map(|column| format!("{}=…/", column.name)).collect();
    SqlError::invalid("22023", format!("{} is in no folder {}", file.name, folders.concat())).with_hint(
        "the columns of PARTITIONED BY are folders below LOCATION: move the file, or make the table without them",
    )
}

/// A folder name without Hive's escapes: `%3A` is a colon. None if it is not UTF-8.
fn unescaped(name: &str) -> Option<String> {
    let bytes = name.as_bytes();
    let (mut plain, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(&byte) = bytes.get(at) {
        let code = bytes.get(at + 1..at + 3).filter(|digits| byte == b'%' && digits.iter().all(u8::is_ascii_hexdigit));
        let code = code.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        plain.push(code.unwrap_or(byte));
        at += if code.is_some() { 3 } else { 1 };
    }
    String::from_utf8(plain).ok()
}

/// The folder name of a value, as Hive writes it.
pub(super) fn folder_of(column: &str, value: &str) -> String {
    const ESCAPED: &str = "\"#%'*/:=?\\{[]^";
    let mut folder = format!("{column}=");
    for letter in value.chars() {
        if letter.is_ascii_control() || ESCAPED.contains(letter) {
            folder.push_str(&format!("%{:02X}", u32::from(letter)));
        } else {
            folder.push(letter);
        }
    }
    folder
}

/// The values in folder names, with the column's type.
fn typed(texts: &StringArray, field: &Field, files: &[OutsideFile]) -> Result<ArrayRef, SqlError> {
    let options = CastOptions { safe: true, ..CastOptions::default() };
    let values = cast_with_options(texts, field.data_type(), &options);
    let values = values
        .map_err(|error| SqlError::new(Kind::Internal, "XX000", "read the names of folders").with_source(error))?;
    match (0..texts.len()).find(|&file| texts.is_valid(file) && values.is_null(file)) {
        None => Ok(values),
        Some(file) => {
            let (name, value, kind) = (field.name(), texts.value(file), type_name(field.data_type()));
            let message = format!("{} is in folder {name}={value}: \"{value}\" is no {kind}", files[file].name);
            Err(SqlError::invalid("22P02", message).with_hint(
                "rename the folder, or make the table with another type of the column: string takes any name",
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use lacus_lake::ColumnType;

    use super::*;

    #[test]
    fn names_of_folders_are_as_hive_writes_them() {
        for (name, expected) in [
            ("2026-11-22", Some("2026-11-22")),
            ("a%3Ab%2fc", Some("a:b/c")),
            ("100%", Some("100%")),
            ("%+1%4", Some("%+1%4")),
            ("%C3%B6", Some("ö")),
            ("%C3", None),
            ("", Some("")),
        ] {
            assert_eq!(unescaped(name).as_deref(), expected, "{name}");
        }
        assert_eq!(folder_of("at", "10:00/ö 5%"), "at=10%3A00%2Fö 5%25");
    }

    #[test]
    fn files_are_in_the_folders_of_the_columns_and_in_no_others() {
        let columns = [Column::new(1, "dt", ColumnType::Date), Column::new(2, "hour", ColumnType::Int)];
        let found = in_folders("DT=2026-11-22/hour=7/more/x.csv", &columns).unwrap();
        assert_eq!(found.0, "DT=2026-11-22/hour=7");
        assert_eq!(found.1, [Some("2026-11-22".to_owned()), Some("7".to_owned())]);
        let nulls = in_folders("dt=__HIVE_DEFAULT_PARTITION__/hour=/x", &columns).unwrap();
        assert_eq!(nulls.1, [None, Some(String::new())]);
        for rest in
            ["x.csv", "dt=2026-11-22/x.csv", "hour=7/dt=2026-11-22/x", "2026/11/x", "dt=1/hour=7", "dt=%FF/hour=1/x"]
        {
            assert!(in_folders(rest, &columns).is_none(), "{rest}");
        }
    }
}
