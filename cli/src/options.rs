//! The options that every verb shares.

use clap::{ArgAction, Args, ValueEnum};
use segcal_backends::Device;
use segcal_core::{Context, Error, Result};
use segcal_data::part::Part;

use crate::progress::{self, Progress};
use crate::ranks;
use crate::terminal::Terminal;

/// Where computations run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub enum BackendName {
    /// 32-bit floats on the processor, with all threads.
    Cpu,
    /// 32-bit floats on a graphics card.
    Gpu,
    /// Slow 64-bit reference implementation that defines the expected results of the other two.
    Reference,
}

impl BackendName {
    /// The name as it is written on the command line and in configs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Gpu => "gpu",
            Self::Reference => "reference",
        }
    }
}

/// What `--isa` takes.
const LEVELS: [&str; 3] = ["avx512", "avx2", "baseline"];

/// Which part of the cases this task works on.
#[derive(Args, Clone, Copy, Debug)]
pub struct Parts {
    /// Divide the cases into this many parts, one for each task of a job array.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "part_id", value_parser = parse_count)]
    pub num_parts: usize,
    /// The part to work on, counting from 0: case k of the sorted list belongs to part k mod N. Parts may share an
    /// output folder.
    #[arg(long, value_name = "I", default_value_t = 0, requires = "num_parts")]
    pub part_id: usize,
    /// Take both from the environment: one part for each task of a job array, or for each process of mpirun.
    #[arg(long, value_name = "STARTER", value_enum, conflicts_with_all = ["num_parts", "part_id"])]
    pub parts_from: Option<Starter>,
}

/// What starts several processes and tells each its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Starter {
    /// A task of `sbatch --array`.
    Slurm,
    /// A process of `mpirun` or `mpiexec`; the program need not be built with MPI.
    Mpi,
}

impl Parts {
    /// The part.
    ///
    /// # Errors
    /// There is no such part.
    pub fn part(self) -> Result<Part> {
        match self.parts_from {
            Some(Starter::Slurm) => part_of_slurm(|variable| std::env::var(variable).ok()).at("--parts-from slurm"),
            Some(Starter::Mpi) => ranks::part().at("--parts-from mpi"),
            None => Part::new(self.part_id, self.num_parts).at("--part-id"),
        }
    }
}

/// Returns the part for a task of a Slurm job array. Task numbers must run without gaps from 0 or 1: any other array
/// repeats some tasks of an earlier one, and how that one divided the cases is not known.
fn part_of_slurm(variable: impl Fn(&str) -> Option<String>) -> Result<Part> {
    let number = |name: &'static str| {
        let text = variable(name).ok_or_else(|| {
            let error = Error::new("is not set").at(name);
            error.help("run it as a task of a job array (sbatch --array=0-6), or give --num-parts and --part-id")
        })?;
        text.parse::<usize>().map_err(|_| Error::new(format!("\"{text}\" is not a whole number")).at(name))
    };
    let id = number("SLURM_ARRAY_TASK_ID")?;
    let [count, first, last] =
        [number("SLURM_ARRAY_TASK_COUNT")?, number("SLURM_ARRAY_TASK_MIN")?, number("SLURM_ARRAY_TASK_MAX")?];
    if first > 1 || !(first..=last).contains(&id) || last - first + 1 != count {
        let problem =
            format!("task {id} is in an array of {count}, {first} to {last}, which must run without gaps from 0 or 1");
        let remedy = "resubmit the whole array with --resume, or give the original --num-parts and --part-id";
        return Err(Error::new(problem).help(remedy));
    }
    Part::new(id - first, count)
}

fn parse_count(text: &str) -> std::result::Result<usize, String> {
    text.parse().ok().filter(|&count| count > 0).ok_or_else(|| "expected a whole number of at least 1".into())
}

/// The options that every verb shares. A verb that has no use for one ignores it.
#[derive(Args, Clone, Debug, Default)]
pub struct Common {
    /// Backend for networks, losses and distance maps; all other metrics are computed on the CPU.
    #[arg(long, global = true, value_enum, value_name = "NAME", help_heading = "Shared options")]
    pub backend: Option<BackendName>,

    /// Graphics card for `--backend gpu`: its index or part of its name, as listed by `segcal devices`.
    #[arg(long, global = true, value_name = "INDEX|NAME", help_heading = "Shared options")]
    pub device: Option<String>,

    /// Maximum graphics memory to use, in GiB [default: all of it].
    #[arg(long, global = true, value_name = "GIB", value_parser = parse_gib, help_heading = "Shared options")]
    pub device_memory: Option<u64>,

    /// Number of threads [default: all cores]. Results do not depend on it.
    #[arg(long, global = true, value_name = "N", value_parser = parse_threads, help_heading = "Shared options")]
    pub threads: Option<usize>,

    /// Instruction set for `--backend cpu`: avx512, avx2 or baseline [default: the best available]. The last bits of
    /// network outputs depend on it.
    #[arg(long, global = true, value_name = "LEVEL", value_parser = LEVELS, help_heading = "Shared options")]
    pub isa: Option<String>,

    /// Print one JSON document instead of tables.
    #[arg(long, global = true, help_heading = "Shared options")]
    pub json: bool,

    /// Increase verbosity (-vv for debug output).
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "quiet",
          help_heading = "Shared options")]
    pub verbose: u8,

    /// Only print errors.
    #[arg(short, long, global = true, help_heading = "Shared options")]
    pub quiet: bool,
}

impl Common {
    /// Applies the process-wide options: message level and number of threads.
    ///
    /// # Errors
    /// The threads cannot be started.
    pub fn start(&self) -> Result<()> {
        progress::start_messages(self.level());
        let threads = match self.threads {
            Some(threads) => threads,
            None => match threads_of_environment()? {
                Some(threads) => threads,
                None => return Ok(()),
            },
        };
        // A second call in one process (tests, the library) keeps the existing pool: results do not depend on it.
        match rayon::ThreadPoolBuilder::new().num_threads(threads).build_global() {
            Err(error) if std::error::Error::source(&error).is_some() => {
                Err(Error::from_source(error).at("--threads").help("use fewer threads"))
            }
            _ => Ok(()),
        }
    }

    /// The requested backend, or the verb's own default.
    pub fn backend_or(&self, default: BackendName) -> BackendName {
        self.backend.unwrap_or(default)
    }

    /// The requested backend, or the verb's own default, ready to compute.
    ///
    /// # Errors
    /// This build or this machine has no such backend.
    pub fn device(&self, default: BackendName) -> Result<Device> {
        let name = self.backend_or(default);
        #[cfg(feature = "gpu")]
        if name == BackendName::Gpu {
            let options = segcal_backends::gpu::Options {
                device: self.device.clone(),
                memory: self.device_memory,
                cache: cache_folder(),
            };
            return Ok(Device::Gpu(segcal_backends::gpu::Gpu::open(&options)?));
        }
        let device = Device::open(name.as_str(), None).at("--backend")?;
        match &self.isa {
            Some(level) => device.with_instruction_set(level).at("--isa"),
            None => Ok(device),
        }
    }

    /// An observer for library calls: shows progress on standard error and handles signals.
    pub fn observer(&self) -> Terminal {
        Terminal::new(self.quiet)
    }

    /// Prints a line on standard error; silent with `-q`.
    pub fn say(&self, text: &str) {
        if !self.quiet {
            progress::line(text);
        }
    }

    /// Shows the progress of `total` steps of `what`; silent with `-q`.
    pub fn progress(&self, what: &str, total: usize) -> Progress {
        Progress::new(what, total, self.quiet)
    }

    fn level(&self) -> log::LevelFilter {
        match (self.quiet, self.verbose) {
            (true, _) => log::LevelFilter::Error,
            (false, 0) => log::LevelFilter::Warn,
            (false, 1) => log::LevelFilter::Info,
            (false, _) => log::LevelFilter::Debug,
        }
    }
}

/// Reads `RAYON_NUM_THREADS`, within the same limits as `--threads`. As in rayon, 0 or anything that is not a number
/// counts as unset.
fn threads_of_environment() -> Result<Option<usize>> {
    let text = std::env::var(VARIABLE).unwrap_or_default();
    match text.parse::<u64>() {
        Err(_) | Ok(0) => Ok(None),
        Ok(_) => parse_threads(&text).map(Some).map_err(|problem| Error::new(problem).at(VARIABLE)),
    }
}

/// The environment variable that sets the number of rayon's threads.
const VARIABLE: &str = "RAYON_NUM_THREADS";

/// The user's cache folder for segcal; `None` if the environment defines none.
#[cfg(feature = "gpu")]
fn cache_folder() -> Option<std::path::PathBuf> {
    let named = |variable| std::env::var_os(variable).map(std::path::PathBuf::from).filter(|path| path.is_absolute());
    let base =
        named("XDG_CACHE_HOME").or_else(|| named("LOCALAPPDATA")).or_else(|| Some(named("HOME")?.join(".cache")));
    Some(base?.join("segcal"))
}

/// Bytes of this many GiB.
#[expect(clippy::cast_possible_truncation, reason = "at most 2^50 bytes")]
fn parse_gib(text: &str) -> std::result::Result<u64, String> {
    match text.parse::<f64>() {
        Ok(gib) if gib > 0.0 && gib <= 1e6 => Ok((gib * f64::from(1 << 30)) as u64),
        _ => Err("expected a number of GiB above 0, such as 4 or 0.5".into()),
    }
}

fn parse_threads(text: &str) -> std::result::Result<usize, String> {
    match text.parse() {
        Ok(threads @ 1..=1024) => Ok(threads),
        _ => Err("expected a whole number from 1 to 1024".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_sensible_number_of_threads_is_taken() {
        assert_eq!(parse_threads("1"), Ok(1));
        for bad in ["0", "-1", "1025", "two", ""] {
            assert!(parse_threads(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_task_of_a_slurm_array_is_a_part() {
        let part = |values: [&str; 4]| {
            let names =
                ["SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_MAX"];
            let set: Vec<(&str, String)> = names.into_iter().zip(values.map(str::to_owned)).collect();
            part_of_slurm(|name| {
                set.iter().find(|(own, value)| *own == name && !value.is_empty()).map(|(_, v)| v.clone())
            })
            .map_err(|error| error.to_string())
        };
        assert_eq!(part(["0", "7", "0", "6"]), Ok(Part::new(0, 7).unwrap()));
        assert_eq!(part(["7", "7", "1", "7"]), Ok(Part::new(6, 7).unwrap()));
        for other in [["5", "2", "3", "5"], ["2", "1", "2", "2"], ["8", "4", "0", "12"], ["7", "7", "0", "6"]] {
            assert!(part(other).unwrap_err().contains("must run without gaps from 0 or 1"), "{other:?}");
        }
        assert!(part(["", "7", "0", "6"]).unwrap_err().contains("SLURM_ARRAY_TASK_ID: is not set"));
        assert!(part(["3", "7", "", "6"]).unwrap_err().contains("SLURM_ARRAY_TASK_MIN: is not set"));
        assert!(part(["x", "7", "0", "6"]).unwrap_err().contains("\"x\" is not a whole number"));
    }

    #[test]
    fn device_memory_is_given_in_gib() {
        assert_eq!(parse_gib("0.5"), Ok(1 << 29));
        for bad in ["0", "-1", "nan", "inf", "4GiB", ""] {
            assert!(parse_gib(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn quiet_and_verbose_set_the_level() {
        let level = |quiet, verbose| Common { verbose, quiet, ..Common::default() }.level();
        assert_eq!(level(true, 0), log::LevelFilter::Error);
        assert_eq!(level(false, 0), log::LevelFilter::Warn);
        assert_eq!(level(false, 2), log::LevelFilter::Debug);
    }
}
