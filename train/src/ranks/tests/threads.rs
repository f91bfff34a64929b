//! Ranks that are threads of one process, for tests.

use std::sync::{Arc, Condvar, Mutex};

use segcal_core::{Error, Result};

use super::super::Ranks;

/// One rank. Dropping it ends it and notifies the others.
pub(super) struct Threads {
    rank: usize,
    /// For `gather` and `gather_aside`.
    meetings: [Arc<Meeting>; 2],
}

struct Meeting {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    given: Vec<Option<Vec<u8>>>,
    /// The bytes of all ranks, until every rank has taken them.
    all: Option<Vec<Vec<u8>>>,
    taken: usize,
    gone: Vec<usize>,
}

impl Threads {
    /// Creates `size` ranks.
    pub(super) fn of(size: usize) -> Vec<Self> {
        let state = || State { given: vec![None; size], ..State::default() };
        let meetings =
            [state(), state()].map(|state| Arc::new(Meeting { state: Mutex::new(state), changed: Condvar::new() }));
        (0..size).map(|rank| Self { rank, meetings: meetings.clone() }).collect()
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        for meeting in &self.meetings {
            if let Ok(mut state) = meeting.state.lock() {
                state.gone.push(self.rank);
            }
            meeting.changed.notify_all();
        }
    }
}

impl Meeting {
    fn gather(&self, rank: usize, own: &[u8]) -> Result<Vec<Vec<u8>>> {
        let Self { state, changed } = self;
        let mut now = changed.wait_while(state.lock().unwrap(), |now| now.all.is_some()).unwrap();
        now.given[rank] = Some(own.to_vec());
        if now.given.iter().all(Option::is_some) {
            now.all = now.given.iter_mut().map(Option::take).collect();
            changed.notify_all();
        }
        let mut now = changed.wait_while(now, |now| now.all.is_none() && now.gone.is_empty()).unwrap();
        let Some(all) = now.all.clone() else {
            return Err(Error::new("has ended").at(format!("rank {}", now.gone[0])));
        };
        now.taken += 1;
        if now.taken == now.given.len() {
            (now.all, now.taken) = (None, 0);
            changed.notify_all();
        }
        Ok(all)
    }
}

impl Ranks for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.meetings[0].state.lock().unwrap().given.len()
    }

    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>> {
        self.meetings[0].gather(self.rank, own)
    }

    fn gather_aside(&self, own: &[u8]) -> Result<Vec<Vec<u8>>> {
        self.meetings[1].gather(self.rank, own)
    }
}
