//! Work that a delivery makes room for: changes of its tables.

use super::*;

/// Far longer than it takes; a delivery with nothing to do looks around once an hour.
const SOON: Duration = Duration::from_secs(20);

/// After each work a delivery has a turn, which finds nothing, and the next work comes meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn work_that_comes_in_a_turn_is_done_after_it() {
    let project = Project::new();
    let running = project.start().await.unwrap();
    running.send(&[r#"{"n":1}"#.to_owned()]).await;
    running.flush().await;
    let clicks = TableName::new("clicks").unwrap();
    for number in 0..300 {
        let done = running.deliveries.alone(&clicks, async move { Ok(number) });
        let done = tokio::time::timeout(SOON, done).await.expect("it is done soon");
        assert_eq!(done.unwrap(), number);
    }
    running.stop().await;
}
