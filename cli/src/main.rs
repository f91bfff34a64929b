//! The `segcal` program.

/// Reports a failed allocation in one line.
#[global_allocator]
static MEMORY: segcal_backends::Allocator = segcal_backends::Allocator { give_up: segcal::signals::out_of_memory };

fn main() -> std::process::ExitCode {
    let run = || segcal::signals::give_up_with_a_status().map_or(1, |()| segcal::run(std::env::args_os()));
    // The panic has been reported by then, and 101 is not one of the program's exit statuses.
    std::panic::catch_unwind(run).unwrap_or(1).into()
}
