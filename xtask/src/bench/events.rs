//! Made-up clickstream events, the same for the same seed: what the generator sends and DuckDB converts.

use std::fmt::Write as _;

use lacus_testkit::environment::Random;

/// How many users, and products, there are.
const USERS: u64 = 5_000;
const PRODUCTS: u64 = 2_000;

/// The `number`th event, one line of JSON of about 350 bytes, without a line feed.
pub(super) fn event(number: u64) -> String {
    let mut random = Random::new(number);
    let name = ["Search", "ViewContent", "ViewContent", "ViewContent", "AddToCart", "Purchase"][below(&mut random, 6)];
    // 40 events a second from 2026-01-01 on.
    let (second, micros) = (number / 40, number % 40 * 25_000 + random.below(25_000));
    let (day, hour, minute) = (1 + second / 86_400 % 28, second / 3_600 % 24, second / 60 % 60);
    let time = format!("2026-01-{day:02} {hour:02}:{minute:02}:{:02}.{micros:06}", second % 60);
    let product = random.below(PRODUCTS);
    let mut line = String::with_capacity(400);
    write!(
        line,
        r#"{{"timestamp":"{time}","user_id":"{}","pixel_id":"wjgao4w1oi","click_id":"{:016x}{:016x}","insertion_timestamp":"{time}","event_name":"{name}","user_ip":"{}.{}.{}.{}","additional_data":{{"time_on_data":{},"percent_viewed":{}.{},"product_id":{},"price":{}.{:02}}}}}"#,
        random.below(USERS),
        random.number(),
        random.number(),
        1 + random.below(223),
        random.below(256),
        random.below(256),
        random.below(256),
        random.below(300),
        random.below(100),
        random.below(10),
        100_000 + product,
        5 + product % 900,
        product % 100,
    )
    .expect("writing to a string does not fail");
    line
}

/// Requests ready to be sent, of `batch` events each, beginning with the `first`th event.
pub(super) fn requests(first: u64, count: u64, batch: u64) -> Vec<Vec<u8>> {
    let kind = if batch == 1 { "application/json" } else { "application/x-ndjson" };
    let request = |number: u64| {
        let start = first + number * batch;
        let body = (start..start + batch).map(event).collect::<Vec<_>>().join("\n");
        let head = format!(
            "POST /v1/events?source=clicks HTTP/1.1\r\nhost: lacus\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        (head + &body).into_bytes()
    };
    (0..count).map(request).collect()
}

/// Single events as Redis takes them into a stream: `XADD clicks * event {…}`.
pub(super) fn commands(first: u64, count: u64) -> Vec<Vec<u8>> {
    let command = |number: u64| {
        let event = event(number);
        format!("*5\r\n$4\r\nXADD\r\n$6\r\nclicks\r\n$1\r\n*\r\n$5\r\nevent\r\n${}\r\n{event}\r\n", event.len())
            .into_bytes()
    };
    (first..first + count).map(command).collect()
}

fn below(random: &mut Random, end: u64) -> usize {
    usize::try_from(random.below(end)).expect("it is small")
}
