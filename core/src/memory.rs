//! How much more memory this process may use, as reported by the system. Code whose allocations scale with a file or a
//! setting checks this first.
//!
//! A system that overcommits memory kills the process later, without a message. A limit on the process (`ulimit -v`) or
//! on its container (cgroup v2) makes an allocation fail, which aborts a Rust program. Checking first turns both into
//! an error.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Requests of at most this many bytes are not checked: the check would cost more than the allocation.
const SMALL: u64 = 1 << 24;

/// Bytes that this process may still allocate: the minimum of what the machine has free, what the limit on its address
/// space leaves, and what its control groups leave. `None` if the system does not report them.
///
/// ```
/// assert!(segcal_core::memory::free().is_none_or(|bytes| bytes > 1 << 20));
/// ```
pub fn free() -> Option<u64> {
    let used = || read("/proc/self/status").and_then(|text| kilobytes(&text, "VmSize:"));
    let limit = read("/proc/self/limits").and_then(|text| address_limit(&text));
    let process = limit.and_then(|limit| Some(limit.saturating_sub(used()?)));
    [process, physical()].into_iter().flatten().min()
}

/// Like [`free`], but ignores the limit on the address space: bytes of addresses that are already reserved and may
/// still be written to.
pub fn physical() -> Option<u64> {
    let group = read("/proc/self/cgroup").and_then(|text| group_free(Path::new("/sys/fs/cgroup"), &text));
    [machine(), group].into_iter().flatten().min()
}

fn machine() -> Option<u64> {
    read("/proc/meminfo").and_then(|text| kilobytes(&text, "MemAvailable:"))
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// Marks an error as a shortage of memory.
#[derive(Debug)]
struct Shortage(String);

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Shortage {}

/// The error for work that stops because the process gets no more memory; [`is_shortage`] recognises it.
pub fn shortage(what: impl Into<String>) -> Error {
    Error::from_source(Shortage(what.into()))
}

/// Whether an error is a shortage of memory, as opposed to unreadable input or wrong usage.
pub fn is_shortage(error: &Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if error.is::<Shortage>() {
            return true;
        }
        source = error.source();
    }
    false
}

/// Checks that there is enough memory for an allocation.
///
/// # Errors
/// `what` needs more bytes than are [`free`]. The error is a [`shortage`] if the machine has them but the process, or
/// its control group, may not use them; otherwise it is an ordinary error, because the request itself is at fault.
pub fn expect(bytes: u64, what: &str) -> Result<()> {
    match if bytes > SMALL { free() } else { None } {
        Some(free) if bytes > free => Err(refusal(bytes, free, machine(), what)),
        _ => Ok(()),
    }
}

fn refusal(bytes: u64, free: u64, machine: Option<u64>, what: &str) -> Error {
    let what = format!("{what} needs {} of memory, but only {} are free", in_words(bytes), in_words(free));
    if machine.is_none_or(|machine| bytes <= machine) { shortage(what) } else { Error::new(what) }
}

/// Bytes as text, in MiB or GiB.
pub fn in_words(bytes: u64) -> String {
    let mib = bytes as f64 / f64::from(1 << 20);
    if mib < 1024.0 { format!("{mib:.1} MiB") } else { format!("{:.1} GiB", mib / 1024.0) }
}

/// Parses the line `name 123 kB` of a file in /proc, in bytes.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The soft limit on the address space; `None` if it is unlimited.
fn address_limit(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// What the control groups (v2) leave: the minimum over the group of the process and all its ancestors.
fn group_free(root: &Path, membership: &str) -> Option<u64> {
    let group = membership.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let folders = Path::new(group).ancestors().map(|folder| root.join(folder));
    folders.filter_map(|folder| left_in(&folder)).min()
}

fn left_in(folder: &Path) -> Option<u64> {
    let read = |name: &str| -> Option<String> { std::fs::read_to_string(PathBuf::from(folder).join(name)).ok() };
    let limit: u64 = read("memory.max")?.trim().parse().ok()?;
    let used: u64 = read("memory.current")?.trim().parse().ok()?;
    // Pages of cached files are reclaimed first.
    let cached = read("memory.stat")
        .and_then(|text| text.lines().find_map(|line| line.strip_prefix("inactive_file ")?.trim().parse::<u64>().ok()));
    Some(limit.saturating_sub(used.saturating_sub(cached.unwrap_or(0))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_writes_is_read() {
        assert_eq!(kilobytes("MemFree: 1 kB\nMemAvailable:   2048 kB\n", "MemAvailable:"), Some(2 << 20));
        assert_eq!(kilobytes("MemFree: 1 kB\n", "MemAvailable:"), None);
        let limits =
            |soft: &str| format!("Max processes  5  5  processes\nMax address space  {soft}  unlimited  bytes\n");
        assert_eq!(address_limit(&limits("1073741824")), Some(1 << 30));
        assert_eq!(address_limit(&limits("unlimited")), None);
    }

    #[test]
    fn the_tightest_group_counts_and_cached_files_do_not() {
        let root = std::env::temp_dir().join(format!("segcal-groups-{}", std::process::id()));
        let inner = root.join("outer/inner");
        std::fs::create_dir_all(&inner).unwrap();
        let write = |folder: &Path, name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
        write(&inner, "memory.max", "max\n");
        write(&inner, "memory.current", "5\n");
        write(&root.join("outer"), "memory.max", "1000\n");
        write(&root.join("outer"), "memory.current", "700\n");
        write(&root.join("outer"), "memory.stat", "anon 5\ninactive_file 300\n");
        let found = group_free(&root, "1:cpu:/x\n0::/outer/inner\n");
        std::fs::remove_dir_all(&root).unwrap();
        assert_eq!(found, Some(600));
        assert_eq!(group_free(&root, "0::/outer/inner\n"), None);
    }

    #[test]
    fn more_than_there_is_is_refused_with_both_numbers() {
        let Some(_) = free() else { return };
        let message = expect(1 << 60, "the volume").unwrap_err().to_string();
        assert!(message.starts_with("the volume needs 1073741824.0 GiB of memory, "), "{message}");
        assert!(!is_shortage(&expect(1 << 60, "x").unwrap_err()), "no machine has that much");
        let is_short = |machine| is_shortage(&refusal(5, 4, machine, "x"));
        assert!(is_short(Some(5)) && is_short(None) && !is_short(Some(4)), "what limits the process may be its group");
        let short = shortage("5 MiB of memory cannot be had").at("cpu").help("use less");
        assert_eq!(short.to_string(), "cpu: 5 MiB of memory cannot be had (use less)");
        assert!(is_shortage(&short) && !is_shortage(&Error::new("5 MiB")));
        assert!(expect(1 << 60, "x").is_err() && expect(SMALL, "x").is_ok());
    }
}
