//! What each mode does to a small program, and that the loop finds out a careless one.

use std::process::Command;
use std::time::Duration;

use super::{Fault, FaultLoop, Mode, Trial};
use crate::shim::shim;
use crate::timed::run_for;

/// One fault at the `at`th operation of a program that appends two lines; what the file holds afterwards.
fn after(mode: Mode, at: usize) -> String {
    let trial = Trial::new(&shim(), Some(Fault { mode, at }));
    // Its operations: 1 open, 2 write, 3 fsync of the file, 4 fsync of the directory, 5 write.
    let program = "import os
f = os.open('f', os.O_CREAT | os.O_WRONLY | os.O_APPEND)
d = os.open('.', os.O_RDONLY)
def put(text):
    try: os.write(f, text)
    except OSError as error: print(error.errno)
put(b'one.'); os.fsync(f); os.fsync(d); put(b'two.')";
    let mut command = Command::new("python3");
    command.args(["-c", program]).current_dir(trial.directory());
    trial.afflict(&mut command);
    let finished = run_for(&mut command, Duration::from_secs(10));
    let file = std::fs::read_to_string(trial.directory().join("f")).unwrap_or_else(|_| "absent".to_owned());
    format!("{}{file}", finished.stdout.replace('\n', " "))
}

#[test]
fn each_mode_does_what_it_says() {
    assert_eq!(after(Mode::Refuse, 2), "5 two.");
    assert_eq!(after(Mode::Lost, 2), "5 one.two.");
    assert_eq!(after(Mode::Full, 2), "28 28 ");
    assert_eq!(after(Mode::Torn, 5), "one.tw");
    assert_eq!(after(Mode::Kill, 5), "one.");
    assert_eq!(after(Mode::Hang, 5), "one.two.");
}

#[test]
fn a_power_cut_takes_what_was_not_synced() {
    assert_eq!(after(Mode::Cut, 3), "absent");
    assert_eq!(after(Mode::Cut, 4), "absent", "the file was synced, its name was not");
    assert_eq!(after(Mode::Cut, 5), "one.");
    assert_eq!(after(Mode::Cut, 6), "one.two.", "the program ended before");
}

#[test]
#[should_panic(expected = "the value is gone")]
fn a_program_that_overwrites_in_place_is_found_out() {
    FaultLoop::new("careless").run(|trial| {
        let file = trial.directory().join("value");
        std::fs::write(&file, "old").expect("write a file");
        let mut careless = Command::new("sh");
        careless.args(["-c", "echo new > value"]).current_dir(trial.directory());
        trial.afflict(&mut careless);
        run_for(&mut careless, Duration::from_secs(10));
        match std::fs::read_to_string(&file).unwrap_or_default().as_str() {
            "old" | "new\n" => Ok(()),
            _ => Err("the value is gone".to_owned()),
        }
    });
}
