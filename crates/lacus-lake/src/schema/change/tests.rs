//! Changes of columns, one by one, and in any order against a simple model.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn path(path: &str) -> Vec<String> {
    path.split('.').map(str::to_owned).collect()
}

fn add(at: &str, kind: ColumnType) -> SchemaChange {
    SchemaChange::Add { path: path(at), kind }
}

fn rename(at: &str, to: &str) -> SchemaChange {
    SchemaChange::Rename { path: path(at), to: to.to_owned() }
}

fn widen(at: &str, kind: ColumnType) -> SchemaChange {
    SchemaChange::Widen { path: path(at), kind }
}

fn drop_column(at: &str) -> SchemaChange {
    SchemaChange::Drop { path: path(at) }
}

fn after(at: &str, after: Option<&str>) -> SchemaChange {
    SchemaChange::Move { path: path(at), after: after.map(str::to_owned) }
}

fn list(kind: ColumnType) -> ColumnType {
    ColumnType::List(Box::new(Column::new(0, "element", kind)))
}

fn show(columns: &[Column]) -> String {
    let one = |column: &Column| {
        let inside = column.kind.children();
        let inside: Vec<Column> = inside.into_iter().cloned().collect();
        let inside = if inside.is_empty() { column.kind.sql() } else { format!("({})", show(&inside)) };
        let aliases: String = column.aliases.iter().map(|alias| format!(" was {alias}")).collect();
        format!("{}:{} {inside}{aliases}", column.id, column.name)
    };
    columns.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// The columns after these changes, or why they can't be.
fn check(changes: &[SchemaChange]) -> String {
    match TableSchema::empty().changed(changes) {
        Ok(schema) => format!("{} | {}", show(&schema.columns), schema.last_id),
        Err(error) => error.message().to_owned(),
    }
}

#[test]
fn columns_come_and_go_by_id() {
    let item = ColumnType::Struct(vec![Column::new(0, "sku", ColumnType::Text)]);
    insta::assert_snapshot!(check(&[
        add("a", ColumnType::Int),
        add("items", list(item)),
        add("items.element.size", ColumnType::Float),
        widen("items.element.size", ColumnType::Double),
        rename("items.element.sku", "code"),
        widen("a", ColumnType::Long),
        drop_column("a"),
        add("a", ColumnType::Text),
        after("a", None),
    ]), @"10:a text, 6:items (7:element (8:code text was sku, 9:size double precision)) | 10");
}

#[test]
fn a_renamed_column_keeps_the_names_it_had_until_another_takes_them() {
    insta::assert_snapshot!(check(&[
        add("a", ColumnType::Int),
        rename("a", "b"),
        rename("b", "c"),
    ]), @"5:c integer was a was b | 5");
    insta::assert_snapshot!(check(&[
        add("a", ColumnType::Int),
        rename("a", "b"),
        add("a", ColumnType::Text),
        rename("b", "B"),
    ]), @"5:B integer was b, 6:a text | 6");
    insta::assert_snapshot!(check(&[add("a", ColumnType::Int), rename("a", "b"), rename("b", "a")]), @"5:a integer was b | 5");
}

#[test]
fn what_can_not_be_is_refused_by_name() {
    insta::assert_snapshot!(check(&[add("a", ColumnType::Long), widen("a", ColumnType::Double)]), @r#"column "a" is bigint and can't become double precision"#);
    let (small, large) =
        (ColumnType::Decimal { precision: 9, scale: 2 }, ColumnType::Decimal { precision: 12, scale: 3 });
    insta::assert_snapshot!(check(&[add("a", small), widen("a", large)]), @r#"column "a" is numeric(9,2) and can't become numeric(12,3)"#);
    insta::assert_snapshot!(check(&[add("a", ColumnType::Long), add("A", ColumnType::Long)]), @r#"there is a column "a" already"#);
    insta::assert_snapshot!(check(&[add("a", ColumnType::Long), add("a.b", ColumnType::Long)]), @r#"column "a" is bigint and has no fields"#);
    insta::assert_snapshot!(check(&[drop_column("a")]), @r#"there is no column "a""#);
    insta::assert_snapshot!(check(&[drop_column("_offset")]), @r#"column "_offset" is lacus's own and stays as it is"#);
    insta::assert_snapshot!(check(&[add("_Offset", ColumnType::Long)]), @r#"the name "_Offset" is lacus's own"#);
    insta::assert_snapshot!(check(&[add("a", ColumnType::Long), after("a", Some("b"))]), @r#"there is no column "b""#);
}

#[derive(Debug, Clone)]
enum Step {
    Add(u8),
    Drop(u8),
    Rename(u8, u8),
    Move(u8, Option<u8>),
}

fn step() -> impl Strategy<Value = Step> {
    let name = || 0_u8..5;
    prop_oneof![
        name().prop_map(Step::Add),
        name().prop_map(Step::Drop),
        (name(), name()).prop_map(|(from, to)| Step::Rename(from, to)),
        (name(), proptest::option::of(name())).prop_map(|(name, after)| Step::Move(name, after)),
    ]
}

proptest! {
    /// The model is a list of (id, name); a name that is not taken by a column feeds the one that had it last.
    #[test]
    fn names_and_ids_are_those_of_the_model(steps in prop::collection::vec(step(), 0..40)) {
        let mut schema = TableSchema::empty();
        let (mut model, mut fed, mut last): (Vec<(i32, u8)>, BTreeMap<u8, i32>, i32) = (Vec::new(), BTreeMap::new(), 4);
        let name = |name: u8| format!("c{name}");
        for step in steps {
            let place = |model: &[(i32, u8)], name: u8| model.iter().position(|column| column.1 == name);
            let (change, expected) = match step {
                Step::Add(new) => (add(&name(new), ColumnType::Long), place(&model, new).is_none()),
                Step::Drop(old) => (drop_column(&name(old)), place(&model, old).is_some()),
                Step::Rename(from, to) => (
                    rename(&name(from), &name(to)),
                    place(&model, from).is_some() && (from == to || place(&model, to).is_none()),
                ),
                Step::Move(what, behind) => (
                    after(&name(what), behind.map(name).as_deref()),
                    place(&model, what).is_some()
                        && behind.is_none_or(|behind| behind != what && place(&model, behind).is_some()),
                ),
            };
            let changed = schema.changed(&[change]);
            prop_assert_eq!(changed.is_ok(), expected);
            let Ok(changed) = changed else { continue };
            schema = changed;
            match step {
                Step::Add(new) => {
                    last += 1;
                    model.push((last, new));
                    fed.insert(new, last);
                }
                Step::Drop(old) => {
                    let (id, _) = model.remove(place(&model, old).unwrap());
                    fed.retain(|_, fed| *fed != id);
                }
                Step::Rename(from, to) => {
                    let column = place(&model, from).unwrap();
                    model[column].1 = to;
                    fed.insert(to, model[column].0);
                }
                Step::Move(what, behind) => {
                    let column = model.remove(place(&model, what).unwrap());
                    let to = behind.map_or(0, |behind| place(&model, behind).unwrap() + 1);
                    model.insert(to, column);
                }
            }
            let columns: Vec<_> = schema.columns.iter().map(|column| (column.id, column.name.clone())).collect();
            prop_assert_eq!(columns, model.iter().map(|(id, n)| (*id, name(*n))).collect::<Vec<_>>());
            prop_assert_eq!(schema.last_id, last);
            for (n, id) in &fed {
                let feeds = |column: &&Column| column.name == name(*n) || column.aliases.contains(&name(*n));
                let found: Vec<i32> = schema.columns.iter().filter(feeds).map(|column| column.id).collect();
                prop_assert_eq!(found, vec![*id], "c{} of {:?}", n, schema.columns);
            }
        }
    }
}
