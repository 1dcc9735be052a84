//! What properties say, and what becomes of it.

use parquet::bloom_filter::Sbbf;

use super::*;
use crate::fixture::nested;

fn properties(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn rename_of(path: &str, to: &str) -> SchemaChange {
    SchemaChange::Rename { path: path.split('.').map(str::to_owned).collect(), to: to.to_owned() }
}

#[test]
fn what_properties_say_wrongly_is_as_if_they_did_not_say_it() {
    let filters = BloomFilters::of(&properties(&[
        ("write.parquet.bloom-filter-enabled.column.a", "TRUE"),
        ("write.parquet.bloom-filter-enabled.column.b", "false"),
        ("write.parquet.bloom-filter-enabled.column.c", "yes"),
        ("write.parquet.bloom-filter-enabled.column.d.e", "true"),
        ("write.parquet.bloom-filter-fpp.column.a", "2"),
        ("write.parquet.bloom-filter-fpp.column.b", "0.5"),
        ("write.parquet.bloom-filter-fpp.column.d.e", "0.05"),
        ("write.parquet.bloom-filter-max-bytes", "-1"),
        ("owner", "us"),
    ]));
    let columns = BTreeMap::from([("a".to_owned(), 0.01), ("d.e".to_owned(), 0.05)]);
    assert_eq!(filters, BloomFilters { columns, bytes_max: 1 << 20 });
    assert_eq!(BloomFilters::of(&HashMap::new()).memory(), 0);
}

#[test]
fn filters_take_no_more_memory_than_they_may() {
    for (columns, bytes_max, share) in
        [(1, "1048576", "0.01"), (1, "32", "0.000001"), (3, "1000000000", "0.01"), (100, "1048576", "0.5")]
    {
        let enabled = (0..columns).map(|column| (format!("{ENABLED}{column}"), "true".to_owned()));
        let shares = (0..columns).map(|column| (format!("{FALSE_POSITIVES}{column}"), share.to_owned()));
        let most = (BYTES_MAX.to_owned(), bytes_max.to_owned());
        let filters = BloomFilters::of(&enabled.chain(shares).chain([most]).collect());
        assert_eq!(filters.columns.len(), columns);
        let each = filters.bytes_each();
        assert!(each <= bytes_max.parse::<usize>().unwrap() && filters.memory() <= BYTES_TOGETHER, "{filters:?}");
        for &share in filters.columns.values() {
            let made = Sbbf::new_with_ndv_fpp(values_in(each, share), share).unwrap();
            assert_eq!(made.num_blocks() * 32, each, "{filters:?}");
        }
    }
}

#[test]
fn who_sets_properties_is_told_what_is_wrong() {
    let schema = nested().iceberg(0).unwrap();
    let told = |key: &str, value: &str| match check(&properties(&[(key, value)]), &schema) {
        Ok(()) => String::new(),
        Err(error) => error.to_string(),
    };
    for column in ["n", "user.name", "user.tags.element", "bytes"] {
        assert_eq!(told(&format!("{ENABLED}{column}"), "true"), "");
        assert_eq!(told(&format!("{FALSE_POSITIVES}{column}"), "0.001"), "");
    }
    assert_eq!(told(BYTES_MAX, "65536"), "");
    assert_eq!(told("owner", "anybody"), "");
    // It has none, and may be told so.
    assert_eq!(told(&format!("{ENABLED}items.element.price"), "false"), "");
    for (column, expected) in [
        ("N", "there is no column \"N\" for a bloom filter"),
        ("user.tags", "column \"user.tags\" has no single value for a bloom filter"),
        ("items.price", "there is no column \"items.price\" for a bloom filter"),
        ("items.element.price", "column \"items.element.price\" is double and can't have a bloom filter"),
        ("items.element.sold", "column \"items.element.sold\" is boolean and can't have a bloom filter"),
    ] {
        assert_eq!(told(&format!("{ENABLED}{column}"), "true"), expected);
    }
    for (key, value) in [
        (format!("{ENABLED}n"), "1"),
        (format!("{FALSE_POSITIVES}n"), "0"),
        (format!("{FALSE_POSITIVES}n"), "1"),
        (format!("{FALSE_POSITIVES}n"), "NaN"),
        (BYTES_MAX.to_owned(), "1MB"),
        (BYTES_MAX.to_owned(), "0"),
    ] {
        assert_eq!(told(&key, value), format!("property \"{key}\" can't be \"{value}\""));
    }
}

#[test]
fn filters_stay_with_columns_that_are_renamed() {
    let before = properties(&[
        ("write.parquet.bloom-filter-enabled.column.id", "true"),
        ("write.parquet.bloom-filter-fpp.column.id", "0.1"),
        ("write.parquet.bloom-filter-enabled.column.idle", "true"),
        ("write.parquet.bloom-filter-enabled.column.user.name", "true"),
        ("owner", "us"),
    ]);
    let filters = |changes: &[SchemaChange]| {
        let mut after = before.clone();
        after.extend(renamed(&before, changes));
        BloomFilters::of(&after).columns.into_iter().collect::<Vec<_>>()
    };
    let changes = [rename_of("id", "user_id"), rename_of("user", "person"), rename_of("person.name", "called")];
    let expected = [("idle", 0.01), ("person.called", 0.01), ("user_id", 0.1)];
    assert_eq!(filters(&changes), expected.map(|(name, share)| (name.to_owned(), share)));
    // Two change places.
    let changes = [rename_of("id", "x"), rename_of("other", "id"), rename_of("x", "other")];
    let expected = [("idle", 0.01), ("other", 0.1), ("user.name", 0.01)];
    assert_eq!(filters(&changes), expected.map(|(name, share)| (name.to_owned(), share)));
    let nothing = [rename_of("n", "m"), SchemaChange::Drop { path: vec!["id".to_owned()] }];
    assert_eq!(renamed(&before, &nothing), HashMap::new());
}
