//! Gradients are exchanged while the backward pass goes on, and the bits stay those of one rank.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use segcal_backends::Cpu;
use segcal_core::Result;
use segcal_data::observer::{Event, Observer};

use super::super::{Alone, Ranks};
use super::threads::Threads;
use super::{followed, trained};

/// A network whose gradients fill one bucket before the backward pass is done, and then a part of another.
const WIDE: &str = "network={levels=3,base=32}";
/// Number of buckets of a step.
const BUCKETS: usize = 2;
/// Far longer than any backward pass here.
const PATIENCE: Duration = Duration::from_mins(2);

/// What the observer of a rank has been told so far.
#[derive(Default)]
struct Told {
    works: Mutex<Vec<String>>,
    changed: Condvar,
}

impl Told {
    fn backward_passes(works: &[String]) -> usize {
        works.iter().filter(|work| *work == "backward").count()
    }
}

impl Observer for Told {
    fn event(&self, event: Event<'_>) {
        if let Event::Span(span) = event {
            self.works.lock().unwrap().push(span.work.to_owned());
            self.changed.notify_all();
        }
    }
}

/// A connection on which the gradients of each step arrive only after its backward pass.
struct Slow {
    ranks: Threads,
    told: Arc<Told>,
    buckets: Mutex<usize>,
}

impl Ranks for Slow {
    fn rank(&self) -> usize {
        self.ranks.rank()
    }

    fn size(&self) -> usize {
        self.ranks.size()
    }

    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>> {
        self.ranks.gather(own)
    }

    fn gather_aside(&self, own: &[u8]) -> Result<Vec<Vec<u8>>> {
        let mut buckets = self.buckets.lock().unwrap();
        let early = |works: &mut Vec<String>| Told::backward_passes(works) <= *buckets / BUCKETS;
        let works = self.told.works.lock().unwrap();
        let (works, waited) = self.told.changed.wait_timeout_while(works, PATIENCE, early).unwrap();
        drop(works);
        assert!(!waited.timed_out(), "the backward pass waits for the exchange");
        *buckets += 1;
        self.ranks.gather_aside(own)
    }
}

#[test]
fn the_backward_pass_does_not_wait_for_an_exchange() {
    let cpu = Cpu::new(None).unwrap();
    for norm in ["instance", "batch"] {
        let network = WIDE.replace('}', &format!(",norm=\"{norm}\"}}"));
        let keys = ["micro_batch=1", &network, "loss.name=ce", "epochs=1"];
        let alone = trained(&cpu, &keys, Arc::new(Alone)).unwrap();
        std::thread::scope(|scope| {
            let start = |ranks: Threads| {
                let (told, keys, cpu) = (Arc::new(Told::default()), &keys, &cpu);
                let slow = Slow { ranks, told: told.clone(), buckets: Mutex::default() };
                scope.spawn(move || (followed(cpu, keys, Arc::new(slow), &*told).unwrap(), told))
            };
            let running: Vec<_> = Threads::of(2).into_iter().map(start).collect();
            for one in running {
                let (found, told) = one.join().unwrap();
                assert!(found == alone, "{norm}: the bits differ");
                let works = told.works.lock().unwrap();
                let exchanges = works.iter().filter(|work| *work == "gradients").count();
                assert_eq!(exchanges, BUCKETS * Told::backward_passes(&works), "{works:?}");
            }
        });
    }
}
