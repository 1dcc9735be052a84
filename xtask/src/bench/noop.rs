//! A server that does nothing: axum reads the body and answers. What no server on this machine can beat.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;

/// The hidden command that [`Noop::start`] runs.
pub(crate) const COMMAND: &str = "noop-server";

/// The server, in a process of its own. It ends when this is dropped.
pub(super) struct Noop {
    child: Child,
    pub(super) address: SocketAddr,
}

impl Noop {
    pub(super) fn start() -> Self {
        let program = std::env::current_exe().expect("a program knows its own path");
        let mut command = Command::new(program);
        command.arg(COMMAND).stdin(Stdio::piped()).stdout(Stdio::piped());
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
pub(crate) fn serve() {
    let (parent, gone) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        let _ended = std::io::stdin().read(&mut [0]);
        drop(parent);
    });
    let runtime = tokio::runtime::Runtime::new().expect("start a runtime");
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("listen on a free port");
        println!("{}", listener.local_addr().expect("it is bound"));
        let answer = |body: Bytes| async move {
            let received = body.len();
            format!("{{\"received\":{received}}}")
        };
        let router = Router::new().route("/v1/events", post(answer));
        tokio::select! {
            served = axum::serve(listener, router) => served.expect("serve"),
            _parent_ended = gone => {}
        }
    });
}
