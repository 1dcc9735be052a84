//! The project's own chores: `cargo xtask tidy` checks the shape of the tree, `cargo xtask bench` measures.
//!
//! Nothing of the product depends on this crate, and it depends on nothing of the product: it looks at sources and at
//! the binary from outside.

mod bench;
mod tidy;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask <chore>

  tidy                   check layering, versions, lengths, headers and stray notes; `cargo nextest` does it too
  bench [--scale 0.02]   measure the lacus binary beside this one; a full run writes docs/bench";

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line")]
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["tidy"] => {
            let problems = tidy::problems();
            for problem in &problems {
                eprintln!("{problem}");
            }
            if problems.is_empty() {
                println!("tidy");
                return ExitCode::SUCCESS;
            }
            eprintln!("{} to mend", problems.len());
            ExitCode::FAILURE
        }
        ["bench"] => measure(1.0),
        ["bench", "--scale", scale] if scale.parse::<f64>().is_ok_and(|scale| scale > 0.0) => {
            measure(scale.parse().expect("it was parsed above"))
        }
        [bench::noop::COMMAND] => {
            bench::noop::serve();
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("{USAGE}");
            ExitCode::FAILURE
        }
    }
}

fn measure(scale: f64) -> ExitCode {
    bench::run(scale);
    ExitCode::SUCCESS
}
