//! Turns, and work on tables, that panic or break off: a bug must not end a delivery.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_a_turn_loses_and_doubles_nothing() {
    let project = Project::new();
    let running = project.start().await.unwrap();
    running.send(&events(0..10)).await;
    running.flush().await;
    running.send(&events(10..20)).await;
    running.deliveries.caught_up().await.unwrap();

    let mended = project.directory.path().join("mended");
    running.send(&[format!(r#"{{"panic_until":"{}"}}"#, mended.display())]).await;
    wait_until(|| running.deliveries.status()[0].error.is_some()).await;
    let error = running.deliveries.status()[0].error.clone().unwrap();
    assert!(error.contains("a turn of the delivery panicked"), "{error}");
    running.send(&events(20..30)).await;
    std::fs::write(&mended, "").unwrap();

    wait_until(|| running.positions("clicks", &project).len() == 31).await;
    assert_eq!(running.flush().await.rows, 21);
    assert_eq!(running.positions("clicks", &project).len(), 31);
    assert_eq!(raw_lines(&project.directory.path().join("lake/raw")), 31);
    assert_eq!(running.deliveries.status()[0].error, None);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shown_before_the_raw_zone_refuses_it_comes_once() {
    let project = Project::new();
    let running = project.start().await.unwrap();
    running.send(&events(0..10)).await;
    running.flush().await;
    running.send(&events(10..20)).await;
    running.deliveries.caught_up().await.unwrap();

    let mended = project.directory.path().join("mended");
    let mut sent = events(20..30);
    sent.push(format!(r#"{{"fail_until":"{}"}}"#, mended.display()));
    running.send(&sent).await;
    running.deliveries.caught_up().await.expect("whoever waits for rows does not wait for the raw zone");
    wait_until(|| running.deliveries.status()[0].error.is_some()).await;
    let error = running.deliveries.status()[0].error.clone().unwrap();
    assert!(error.contains("asked to fail"), "{error}");
    wait_until(|| running.positions("clicks", &project).len() == 31).await;
    running.send(&events(30..40)).await;
    std::fs::write(&mended, "").unwrap();

    wait_until(|| running.positions("clicks", &project).len() == 41).await;
    assert_eq!(running.flush().await.rows, 31);
    assert_eq!(running.positions("clicks", &project).len(), 41);
    assert_eq!(raw_lines(&project.directory.path().join("lake/raw")), 41, "each event is in the raw zone once");
    assert_eq!(running.deliveries.status()[0].error, None);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_while_a_commit_runs_loses_and_doubles_nothing() {
    let project = Project::new();
    let running = project.start().await.unwrap();
    let mut sent = 0;
    for round in 0..5 {
        running.send(&events(sent..sent + 500)).await;
        sent += 501;
        running.deliveries.caught_up().await.unwrap();
        let committing = tokio::spawn({
            let deliveries = running.deliveries.clone();
            async move { deliveries.flush(&TableName::new("clicks").unwrap()).await }
        });
        let mended = project.directory.path().join(format!("mended-{round}"));
        running.send(&[format!(r#"{{"panic_until":"{}"}}"#, mended.display())]).await;
        std::fs::write(&mended, "").unwrap();
        // It was told of the panic, or of the commit.
        drop(committing.await.unwrap());
        wait_until(|| running.positions("clicks", &project).len() == sent as usize).await;
    }
    running.flush().await;
    assert_eq!(running.positions("clicks", &project).len(), sent as usize);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_work_on_a_table_does_not_end_its_delivery() {
    let project = Project::new();
    let running = project.start().await.unwrap();
    running.send(&events(0..10)).await;
    let clicks = TableName::new("clicks").unwrap();
    let work = async {
        assert!(std::hint::black_box(false), "asked to panic");
        Ok::<(), Error>(())
    };
    let error = running.deliveries.alone(&clicks, work).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Internal, "{error:?}");

    running.send(&events(10..20)).await;
    running.deliveries.caught_up().await.unwrap();
    assert_eq!(running.positions("clicks", &project).len(), 20);
    running.flush().await;
    assert_eq!(running.positions("clicks", &project).len(), 20);
    running.stop().await;
}
