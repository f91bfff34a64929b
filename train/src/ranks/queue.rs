//! Exchanges between ranks while this one goes on computing.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::Builder;
use std::time::Instant;

use segcal_core::{Error, Result, memory};

use super::Ranks;

/// A thread that makes exchanges in the order in which they are begun, which must be the same on all ranks. It uses
/// [`Ranks::gather_aside`], so that [`Ranks::gather`] does not wait for them. It ends after an error, or when this is
/// dropped, after the exchanges that were begun.
pub(crate) struct Queue(Sender<Request>);

struct Request {
    own: Vec<u8>,
    answer: Sender<Result<Exchange>>,
}

/// An exchange that is done.
pub(crate) struct Exchange {
    /// The bytes of every rank.
    pub(crate) all: Vec<Vec<u8>>,
    /// When its turn came.
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
}

/// An exchange that was begun.
pub(crate) struct Pending(Receiver<Result<Exchange>>);

impl Queue {
    /// A queue for the exchanges among these ranks.
    ///
    /// # Errors
    /// No thread can be started.
    pub(crate) fn start(ranks: Arc<dyn Ranks>) -> Result<Self> {
        let (ask, asked) = channel::<Request>();
        let serve = move || {
            for Request { own, answer } in asked {
                let outcome = exchanged(&*ranks, &own);
                let failed = outcome.is_err();
                // Nobody is waiting if the step has failed.
                let _ = answer.send(outcome);
                if failed {
                    break;
                }
            }
        };
        let thread = Builder::new().name("exchange".into()).spawn(serve);
        thread.map_err(|error| memory::shortage(format!("cannot start a thread for the exchanges: {error}")))?;
        Ok(Self(ask))
    }

    /// Begins an exchange: see [`Ranks::gather_aside`].
    pub(crate) fn begin(&self, own: Vec<u8>) -> Pending {
        let (answer, pending) = channel();
        // If the thread has ended, waiting for the answer tells.
        let _ = self.0.send(Request { own, answer });
        Pending(pending)
    }
}

fn exchanged(ranks: &dyn Ranks, own: &[u8]) -> Result<Exchange> {
    let began = Instant::now();
    let all = ranks.gather_aside(own)?;
    Ok(Exchange { all, began, ended: Instant::now() })
}

impl Pending {
    /// Waits until the exchange is done.
    ///
    /// # Errors
    /// As [`Ranks::gather_aside`].
    pub(crate) fn wait(self) -> Result<Exchange> {
        self.0.recv().unwrap_or_else(|_| Err(ended()))
    }

    /// The exchange, or its error, if it is done; it can be taken once.
    pub(crate) fn done(&self) -> Option<Result<Exchange>> {
        match self.0.try_recv() {
            Ok(outcome) => Some(outcome),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(ended())),
        }
    }
}

fn ended() -> Error {
    Error::new("the thread that exchanges gradients has ended")
}
