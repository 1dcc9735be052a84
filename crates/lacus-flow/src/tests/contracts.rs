//! Tables that do not take everything.

use lacus_core::settings::{Contract, Table};

use super::*;

impl Running {
    /// What table `orders` takes from now on.
    pub(super) fn agree(&self, contract: Contract) {
        let table = TableName::new("orders").unwrap();
        self.lake.set_layouts([(table, Table { contract, ..Table::default() })].into());
    }

    pub(super) async fn order(&self, events: &[&str]) {
        let orders = StreamName::new("orders").unwrap();
        self.log.create_stream(&orders, &NewStream::of_shards(1)).unwrap();
        let events = events.iter().map(|event| NewRecord::of((*event).to_owned())).collect();
        self.log.append(&orders, events).await.unwrap();
        self.deliveries.caught_up().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_goes_where_the_contract_says() {
    let project = Project::new();
    let running = project.start().await.unwrap();
    running.order(&[r#"{"n":1}"#]).await;
    running.flush_table("orders").await;
    running.agree(Contract::Freeze);
    running.order(&[r#"{"n":2,"new":true}"#]).await;
    let names = |running: &Running| -> Vec<String> {
        let state = running.lake.table(&TableName::new("orders").unwrap()).unwrap().state();
        state.schema.columns.iter().map(|column| column.name.clone()).collect()
    };
    assert_eq!(names(&running), ["n"]);
    assert_eq!(running.column("orders", "_rescued", &project), ["-", r#"{"new":true}"#]);
    running.agree(Contract::Strict);
    running.order(&[r#"{"n":"three"}"#, r#"{"n":4}"#, r#"{"n":5,"new":1}"#]).await;
    assert_eq!(running.column("orders", "n", &project), ["1", "2", "4"]);
    let reasons = ["n: no such column, or not of its type", "new: no such column, or not of its type"];
    assert_eq!(running.column("orders__quarantine", "reason", &project), reasons);
    running.flush_table("orders").await;
    assert_eq!(running.column("orders", "n", &project), ["1", "2", "4"]);
    assert_eq!(raw_lines(&project.directory.path().join("lake/raw/orders")), 3);
    running.agree(Contract::Evolve);
    running.order(&[r#"{"n":6,"new":"x"}"#]).await;
    assert_eq!(names(&running), ["n", "new"]);
    running.stop().await;
}

/// After work on a table, a delivery takes its columns from there: those that it has just committed have their type for good.
#[tokio::test(flavor = "multi_thread")]
async fn a_committed_column_keeps_its_type_after_work_on_its_table() {
    let project = Project::new();
    let running = project.start().await.unwrap();
    running.send(&[r#"{"n":1}"#.to_owned()]).await;
    running.flush().await;
    running.deliveries.alone(&TableName::new("clicks").unwrap(), async { Ok(()) }).await.unwrap();
    running.send(&[r#"{"n":1.5}"#.to_owned()]).await;
    assert_eq!(running.flush().await.rows, 1);
    assert!(running.table("clicks").state().schema.columns.iter().all(|column| column.committed));
    running.stop().await;
}
