//! Every row is in one place, with those it belongs to.

use std::collections::BTreeMap;

use arrow::array::{Float64Array, Int64Array, StringArray, TimestampMicrosecondArray};
use chrono::{DateTime, Datelike, Timelike};
use iceberg::spec::Literal;
use lacus_core::settings;
use proptest::prelude::*;

use super::*;
use crate::fixture::{column as named, rows, schema};
use crate::schema::{ColumnType, RECEIVED_AT, TableSchema};

/// Columns `n`, `t` and `x`.
fn table() -> TableSchema {
    schema(vec![named(5, "n", ColumnType::Long), named(6, "t", ColumnType::Text), named(7, "x", ColumnType::Double)])
}

type Row = (Option<i64>, Option<String>, Option<f64>, i64);

fn batch(all: &[Row]) -> RecordBatch {
    let schema = table().arrow();
    let plain = rows(&table(), 0, 0..all.len() as u64);
    let columns = schema.fields().iter().zip(plain.columns()).map(|(field, column)| -> ArrayRef {
        match field.name().as_str() {
            "n" => Arc::new(all.iter().map(|row| row.0).collect::<Int64Array>()),
            "t" => Arc::new(all.iter().map(|row| row.1.clone()).collect::<StringArray>()),
            "x" => Arc::new(all.iter().map(|row| row.2).collect::<Float64Array>()),
            RECEIVED_AT => Arc::new(
                TimestampMicrosecondArray::from(all.iter().map(|row| row.3).collect::<Vec<_>>())
                    .with_data_type(field.data_type().clone()),
            ),
            _ => Arc::clone(column),
        }
    });
    let columns = columns.collect();
    RecordBatch::try_new(schema, columns).unwrap()
}

fn layout(partition: &[&str], sort: &[&str]) -> (Layout, Schema) {
    let warehouse = crate::warehouse::Warehouse::of_directory(std::path::Path::new("/lake")).unwrap();
    let name = crate::fixture::stream().table();
    let (_, metadata) = crate::kernel::plan_table(&warehouse, &name, &table()).unwrap();
    let setting = settings::Table {
        partition: Some(partition.iter().map(|field| field.parse().unwrap()).collect()),
        sort: Some(sort.iter().map(|field| field.parse().unwrap()).collect()),
        ..settings::Table::default()
    };
    let schema = table().iceberg(1).unwrap();
    (Layout::wanted(&metadata, &schema, Some(&setting)).unwrap(), schema)
}

/// The rows of each partition, by the text of its values.
fn arranged(batches: &[RecordBatch], partition: &[&str], sort: &[&str]) -> BTreeMap<String, Vec<Place>> {
    let (layout, schema) = layout(partition, sort);
    let all = arrange(batches, &layout, &schema).unwrap();
    let count = all.len();
    let found = all.into_iter().map(|Arranged { values, rows }| {
        (format!("{values:?}"), rows.map_or_else(|| every_row(batches), |rows| rows.to_vec()))
    });
    let found: BTreeMap<_, _> = found.collect();
    assert_eq!(found.len(), count, "a partition is there twice");
    found
}

fn every_row(batches: &[RecordBatch]) -> Vec<Place> {
    let rows =
        batches.iter().enumerate().flat_map(|(number, batch)| (0..batch.num_rows()).map(move |row| (number, row)));
    rows.collect()
}

fn key(literals: Vec<Option<Literal>>) -> String {
    format!("{:?}", Struct::from_iter(literals))
}

/// What Iceberg's specification says of a transform, said in other words.
fn naive(field: &str, row: &Row) -> Option<Literal> {
    let time = DateTime::from_timestamp_micros(row.3).unwrap();
    let days = i32::try_from(row.3.div_euclid(86_400_000_000)).unwrap();
    match field {
        "n" => row.0.map(Literal::long),
        "t" => row.1.as_deref().map(Literal::string),
        "truncate[10](n)" => row.0.map(|n| Literal::long(n.wrapping_sub(n.rem_euclid(10)))),
        "truncate[2](t)" => row.1.as_deref().map(|text| Literal::string(text.chars().take(2).collect::<String>())),
        "year(_received_at)" => Some(Literal::int(time.year() - 1970)),
        "month(_received_at)" => Some(Literal::int((time.year() - 1970) * 12 + time.month0() as i32)),
        "day(_received_at)" => Some(Literal::date(days)),
        "hour(_received_at)" => Some(Literal::int(days * 24 + time.hour() as i32)),
        other => unreachable!("{other}"),
    }
}

/// The rows of each partition, as the specification says.
fn expected(batches: [&[Row]; 2], fields: &[&str]) -> BTreeMap<String, Vec<Place>> {
    let mut expected: BTreeMap<String, Vec<Place>> = BTreeMap::new();
    for (number, rows) in (0..).zip(batches) {
        for (row, values) in (0..).zip(rows) {
            let literals = fields.iter().map(|field| naive(field, values)).collect();
            expected.entry(key(literals)).or_default().push((number, row));
        }
    }
    expected
}

fn any_row() -> impl Strategy<Value = Row> {
    let number = prop_oneof![-30..30_i64, Just(i64::MIN), Just(i64::MAX), any::<i64>()];
    let text = prop_oneof!["[ab]{0,3}", "[äß😀]{0,3}"];
    let fraction = prop_oneof![-2.0..2.0_f64, Just(f64::NAN), Just(-0.0), Just(f64::INFINITY)];
    // From 1820 to 2120.
    let time = prop_oneof![-4_700_000_000_000_000..4_700_000_000_000_000_i64, -10..10_i64];
    (prop::option::of(number), prop::option::of(text), prop::option::of(fraction), time)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Partitions are those of the naive transforms, and each row is in its own, in order.
    #[test]
    fn rows_are_in_the_partitions_that_iceberg_says(
        first in prop::collection::vec(any_row(), 0..40),
        second in prop::collection::vec(any_row(), 1..40),
        mut fields in prop::sample::subsequence(vec!["n", "t", "truncate[10](n)", "truncate[2](t)"], 0..4),
        time in prop::sample::select(vec![
            "year(_received_at)", "month(_received_at)", "day(_received_at)", "hour(_received_at)",
        ]),
    ) {
        fields.push(time);
        let batches = [batch(&first), batch(&second)];
        prop_assert_eq!(arranged(&batches, &fields, &[]), expected([&first, &second], &fields));
    }

    /// The same where one text is all that they are partitioned by.
    #[test]
    fn rows_are_in_the_partition_of_their_text(
        first in prop::collection::vec(any_row(), 0..40),
        second in prop::collection::vec(any_row(), 1..40),
        field in prop::sample::select(vec!["t", "truncate[2](t)"]),
    ) {
        let batches = [batch(&first), batch(&second)];
        prop_assert_eq!(arranged(&batches, &[field], &[]), expected([&first, &second], &[field]));
    }

    /// Sorting keeps all rows, puts nulls first and last where it descends, and leaves equal rows as they came.
    #[test]
    fn rows_are_sorted_within_a_file(rows in prop::collection::vec(any_row(), 1..60)) {
        let found = arranged(&[batch(&rows)], &[], &["t", "x desc"]);
        let mut expected: Vec<Place> = (0..rows.len()).map(|row| (0, row)).collect();
        expected.sort_by(|one, other| {
            let (one, other) = (&rows[one.1], &rows[other.1]);
            // A null is less than all text. Reversed, it is greater than all numbers, which compare by their bits.
            let fraction = |row: &Row| row.2.map_or(i64::MIN, |x| {
                let bits = x.to_bits().cast_signed();
                bits ^ (((bits >> 63).cast_unsigned() >> 1).cast_signed())
            });
            one.1.cmp(&other.1).then(fraction(other).cmp(&fraction(one)))
        });
        prop_assert_eq!(found.into_values().next().unwrap(), expected);
    }
}

#[test]
fn rows_of_one_partition_are_left_as_they_are_unless_sorting_moves_them() {
    const HOUR: i64 = 3_600_000_000;
    let batches = [0, 1].map(|hour| batch(&[(Some(2), None, None, hour * HOUR), (Some(1), None, None, hour * HOUR)]));
    let moved = |partition: &[&str], sort: &[&str]| -> Vec<bool> {
        let (layout, schema) = layout(partition, sort);
        let arranged = arrange(&batches, &layout, &schema).unwrap();
        arranged.iter().map(|arranged| arranged.rows.is_some()).collect()
    };
    assert_eq!(moved(&["day(_received_at)"], &[]), [false]);
    assert_eq!(moved(&["hour(_received_at)"], &[]), [true, true]);
    assert_eq!(moved(&["day(_received_at)"], &["n"]), [true]);
    assert_eq!(moved(&[], &["n"]), [true]);
    // They are in order, and so are those that are equal.
    assert_eq!(moved(&["day(_received_at)"], &["_received_at", "t"]), [false]);
    assert_eq!(moved(&[], &["t"]), [false]);
}

#[test]
fn a_partition_is_found_again_after_many_others() {
    let rows: Vec<Row> = (0..100).map(|row| (Some(row % 20), None, None, 0)).collect();
    let found = arranged(&[batch(&rows), batch(&rows)], &["n"], &[]);
    assert_eq!(found.len(), 20);
    let expected = (0..2).flat_map(|batch| (0..5).map(move |turn| (batch, 7 + turn * 20)));
    assert_eq!(found[&key(vec![Some(Literal::long(7))])], expected.collect::<Vec<Place>>());
}

#[test]
fn buckets_are_those_of_the_specification() {
    // Appendix B: hash of 34 is 2017239379, of "iceberg" 1210000089.
    let rows = [(Some(34), Some("iceberg".to_owned()), None, 0), (None, None, None, 0)];
    let found = arranged(&[batch(&rows)], &["bucket[1000](n)", "bucket[1000](t)"], &[]);
    let expected = key(vec![Some(Literal::int(379)), Some(Literal::int(89))]);
    assert_eq!(found[&expected], [(0, 0)]);
    assert_eq!(found[&key(vec![None, None])], [(0, 1)]);
}

#[test]
fn fields_of_structs_have_no_value_where_the_struct_has_none() {
    let schema = crate::fixture::nested();
    let warehouse = crate::warehouse::Warehouse::of_directory(std::path::Path::new("/lake")).unwrap();
    let name = crate::fixture::stream().table();
    let (_, metadata) = crate::kernel::plan_table(&warehouse, &name, &schema).unwrap();
    let setting = settings::Table {
        partition: Some(vec!["user.name".parse().unwrap()]),
        sort: None,
        ..settings::Table::default()
    };
    let iceberg = schema.iceberg(1).unwrap();
    let layout = Layout::wanted(&metadata, &iceberg, Some(&setting)).unwrap();
    let found = arrange(&[rows(&schema, 0, 6..9)], &layout, &iceberg).unwrap();
    let values: Vec<String> = found.iter().map(|found| format!("{:?}", found.values)).collect();
    let text = |text: &str| key(vec![Some(Literal::string(text))]);
    assert_eq!(values, [text("text of 6"), key(vec![None]), text("text of 8")]);
}
