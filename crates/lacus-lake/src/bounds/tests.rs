//! What column bounds promise, for every type and for values that have none.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema as ArrowSchema};
use iceberg::spec::NestedField;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use proptest::prelude::*;

use super::*;

/// Bounds of one column, written with this many rows per row group.
fn bounds(column: ArrayRef, rows_per_group: usize, statistics: EnabledStatistics) -> (Option<Datum>, Option<Datum>) {
    let kind = match column.data_type() {
        DataType::Int64 => PrimitiveType::Long,
        DataType::Float64 => PrimitiveType::Double,
        DataType::Boolean => PrimitiveType::Boolean,
        _ => PrimitiveType::String,
    };
    let id = HashMap::from([("PARQUET:field_id".to_owned(), "9".to_owned())]);
    let field = Field::new("c", column.data_type().clone(), true).with_metadata(id);
    let arrow = Arc::new(ArrowSchema::new(vec![field]));
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(rows_per_group))
        .set_statistics_enabled(statistics)
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), Arc::clone(&arrow), Some(properties)).unwrap();
    writer.write(&RecordBatch::try_new(arrow, vec![column]).unwrap()).unwrap();
    let metadata = writer.close().unwrap();
    let field = NestedField::optional(9, "c", Type::Primitive(kind));
    let schema = Schema::builder().with_fields([field.into()]).build().unwrap();
    let (mut lower, mut upper) = bounds_of(&metadata, &schema);
    (lower.remove(&9), upper.remove(&9))
}

#[track_caller]
fn check_text(values: &[Option<&str>], lower: Option<&str>, upper: Option<&str>) {
    let column = Arc::new(values.iter().copied().collect::<StringArray>());
    let expected = (lower.map(Datum::string), upper.map(Datum::string));
    assert_eq!(bounds(column, 2, EnabledStatistics::Chunk), expected);
}

#[test]
fn text_is_cut_so_that_it_still_bounds() {
    check_text(&[Some("b"), Some("a"), None, Some("c")], Some("a"), Some("c"));
    let long = "0123456789abcdef and more";
    check_text(&[Some(long)], Some("0123456789abcdef"), Some("0123456789abcdeg"));
    check_text(&[None, None], None, None);
    check_text(&[], None, None);
    let highest = "\u{10FFFF}".repeat(20);
    check_text(&[Some(&highest)], Some(&highest[..64]), None);
    let before_gap = format!("a{}", "\u{D7FF}".repeat(20));
    let stepped = format!("a{}\u{E000}", "\u{D7FF}".repeat(14));
    check_text(&[Some(&before_gap)], Some(&before_gap[..1 + 15 * 3]), Some(&stepped));
}

#[test]
fn a_row_group_whose_end_parquet_shortened_counts_too() {
    // Parquet keeps 64 bytes of a longer value. Taking only the other row group's end would hide this value.
    let long = "z".repeat(100);
    check_text(&[Some("a"), Some("b"), Some(&long), None], Some("a"), Some(&format!("{}{{", "z".repeat(15))));
}

#[test]
fn numbers_that_do_not_compare_bound_nothing() {
    let double = |values: Vec<Option<f64>>| bounds(Arc::new(Float64Array::from(values)), 2, EnabledStatistics::Chunk);
    assert_eq!(double(vec![Some(1.5), None, Some(-2.0)]), (Some(Datum::double(-2.0)), Some(Datum::double(1.5))));
    let (lower, upper) = double(vec![Some(1.0), Some(2.0), Some(f64::NAN), Some(f64::NAN)]);
    assert_eq!((lower, upper), (None, None));
}

#[test]
fn without_statistics_there_are_no_bounds() {
    let column = Arc::new(Int64Array::from(vec![1, 2]));
    assert_eq!(bounds(column, 9, EnabledStatistics::None), (None, None));
    let column = Arc::new(BooleanArray::from(vec![Some(true), None]));
    assert_eq!(bounds(column, 9, EnabledStatistics::Page), (Some(Datum::bool(true)), Some(Datum::bool(true))));
}

fn text_in(bound: &Option<Datum>) -> Option<&str> {
    match bound.as_ref()?.literal() {
        iceberg::spec::PrimitiveLiteral::String(text) => Some(text),
        _ => None,
    }
}

proptest! {
    #[test]
    fn every_text_is_within_its_bounds(values in prop::collection::vec(prop::option::of("\\PC{0,100}"), 0..30), group in 1..10_usize) {
        let column = Arc::new(values.iter().map(Option::as_deref).collect::<StringArray>());
        let (lower, upper) = bounds(column, group, EnabledStatistics::Chunk);
        for value in values.iter().flatten() {
            prop_assert!(text_in(&lower).is_some_and(|lower| lower <= value.as_str()));
            prop_assert!(text_in(&upper).is_none_or(|upper| upper >= value.as_str()));
        }
    }

    #[test]
    fn every_number_is_within_its_bounds(values in prop::collection::vec(prop::option::of(any::<i64>()), 0..30), group in 1..10_usize) {
        let (lower, upper) = bounds(Arc::new(Int64Array::from(values.clone())), group, EnabledStatistics::Chunk);
        let (least, greatest) = (values.iter().flatten().min(), values.iter().flatten().max());
        prop_assert_eq!((lower, upper), (least.map(|&number| Datum::long(number)), greatest.map(|&number| Datum::long(number))));
    }
}
