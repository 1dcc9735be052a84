//! What a process costs, from `/proc`.

use std::time::Duration;

/// Ticks of `/proc/<pid>/stat` in a second: fixed by Linux's interface.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU time a process has used, user and system.
pub(super) fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    // The name, in parentheses, may have blanks; utime and stime are the 12th and 13th field behind it.
    let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |index: usize| fields[index].parse::<f64>().expect("a number of ticks");
    (ticks(11) + ticks(12)) / TICKS_PER_SECOND
}

/// CPU time that a process, those it started and those of them that ended have used.
pub(super) fn cpu_seconds_of_all(pid: u32) -> f64 {
    // Of those that ended, and were waited for, the parent knows: the 14th and 15th field behind the name.
    let own = |pid: u32, last: usize| -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let ticks = fields.split_whitespace().skip(11).take(last).map(|field| field.parse().unwrap_or(0.0));
        ticks.sum::<f64>() / TICKS_PER_SECOND
    };
    own(pid, 4) + children(pid).into_iter().map(|child| own(child, 2)).sum::<f64>()
}

/// Memory of a process and of those that it started: what each has for itself, and its part of what they share.
pub(super) fn memory_mb_of_all(pid: u32) -> f64 {
    let of_one = |pid: u32| -> f64 {
        // One that ended has none.
        let sizes = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let line = sizes.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap_or("0 kB");
        line.trim().trim_end_matches(" kB").parse().unwrap_or(0.0) / 1024.0
    };
    of_one(pid) + children(pid).into_iter().map(of_one).sum::<f64>()
}

/// The processes that a process started, and that still run.
fn children(pid: u32) -> Vec<u32> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|number| number.parse().ok()).collect()
}

/// Memory a process has in use.
pub(super) fn resident_mb(pid: u32) -> f64 {
    status_mb(pid, "VmRSS:")
}

/// The most memory a process ever had in use.
pub(super) fn peak_mb(pid: u32) -> f64 {
    status_mb(pid, "VmHWM:")
}

/// What of its memory are pages of files: the program and its libraries.
pub(super) fn program_mb(pid: u32) -> f64 {
    status_mb(pid, "RssFile:")
}

fn status_mb(pid: u32, field: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("a size");
    line.trim().trim_end_matches(" kB").parse::<f64>().expect("a number") / 1024.0
}

/// Files and sockets a process has open.
pub(super) fn open_files(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).expect("the process runs").count()
}

/// Median of durations, in milliseconds.
pub(super) fn median_ms(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1000.0
}

/// The time that so many of a hundred stay within, in milliseconds.
pub(super) fn percentile_ms(times: &mut [Duration], percent: usize) -> f64 {
    times.sort_unstable();
    times[(times.len() * percent / 100).min(times.len() - 1)].as_secs_f64() * 1000.0
}

/// Median of figures.
pub(super) fn median(figures: impl IntoIterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.into_iter().collect();
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}
