//! Servers that store nothing: axum reads the body, or also parses it, and answers. What no server on this machine can beat.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::post;

/// The hidden command that [`Noop::start`] runs.
pub(crate) const COMMAND: &str = "noop-server";

/// Its argument for [`Work::Parse`].
pub(crate) const PARSE: &str = "parse";

/// What a server does with a body.
#[derive(Debug, Clone, Copy)]
pub(super) enum Work {
    /// Counts its bytes.
    Nothing,
    /// Reads each line as JSON.
    Parse,
}

/// The server, in a process of its own. It ends when this is dropped.
pub(super) struct Noop {
    child: Child,
    pub(super) address: SocketAddr,
}

impl Noop {
    pub(super) fn start(work: Work) -> Self {
        let program = std::env::current_exe().expect("a program knows its own path");
        let mut command = Command::new(program);
        command.arg(COMMAND);
        if matches!(work, Work::Parse) {
            command.arg(PARSE);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("start the no-op server");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("read the address of the no-op server");
        let address = line.trim().parse().expect("the no-op server prints its address");
        Self { child, address }
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Noop {
    fn drop(&mut self) {
        // It ended already if this fails.
        let _ended = self.child.kill();
        let _waited_for = self.child.wait();
    }
}

/// Serves until its standard input ends, so that it never outlives who started it.
#[expect(clippy::print_stdout, reason = "this is how its parent learns the address")]
pub(crate) fn serve(is_parsing: bool) {
    let (parent, gone) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        let _ended = std::io::stdin().read(&mut [0]);
        drop(parent);
    });
    let runtime = tokio::runtime::Runtime::new().expect("start a runtime");
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("listen on a free port");
        println!("{}", listener.local_addr().expect("it is bound"));
        let answer = move |body: Bytes| async move {
            let received = if is_parsing { count_events(&body)? } else { body.len() };
            Ok::<_, StatusCode>(format!("{{\"received\":{received}}}"))
        };
        let router = Router::new().route("/v1/events", post(answer));
        tokio::select! {
            served = axum::serve(listener, router) => served.expect("serve"),
            _parent_ended = gone => {}
        }
    });
}

fn count_events(body: &[u8]) -> Result<usize, StatusCode> {
    let lines = body.split(|byte| *byte == b'\n');
    let events = lines.map(serde_json::from_slice::<serde::de::IgnoredAny>);
    events.into_iter().try_fold(0, |count, event| event.map(|_| count + 1)).map_err(|_| StatusCode::BAD_REQUEST)
}
