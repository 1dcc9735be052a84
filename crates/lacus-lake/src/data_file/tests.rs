//! What a Parquet file of ours holds, read back by others' readers.

use std::slice;
use std::sync::Arc;

use arrow::array::{Float64Array, Int32Array, StringArray, StructArray, new_null_array};
use arrow::buffer::NullBuffer;
use arrow::compute::interleave_record_batch;
use iceberg::spec::Datum;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::bloom_filter::Sbbf;

use super::*;
use crate::fixture::{column, nested, numbers, offsets, plain, rows, schema};
use crate::schema::{ColumnType, TableSchema};

#[test]
fn a_file_has_field_ids_at_every_depth_and_reads_back_as_it_was() {
    let schema = nested();
    let batches = [rows(&schema, 0, 0..10), rows(&schema, 1, 0..5)];
    let encoded = encode(&batches, None, &plain(&schema)).unwrap();
    let leaves = encoded.footer.metadata.file_metadata().schema_descr().columns();
    let ids: Vec<_> =
        leaves.iter().map(|leaf| (leaf.path().string(), leaf.self_type().get_basic_info().id())).collect();
    let expected = [
        ("n", 5),
        ("user.name", 7),
        ("user.tags.list.element", 9),
        ("items.list.element.price", 12),
        ("items.list.element.sold", 13),
        ("bytes", 14),
        ("_rescued", 1),
        ("_received_at", 2),
        ("_partition", 3),
        ("_offset", 4),
    ];
    assert_eq!(ids, expected.map(|(path, id)| (path.to_owned(), id)));
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(encoded.bytes)).unwrap();
    // The types that a scan sees are the table's own, to the time zone.
    assert_eq!(reader.schema().fields(), schema.arrow().fields());
    let read: Vec<_> = reader.build().unwrap().map(Result::unwrap).collect();
    let read = arrow::compute::concat_batches(&read[0].schema(), &read).unwrap();
    let written = arrow::compute::concat_batches(&schema.arrow(), &batches).unwrap();
    assert_eq!(read.columns(), written.columns());
}

/// What the library makes of the same batches: its writer is at all columns at once.
fn by_the_library(batches: &[RecordBatch], schema: &TableSchema) -> bytes::Bytes {
    let distinct = distinct_columns(&Source::of(batches, None, &schema.arrow()).unwrap());
    by_the_library_without_dictionaries(batches, schema, distinct)
}

fn by_the_library_without_dictionaries(
    batches: &[RecordBatch],
    schema: &TableSchema,
    distinct: Vec<ColumnPath>,
) -> bytes::Bytes {
    let count = batches.iter().map(RecordBatch::num_rows).sum::<usize>();
    let properties = properties(ZSTD_LEVEL, &plain(schema), ROW_GROUP_ROWS_MAX.min(count), distinct).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, schema.arrow(), Some(properties)).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.close().unwrap();
    bytes.into()
}

/// The same rows; every third has no user at all.
fn without_some_users(batch: &RecordBatch) -> RecordBatch {
    let mut columns = batch.columns().to_vec();
    let place = batch.schema().index_of("user").unwrap();
    let (fields, inside, _) = columns[place].as_struct().clone().into_parts();
    let is_there: Vec<bool> = (0..batch.num_rows()).map(|row| row % 3 > 0).collect();
    columns[place] = Arc::new(StructArray::new(fields, inside, Some(NullBuffer::from(is_there))));
    RecordBatch::try_new(batch.schema(), columns).unwrap()
}

/// The same rows; none has a user, whatever is inside it, or items.
fn without_users_and_items(batch: &RecordBatch) -> RecordBatch {
    let mut columns = batch.columns().to_vec();
    let [user, items] = ["user", "items"].map(|name| batch.schema().index_of(name).unwrap());
    let (fields, inside, _) = columns[user].as_struct().clone().into_parts();
    columns[user] = Arc::new(StructArray::new(fields, inside, Some(NullBuffer::new_null(batch.num_rows()))));
    columns[items] = new_null_array(columns[items].data_type(), batch.num_rows());
    RecordBatch::try_new(batch.schema(), columns).unwrap()
}

#[test]
fn column_after_column_comes_to_the_same_file() {
    let nested = nested();
    let batches = [rows(&nested, 0, 0..3_000), rows(&nested, 1, 0..1), without_some_users(&rows(&nested, 2, 0..2_000))];
    let encoded = encode(&batches, None, &plain(&nested)).unwrap();
    assert_eq!(bytes::Bytes::from(encoded.bytes), by_the_library(&batches, &nested));
    // The second batch is in two row groups.
    let numbers = numbers();
    let batches = [rows(&numbers, 0, 0..200_000), rows(&numbers, 0, 200_000..300_000)];
    let encoded = encode(&batches, None, &plain(&numbers)).unwrap();
    assert_eq!(encoded.footer.metadata.num_row_groups(), 2);
    assert_eq!(bytes::Bytes::from(encoded.bytes), by_the_library(&batches, &numbers));
}

#[test]
fn rows_in_another_order_come_to_the_same_file_as_if_they_had_come_so() {
    let nested = nested();
    let (first, second) = (rows(&nested, 0, 0..15_000), rows(&nested, 1, 0..20));
    // Every third row is left out.
    let places: Vec<Place> =
        (0..20).map(|row| (1, row)).chain((0..15_000).rev().filter(|row| row % 3 > 0).map(|row| (0, row))).collect();
    let nowhere = [without_users_and_items(&first), without_users_and_items(&second)];
    for batches in [[without_some_users(&first), second], nowhere] {
        let encoded = encode(&batches, Some(&places), &plain(&nested)).unwrap();
        let pieces =
            places.chunks(8_192).map(|some| interleave_record_batch(&[&batches[0], &batches[1]], some).unwrap());
        let pieces: Vec<RecordBatch> = pieces.collect();
        assert_eq!(bytes::Bytes::from(encoded.bytes), by_the_library(&pieces, &nested));
    }
}

/// The same rows, with three values in `kind` and in `user.country`.
fn with_few_kinds(batch: &RecordBatch) -> RecordBatch {
    let kinds = (0..batch.num_rows()).map(|row| Some(["a", "b", "c"][row % 3])).collect::<StringArray>();
    let kinds: ArrayRef = Arc::new(kinds);
    let mut columns = batch.columns().to_vec();
    let (fields, mut inside, nulls) = columns[2].as_struct().clone().into_parts();
    inside[1] = Arc::clone(&kinds);
    columns[2] = Arc::new(StructArray::new(fields, inside, nulls));
    columns[1] = kinds;
    RecordBatch::try_new(batch.schema(), columns).unwrap()
}

#[test]
fn only_values_that_come_again_are_in_dictionaries() {
    let user = vec![column(8, "session", ColumnType::Text), column(9, "country", ColumnType::Text)];
    let tags = ColumnType::List(Box::new(column(11, "element", ColumnType::Text)));
    let schema = schema(vec![
        column(5, "id", ColumnType::Text),
        column(6, "kind", ColumnType::Text),
        column(7, "user", ColumnType::Struct(user)),
        column(10, "tags", tags),
        column(12, "price", ColumnType::Double),
    ]);
    let batches = [with_few_kinds(&rows(&schema, 0, 0..5_000)), with_few_kinds(&rows(&schema, 0, 5_000..15_000))];
    let encoded = encode(&batches, None, &plain(&schema)).unwrap();
    let group = encoded.footer.metadata.row_group(0);
    let has_dictionary = |path: &str| {
        let chunk = group.columns().iter().find(|chunk| chunk.column_path().string() == path).unwrap();
        let by_pages = chunk.encodings().any(|encoding| encoding == Encoding::RLE_DICTIONARY);
        assert_eq!(chunk.dictionary_page_offset().is_some(), by_pages, "{path}");
        by_pages
    };
    for path in ["id", "user.session", "price", "_received_at", "_offset"] {
        assert!(!has_dictionary(path), "{path}");
    }
    // Elements of lists are not looked at.
    for path in ["kind", "user.country", "tags.list.element", "_partition"] {
        assert!(has_dictionary(path), "{path}");
    }
    let with_all = by_the_library_without_dictionaries(&batches, &schema, Vec::new());
    assert!(encoded.bytes.content_length() < with_all.len(), "it takes less room");
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(encoded.bytes)).unwrap();
    let read: Vec<_> = reader.build().unwrap().map(Result::unwrap).collect();
    let read = arrow::compute::concat_batches(&read[0].schema(), &read).unwrap();
    assert_eq!(read.columns(), arrow::compute::concat_batches(&schema.arrow(), &batches).unwrap().columns());
}

#[test]
fn what_is_no_number_is_counted_in_every_object() {
    let fields = vec![column(6, "x", ColumnType::Double), column(7, "name", ColumnType::Text)];
    let schema = schema(vec![column(5, "user", ColumnType::Struct(fields))]);
    let batch = rows(&schema, 0, 1..7);
    let x: ArrayRef = Arc::new(Float64Array::from(vec![f64::NAN, 1.0, f64::NAN, 2.0, f64::NAN, 3.0]));
    let mut columns = batch.columns().to_vec();
    let place = batch.schema().index_of("user").unwrap();
    let DataType::Struct(inside) = batch.schema().field(place).data_type().clone() else { panic!("an object") };
    let name = Arc::clone(columns[place].as_struct().column(1));
    columns[place] = Arc::new(StructArray::new(inside, vec![x, name], None));
    let batch = RecordBatch::try_new(batch.schema(), columns).unwrap();
    let counted = |places: Option<&[Place]>| {
        encode(slice::from_ref(&batch), places, &plain(&schema)).unwrap().footer.not_numbers.0.get(&6).copied()
    };
    assert_eq!(counted(None), Some(3));
    assert_eq!(counted(Some(&[(0, 0), (0, 1)])), Some(1), "of the rows that are in the file");
}

#[test]
fn nulls_of_a_required_column_are_refused() {
    let write = |is_nullable, values: ArrayRef| {
        let field = Field::new("day", values.data_type().clone(), is_nullable);
        let mut not_numbers = NotNumbers::default();
        encoding::ColumnEncoder::of(&field).write(&values, &mut std::iter::empty(), &mut not_numbers)
    };
    let values = |first: Option<f64>| -> ArrayRef { Arc::new(Float64Array::from(vec![first, Some(1.0)])) };
    write(true, values(None)).unwrap();
    write(false, values(Some(0.0))).unwrap();
    let error = write(false, values(None)).unwrap_err();
    assert!(error.kind() == lacus_core::Kind::Corrupt && error.message().contains("\"day\""), "{}", error.chain());
    // A part of an object that is required, and is not there in one row.
    let name = Arc::new(Field::new("x", DataType::Float64, true));
    let nulls = NullBuffer::from(vec![true, false]);
    let objects: ArrayRef = Arc::new(StructArray::new(vec![name].into(), vec![values(None)], Some(nulls)));
    write(true, Arc::clone(&objects)).unwrap();
    assert!(write(false, objects).is_err());
}

#[test]
fn a_file_is_described_by_what_is_certain() {
    let schema = nested();
    let encoded = encode(&[rows(&schema, 0, 1..15)], None, &plain(&schema)).unwrap();
    let file = encoded
        .describe("file:///lake/x.parquet".into(), &schema.iceberg(0).unwrap(), Placement::default())
        .unwrap()
        .file;
    assert_eq!((file.record_count(), file.file_size_in_bytes()), (14, encoded.bytes.content_length() as u64));
    assert_eq!(file.split_offsets(), Some(&[4][..]));
    assert_eq!(file.column_sizes().len(), 10);
    // Rows 7 and 14 have no name; elements of lists are not rows.
    assert_eq!((file.value_counts()[&7], file.null_value_counts()[&7]), (14, 2));
    assert!(
        [9, 12, 13].iter().all(|id| !file.value_counts().contains_key(id) && !file.lower_bounds().contains_key(id))
    );
    assert_eq!((&file.lower_bounds()[&5], &file.upper_bounds()[&5]), (&Datum::long(1), &Datum::long(14)));
    assert_eq!((&file.lower_bounds()[&4], &file.upper_bounds()[&4]), (&Datum::long(1), &Datum::long(14)));
    assert_eq!(file.upper_bounds()[&2], Datum::timestamptz_micros(1_700_000_000_000_014));
    assert_eq!(file.lower_bounds()[&7], Datum::string("text of 1"));
    // All null, or of a type without bounds.
    assert!([1, 14].iter().all(|id| !file.lower_bounds().contains_key(id) && !file.upper_bounds().contains_key(id)));
}

#[test]
fn a_row_must_come_after_the_table_and_before_the_commit() {
    let batch = rows(&numbers(), 1, 3..6);
    let check = |current: &[u64], delivered: &[u64]| check_positions(&batch, &offsets(current), &offsets(delivered));
    check(&[0, 3], &[0, 6]).unwrap();
    check(&[], &[9, 9]).unwrap();
    assert!(check(&[0, 4], &[0, 6]).is_err());
    assert!(check(&[0, 3], &[0, 5]).is_err());
    assert!(check(&[0, 0], &[9, 0]).is_err());
    assert!(check_positions(&batch.project(&[0]).unwrap(), &offsets(&[]), &offsets(&[9, 9])).is_err());
}

#[test]
fn each_row_is_judged_by_its_own_partition() {
    let batches = [rows(&numbers(), 0, 3..6), rows(&numbers(), 1, 8..9), rows(&numbers(), 0, 6..7)];
    let batch = arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap();
    let check = |current: &[u64], delivered: &[u64]| check_positions(&batch, &offsets(current), &offsets(delivered));
    check(&[3, 8], &[7, 9]).unwrap();
    for (current, delivered) in [([4, 8], [7, 9]), ([3, 9], [7, 9]), ([3, 8], [6, 9]), ([3, 8], [7, 8])] {
        assert!(check(&current, &delivered).is_err(), "{current:?} to {delivered:?}");
    }
    let unknown = |partition: i32| {
        let mut columns = batch.columns().to_vec();
        let place = batch.schema().index_of(PARTITION).unwrap();
        columns[place] = Arc::new(Int32Array::from_value(partition, batch.num_rows()));
        RecordBatch::try_new(batch.schema(), columns).unwrap()
    };
    for partition in [-1, 2, i32::MIN] {
        assert!(check_positions(&unknown(partition), &offsets(&[0, 0]), &offsets(&[9, 9])).is_err(), "{partition}");
    }
}

#[test]
fn columns_have_the_bloom_filters_that_properties_ask_for() {
    let schema = nested();
    let columns = ["user.name", "user.tags.element", "bytes", "items.element.price", "items.element.sold", "nothing"];
    let enabled =
        columns.map(|column| (format!("write.parquet.bloom-filter-enabled.column.{column}"), "true".to_owned()));
    let mut properties = HashMap::from(enabled);
    let encoded = |properties: &HashMap<String, String>| {
        let form = FileForm { filters: BloomFilters::of(properties), ..plain(&schema) };
        encode(&[rows(&schema, 0, 0..2_000)], None, &form).unwrap()
    };
    let file = encoded(&properties);
    let group = file.footer.metadata.row_group(0).clone();
    let with = group.columns().iter().filter(|column| column.bloom_filter_offset().is_some());
    let paths: Vec<_> = with.map(|column| column.column_path().string()).collect();
    // Fractions and booleans have none.
    assert_eq!(paths, ["user.name", "user.tags.list.element", "bytes"]);
    let bytes = bytes::Bytes::from(file.bytes);
    let filter = Sbbf::read_from_column_chunk(group.column(1), &bytes).unwrap().unwrap();
    assert!((0..2_000).filter(|row| row % 7 != 0).all(|row| filter.check(format!("text of {row}").as_str())));
    let wrong = (0..10_000).filter(|row| filter.check(format!("no text {row}").as_str())).count();
    assert!(wrong < 300, "{wrong} of 10,000, where 100 are expected");
    // Smaller, and wrong more often; never is a value missing.
    properties.insert("write.parquet.bloom-filter-max-bytes".to_owned(), "1000".to_owned());
    let file = encoded(&properties);
    let group = file.footer.metadata.row_group(0).clone();
    let filter = Sbbf::read_from_column_chunk(group.column(1), &bytes::Bytes::from(file.bytes)).unwrap().unwrap();
    assert!(filter.num_blocks() * 32 <= 512);
    assert!((0..2_000).filter(|row| row % 7 != 0).all(|row| filter.check(format!("text of {row}").as_str())));
}
