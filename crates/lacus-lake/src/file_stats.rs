//! What is known of a file without reading it: its partition, and bounds and null counts of its columns.
//!
//! Kept in memory for every live file, so that a query skips files without asking the store. Of each column of a file it takes
//! some 20 bytes, 40 where it is text: 0.7 KB for [`COLUMNS_MAX`] columns, 1.3 KB where all are text. The values of its
//! partition come on top.

mod columns;

use std::collections::{BTreeSet, HashMap};
use std::iter;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::Int32Type;
use iceberg::spec::{
    DataFile, Datum, Literal, NestedFieldRef, PrimitiveLiteral, PrimitiveType, Struct, TableMetadata, Transform, Type,
};

use self::columns::Columns;
pub use self::columns::{Bound, ColumnStats};
use crate::arrange::transformed;
use crate::kernel::is_data_file;
use crate::partition_types::widened;
use crate::schema::{OFFSET, PARTITION, RECEIVED_AT, RESCUED};

/// Columns of a file whose bounds are kept: the system columns and those of the layout first, then in order of discovery.
pub(crate) const COLUMNS_MAX: usize = 32;

/// Where a file belongs: files of one placement may be merged.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Placement {
    /// The partition spec it was written with.
    pub(crate) spec_id: i32,
    /// Its values of that.
    pub(crate) values: Struct,
    /// The sort order of its rows; 0 for none.
    pub(crate) sort_order: i32,
}

impl Default for Placement {
    fn default() -> Self {
        Self { spec_id: 0, values: Struct::empty(), sort_order: 0 }
    }
}

/// What is known of a file.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FileStats {
    pub(crate) placement: Placement,
    columns: Columns,
    /// Fields of the partition that are buckets: source column, buckets, and which one it is.
    buckets: Box<[BucketOf]>,
    /// Fields of the partition that are values of a column.
    values: Box<[ValueOf]>,
    /// The values of columns that the manifest tells nothing of: the file may lack them.
    uncounted: Box<[UncountedValue]>,
    may_have_nan: bool,
    is_own: bool,
}

/// The bucket that all values of a column are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BucketOf {
    /// Field id of the column.
    pub id: i32,
    /// How many buckets there are.
    pub count: u32,
    /// Which one; none if all values are null.
    pub bucket: Option<i32>,
}

/// The value that a column has in all rows.
#[derive(Debug, Clone, PartialEq)]
pub struct ValueOf {
    /// Field id of the column.
    pub id: i32,
    /// The value itself, text in full; none if it is null in all rows.
    pub value: Option<Bound<'static>>,
}

/// The value that a column has in all rows of a file that lacks it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct UncountedValue {
    /// Field id of the column.
    pub(crate) id: i32,
    /// The value itself.
    pub(crate) value: PrimitiveLiteral,
}

impl FileStats {
    /// What Iceberg's description of a file tells.
    pub(crate) fn of(file: &DataFile, spec_id: i32, metadata: &TableMetadata) -> Self {
        let spec = metadata.partition_spec_by_id(spec_id);
        let values = spec.map(|spec| widened(file.partition(), spec, metadata.current_schema()));
        let values = values.unwrap_or_else(|| file.partition().clone());
        let placement = Placement { spec_id, values, sort_order: file.sort_order_id().unwrap_or(0) };
        let is_own = is_data_file(file.file_path());
        let columns = ids_to_keep(file, metadata).into_iter().map(|id| column_of(file, id));
        Self {
            columns: columns.collect(),
            buckets: partition_buckets(file, spec_id, metadata),
            values: partition_values(file, spec_id, metadata, value_of),
            uncounted: partition_values(file, spec_id, metadata, uncounted_value_of),
            placement,
            may_have_nan: may_have_nan(file, is_own, metadata),
            is_own,
        }
    }

    /// Whether a column outside of lists may have a value that is no number. Parquet's statistics leave such values out,
    /// while to a query they are greater than all others.
    #[must_use]
    pub fn may_have_nan(&self) -> bool {
        self.may_have_nan
    }

    /// Whether lacus wrote the file: then its bounds of whole numbers and times are values of it. Those of other writers need
    /// only hold all values.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.is_own
    }

    /// What is known of the column with this field id.
    #[must_use]
    pub fn column(&self, id: i32) -> Option<ColumnStats<'_>> {
        self.columns.get(id)
    }

    /// The bucket that all values of the column with this field id are in, if files are partitioned so.
    #[must_use]
    pub fn bucket(&self, id: i32) -> Option<BucketOf> {
        self.buckets.iter().find(|bucket| bucket.id == id).copied()
    }

    /// The columns by whose values files are partitioned, and what they have in all rows of this one. No fractions: what is no
    /// number, and zero, have several forms.
    #[must_use]
    pub fn values(&self) -> &[ValueOf] {
        &self.values
    }

    /// The values of columns that the file may lack, as files that came from Hive do: its partition has them (Iceberg specification,
    /// "Column Projection"). None of them is null.
    pub(crate) fn uncounted(&self) -> &[UncountedValue] {
        &self.uncounted
    }
}

/// The buckets, of so many, that these values are in. None if values of this type are in no buckets.
#[must_use]
pub fn buckets_of(values: &ArrayRef, count: u32) -> Option<Vec<i32>> {
    let buckets = transformed(values, Transform::Bucket(count)).ok()?;
    Some(buckets.as_primitive_opt::<Int32Type>()?.iter().flatten().collect())
}

fn ids_to_keep(file: &DataFile, metadata: &TableMetadata) -> BTreeSet<i32> {
    let system = [RESCUED, RECEIVED_AT, PARTITION, OFFSET];
    let system = system.into_iter().filter_map(|name| metadata.current_schema().field_id_by_name(name));
    let specs = metadata.partition_specs_iter().flat_map(|spec| spec.fields().iter().map(|field| field.source_id));
    let orders = metadata.sort_orders_iter().flat_map(|order| order.fields.iter().map(|field| field.source_id));
    let known = |id: &i32| {
        file.null_value_counts().contains_key(id)
            || file.lower_bounds().contains_key(id)
            || file.upper_bounds().contains_key(id)
    };
    let all: BTreeSet<i32> = file.null_value_counts().keys().chain(file.lower_bounds().keys()).copied().collect();
    let mut kept = BTreeSet::new();
    for id in system.chain(specs).chain(orders).filter(known).chain(all) {
        if kept.len() == COLUMNS_MAX {
            break;
        }
        kept.insert(id);
    }
    kept
}

/// Not every engine counts values that are no numbers, and some count nothing: then each column of fractions may have some.
/// Of a file of lacus all columns are counted that it has.
fn may_have_nan(file: &DataFile, is_own: bool, metadata: &TableMetadata) -> bool {
    let counts = file.nan_value_counts();
    let schemas = || iter::once(metadata.current_schema()).chain(metadata.schemas_iter());
    let is_uncounted = |id: i32, field: &NestedFieldRef| !counts.contains_key(&id) && is_fraction(&field.field_type);
    if counts.values().any(|&count| count > 0) {
        return true;
    }
    if is_own {
        let field = |id: i32| schemas().find_map(|schema| schema.field_by_id(id));
        return file.value_counts().keys().any(|&id| field(id).is_some_and(|field| is_uncounted(id, field)));
    }
    schemas().any(|schema| schema.field_id_to_fields().iter().any(|(&id, field)| is_uncounted(id, field)))
}

fn is_fraction(kind: &Type) -> bool {
    matches!(kind.as_primitive_type(), Some(PrimitiveType::Float | PrimitiveType::Double))
}

fn column_of(file: &DataFile, id: i32) -> ColumnStats<'_> {
    // A bound says nothing about values that are no numbers, and they are greater than all others to a query.
    let may_have_nan = file.nan_value_counts().get(&id) != Some(&0);
    ColumnStats {
        id,
        nulls: file.null_value_counts().get(&id).copied(),
        lower: bound_of(file.lower_bounds(), id, may_have_nan),
        upper: bound_of(file.upper_bounds(), id, may_have_nan),
    }
}

fn bound_of(bounds: &HashMap<i32, Datum>, id: i32, may_have_nan: bool) -> Option<Bound<'_>> {
    match Bound::of(bounds.get(&id)?.literal())? {
        Bound::Double(value) if may_have_nan || value.is_nan() => None,
        bound => Some(bound),
    }
}

fn partition_buckets(file: &DataFile, spec_id: i32, metadata: &TableMetadata) -> Box<[BucketOf]> {
    let Some(spec) = metadata.partition_spec_by_id(spec_id) else { return Box::default() };
    let fields = spec.fields().iter().zip(file.partition().iter());
    let buckets = fields.filter_map(|(field, value)| {
        let Transform::Bucket(count) = field.transform else { return None };
        let bucket = match value {
            Some(value) => Some(match value.as_primitive_literal()? {
                PrimitiveLiteral::Int(bucket) => bucket,
                _ => return None,
            }),
            None => None,
        };
        Some(BucketOf { id: field.source_id, count, bucket })
    });
    buckets.collect()
}

fn partition_values<T>(
    file: &DataFile,
    spec_id: i32,
    metadata: &TableMetadata,
    value_of: fn(&DataFile, i32, Option<&Literal>) -> Option<T>,
) -> Box<[T]> {
    let Some(spec) = metadata.partition_spec_by_id(spec_id) else { return Box::default() };
    let fields = spec.fields().iter().zip(file.partition().iter());
    let values = fields.filter(|(field, _)| field.transform == Transform::Identity);
    values.filter_map(|(field, value)| value_of(file, field.source_id, value)).collect()
}

fn uncounted_value_of(file: &DataFile, id: i32, value: Option<&Literal>) -> Option<UncountedValue> {
    let is_counted = file.null_value_counts().contains_key(&id);
    let value = value.filter(|_| !is_counted)?;
    Some(UncountedValue { id, value: value.as_primitive_literal()? })
}

/// None where the manifest counts no nulls of the column, as of a file that lacks it, or others than the partition says.
fn value_of(file: &DataFile, id: i32, value: Option<&Literal>) -> Option<ValueOf> {
    let nulls = *file.null_value_counts().get(&id)?;
    let Some(value) = value else {
        return (nulls == file.record_count()).then_some(ValueOf { id, value: None });
    };
    let literal = value.as_primitive_literal()?;
    let value = Bound::of(&literal)?.into_owned();
    let is_certain = nulls == 0 && !matches!(value, Bound::Double(_));
    is_certain.then_some(ValueOf { id, value: Some(value) })
}

#[cfg(test)]
mod tests {
    use iceberg::spec::{
        DataContentType, DataFileBuilder, DataFileFormat, FormatVersion, NestedField, Schema, SortOrder,
        TableMetadataBuilder, UnboundPartitionSpec,
    };

    use super::*;

    const OWN: &str = "file:///lake/main/t/data/01a20131-93d7-7111-88eb-e03dce2a4801-00000.parquet";
    const SPARK: &str = "file:///lake/main/t/data/00000-0-1f6e2f0a-5d4c-4b8e-9a53-0d3f3b1c2a10-00001.parquet";

    /// A table of one whole number, 1, one fraction, 2, and one amount, 3.
    fn table(spec: UnboundPartitionSpec) -> TableMetadata {
        let column = |id, name: &str, kind| NestedField::optional(id, name, Type::Primitive(kind)).into();
        let amount = PrimitiveType::Decimal { precision: 9, scale: 2 };
        let columns =
            [column(1, "n", PrimitiveType::Long), column(2, "x", PrimitiveType::Double), column(3, "amount", amount)];
        let schema = Schema::builder().with_fields(columns).build().unwrap();
        let (order, place) = (SortOrder::unsorted_order(), "file:///lake/main/t".to_owned());
        let metadata =
            TableMetadataBuilder::new(schema, spec, order, place, FormatVersion::V2, HashMap::new()).unwrap();
        metadata.build().unwrap().metadata
    }

    /// A file of three rows.
    fn file(path: &str, partition: Struct) -> DataFileBuilder {
        let mut file = DataFileBuilder::default();
        file.content(DataContentType::Data)
            .file_path(path.to_owned())
            .file_format(DataFileFormat::Parquet)
            .partition(partition)
            .partition_spec_id(0)
            .record_count(3)
            .file_size_in_bytes(100);
        file
    }

    fn stats(path: &str, values: &[i32], not_numbers: &[(i32, u64)]) -> FileStats {
        let mut file = file(path, Struct::empty());
        file.value_counts(values.iter().map(|&id| (id, 3)).collect())
            .nan_value_counts(not_numbers.iter().copied().collect());
        FileStats::of(&file.build().unwrap(), 0, &table(UnboundPartitionSpec::builder().build()))
    }

    /// What all rows have in a column that files are partitioned by, if it has so many nulls.
    fn values(id: i32, partition: Option<Literal>, nulls: Option<u64>) -> Vec<ValueOf> {
        let spec = UnboundPartitionSpec::builder().add_partition_field(id, "p", Transform::Identity).unwrap().build();
        let mut file = file(SPARK, Struct::from_iter([partition]));
        file.null_value_counts(nulls.map(|nulls| (id, nulls)).into_iter().collect());
        FileStats::of(&file.build().unwrap(), 0, &table(spec)).values().to_vec()
    }

    #[test]
    fn what_nobody_counted_may_be_no_number() {
        assert!(!stats(OWN, &[1, 2], &[(2, 0)]).may_have_nan());
        assert!(stats(OWN, &[1, 2], &[(2, 1)]).may_have_nan());
        assert!(stats(OWN, &[1, 2], &[]).may_have_nan());
        // It is from before the column came.
        assert!(!stats(OWN, &[1], &[]).may_have_nan());
        // Other writers may count nothing.
        assert!(stats(SPARK, &[1], &[]).may_have_nan());
        assert!(stats(SPARK, &[], &[]).may_have_nan());
        assert!(!stats(SPARK, &[1, 2], &[(2, 0)]).may_have_nan());
    }

    #[test]
    fn a_partition_tells_the_value_of_all_rows() {
        let seven = [ValueOf { id: 1, value: Some(Bound::Long(7)) }];
        assert_eq!(values(1, Some(Literal::long(7)), Some(0)), seven);
        // The column was of another type then.
        assert_eq!(values(1, Some(Literal::int(7)), Some(0)), seven);
        assert_eq!(values(1, None, Some(3)), [ValueOf { id: 1, value: None }]);
        // The file may lack the column.
        assert!(values(1, Some(Literal::long(7)), None).is_empty());
        assert!(values(1, None, None).is_empty());
        // The manifest contradicts itself.
        assert!(values(1, Some(Literal::long(7)), Some(3)).is_empty());
        assert!(values(1, None, Some(0)).is_empty());
        assert!(values(2, Some(Literal::double(0.0)), Some(0)).is_empty(), "zero may have a sign");
    }

    #[test]
    fn a_file_without_the_column_has_the_value_of_its_partition() {
        let uncounted = |id, partition, nulls: Option<u64>| {
            let spec =
                UnboundPartitionSpec::builder().add_partition_field(id, "p", Transform::Identity).unwrap().build();
            let mut file = file(SPARK, Struct::from_iter([partition]));
            file.null_value_counts(nulls.map(|nulls| (id, nulls)).into_iter().collect());
            FileStats::of(&file.build().unwrap(), 0, &table(spec)).uncounted().to_vec()
        };
        let of = |id, value| [UncountedValue { id, value }];
        assert_eq!(uncounted(1, Some(Literal::long(7)), None), of(1, PrimitiveLiteral::Long(7)));
        assert_eq!(uncounted(3, Some(Literal::decimal(1_250)), None), of(3, PrimitiveLiteral::Int128(1_250)));
        assert_eq!(uncounted(1, Some(Literal::long(7)), Some(0)), [], "the file has it");
        assert_eq!(uncounted(1, None, None), [], "null is what it is read as");
    }

    #[test]
    fn own_files_are_known_by_their_names() {
        assert!(stats(OWN, &[], &[]).is_own());
        assert!(!stats(SPARK, &[], &[]).is_own());
        assert!(!is_data_file("01a20131-93d7-7111-88eb-e03dce2a4801.parquet"));
        assert!(!is_data_file("part-00000.parquet"));
    }
}
