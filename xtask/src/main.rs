//! The project's own chores: `cargo xtask tidy` checks the shape of the tree, `cargo xtask bench` measures.
//!
//! Nothing of the product depends on this crate. It looks at sources and at the binary from outside; only the bench uses
//! the log by itself, to have many records in it at once.

mod bench;
mod tidy;

use std::process::ExitCode;

use bench::Subject;

const USAGE: &str = "usage: cargo xtask <chore>

  tidy                   check layering, versions, lengths, headers and stray notes; `cargo nextest` does it too
  bench [doors|baseline|lake|ask] [--scale 0.02]
                         measure the lacus binary beside this one; at full scale it writes docs/bench";

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
        ["bench", options @ ..] if let Some((subjects, scale)) = bench_options(options) => {
            bench::run(subjects, scale);
            ExitCode::SUCCESS
        }
        [bench::noop::COMMAND, rest @ ..] => {
            bench::noop::serve(rest == [bench::noop::PARSE]);
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("{USAGE}");
            ExitCode::FAILURE
        }
    }
}

/// What to measure, and how much of it.
fn bench_options(options: &[&str]) -> Option<(&'static [Subject], f64)> {
    let (subjects, rest): (&[Subject], _) = match options {
        ["doors", rest @ ..] => (&[Subject::Doors], rest),
        ["baseline", rest @ ..] => (&[Subject::Baseline], rest),
        ["ask", rest @ ..] => (&[Subject::Ask], rest),
        ["lake", rest @ ..] => (&[Subject::Lake], rest),
        rest => (&Subject::ALL, rest),
    };
    let scale = match rest {
        [] => 1.0,
        ["--scale", scale] => scale.parse().ok().filter(|scale| *scale > 0.0)?,
        _ => return None,
    };
    Some((subjects, scale))
}
