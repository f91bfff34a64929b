//! The `segcal` program.

fn main() -> std::process::ExitCode {
    segcal::run(std::env::args_os()).into()
}
