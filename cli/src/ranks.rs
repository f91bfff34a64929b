//! Whether this process was started together with others, by `mpirun`, `mpiexec` or `srun`.

use std::sync::Arc;

use segcal_core::{Error, Result};
use segcal_data::part::Part;
use segcal_train::ranks::Ranks;

use crate::terminal::Terminal;

/// Where the implementations of MPI tell a process how many there are.
const SIZES: [&str; 2] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"];
/// Where they tell it its number.
const NUMBERS: [&str; 3] = ["OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK"];

fn number(variables: &[&str]) -> Option<usize> {
    variables.iter().find_map(|variable| std::env::var(variable).ok()?.parse().ok())
}

/// Whether another process, started with this one, speaks for both.
pub fn is_spoken_for() -> bool {
    number(&NUMBERS).is_some_and(|rank| rank > 0)
}

/// How many processes were started together, as far as one can see.
pub fn count() -> usize {
    number(&SIZES).unwrap_or(1)
}

/// The part of the cases for this process: one part for each of those started together.
///
/// # Errors
/// It was not started with others.
pub fn part() -> Result<Part> {
    let place = number(&NUMBERS).zip(number(&SIZES));
    let Some((rank, size)) = place else {
        let error = Error::new(format!("neither {} nor {} is set", SIZES[0], SIZES[1]));
        return Err(error.help("start it with mpirun, or give --num-parts and --part-id"));
    };
    Part::new(rank, size)
}

/// The others with which this process was started, if it was. While it waits for them, `observer` may end it.
///
/// # Errors
/// MPI cannot be begun.
#[cfg(feature = "mpi")]
pub fn join(observer: Terminal) -> Result<Option<Arc<dyn Ranks>>> {
    if number(&SIZES).or_else(|| number(&NUMBERS)).is_none() {
        return Ok(None);
    }
    let stop = Box::new(move || segcal_data::observer::check(&observer).err());
    Ok(Some(Arc::new(segcal_train::ranks::mpi::Mpi::start(stop)?)))
}

/// None: this program was built without MPI.
///
/// # Errors
/// It was started with others nevertheless.
#[cfg(not(feature = "mpi"))]
pub fn join(_: Terminal) -> Result<Option<Arc<dyn Ranks>>> {
    if count() > 1 {
        let problem = format!("{} processes were started together, but this program was built without MPI", count());
        let error = Error::new(problem);
        return Err(error.help("build it with --features mpi (docs/cluster.md), or start one process"));
    }
    Ok(None)
}
