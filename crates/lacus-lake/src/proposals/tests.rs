//! Proposals say what would hold the misfits, and accepting them all leaves none.

use lacus_core::settings::Contract;

use super::*;
use crate::fixture::{Place, append_batch, stream};
use crate::lake::Lake;
use crate::refill::tests::{events, take};
use crate::schema::Column;

fn shown(told: &Misfitting) -> String {
    let mut lines = vec![format!("{} of {} rows, {} others", told.rows_with_misfits, told.rows, told.others)];
    for Proposal { column, values, becomes, kind, change, examples } in &told.proposals {
        let kind = kind.as_ref().map_or("as it is".to_owned(), ColumnType::sql);
        let act = match change {
            None => "fill",
            Some(SchemaChange::Widen { .. }) => "widen",
            Some(_) => "add",
        };
        lines.push(format!("{column} {values} → {becomes} {kind} ({act}) {}", examples.join(" ")));
    }
    lines.join("\n")
}

async fn table_of(lake: &Lake, schema: TableSchema) -> Arc<Table> {
    lake.create_table(&stream().table(), schema).await.unwrap()
}

#[tokio::test]
async fn misfits_ask_for_columns_and_accepting_all_leaves_none() {
    let place = Place::new();
    let lake = place.open().await;
    let mut schema = TableSchema::empty();
    schema.columns.push(Column::new(5, "small", ColumnType::Int));
    schema.last_id = 5;
    let table = table_of(&lake, schema).await;
    take(&lake, &table, &[r#"{"amount":1,"user":{"id":7},"items":[{"sku":1}],"tags":[1],"small":1}"#]).await;
    take(
        &lake,
        &table,
        &[
            r#"{"amount":"12 EUR","user":{"id":"u"},"small":5000000000}"#,
            r#"{"amount":{"value":5,"currency":"EUR"},"items":[{"sku":2},{"sku":"x"}],"tags":[2,"t"]}"#,
            r#"{"amount":{"value":0.5},"Amount":2,"amount":7}"#,
            r#"{"amount":true,"small":"text","_offset":3}"#,
        ],
    )
    .await;
    // The tail counts, too.
    let state = table.state();
    let rows = events(&[r#"{"amount":[1]}"#], 100, &state.schema, Contract::Evolve).rows;
    append_batch(&table, &state.schema, rows);
    let told = lake.misfitting(&table).await.unwrap();
    insta::assert_snapshot!(shown(&told), @r#"
    5 of 6 rows, 1 others
    amount 2 → amount_text text (add) "12 EUR" true
    amount 2 → amount_object struct<value double precision, currency text> (add) {"value":5,"currency":"EUR"} {"value":0.5}
    Amount 1 → Amount_number bigint (add) 2
    _offset 1 → _offset_number bigint (add) 3
    amount 1 → amount_list bigint[] (add) [1]
    items.element.sku 1 → items.element.sku_text text (add) "x"
    small 1 → small bigint (widen) 5000000000
    small 1 → small_text text (add) "text"
    user.id 1 → user.id_text text (add) "u"
    "#);
    table.forget_tail().unwrap();

    let changes: Vec<_> = told.proposals.iter().filter_map(|proposal| proposal.change.clone()).collect();
    lake.alter(&table, changes).await.unwrap();
    insta::assert_snapshot!(shown(&lake.misfitting(&table).await.unwrap()), @r#"
    4 of 5 rows, 1 others
    amount 4 → amount as it is (fill) "12 EUR" {"value":5,"currency":"EUR"} {"value":0.5}
    small 2 → small as it is (fill) 5000000000 "text"
    Amount 1 → Amount as it is (fill) 2
    _offset 1 → _offset as it is (fill) 3
    items.element 1 → items.element as it is (fill) {"sku":"x"}
    user 1 → user as it is (fill) {"id":"u"}
    "#);
    lake.refill(&table).await.unwrap();
    insta::assert_snapshot!(shown(&lake.misfitting(&table).await.unwrap()), @"1 of 5 rows, 1 others");
}

#[tokio::test]
async fn a_frozen_table_is_proposed_the_fields_that_came() {
    let place = Place::new();
    let lake = place.open().await;
    let table = table_of(&lake, TableSchema::empty()).await;
    take(&lake, &table, &[r#"{"n":1}"#]).await;
    let state = table.state();
    let lines = [r#"{"new":1,"more":{"a":[1]}}"#, r#"{"new":2.5}"#, r#"{"new":"x"}"#, r#"{"new":[2]}"#];
    append_batch(&table, &state.schema, events(&lines, 1, &state.schema, Contract::Freeze).rows);
    insta::assert_snapshot!(shown(&lake.misfitting(&table).await.unwrap()), @r#"
    4 of 5 rows, 0 others
    new 2 → new double precision (add) 1 2.5
    more 1 → more struct<a bigint[]> (add) {"a":[1]}
    new 1 → new_text text (add) "x"
    new 1 → new_list bigint[] (add) [2]
    "#);
}
