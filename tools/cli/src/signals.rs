//! What SIGTERM and SIGINT do: the first has other nodes lead what is led here, then asks the server to
//! stop and gives it time, the second ends
//! it at once. Either way no acknowledged event is lost: an event is durable before it is
//! acknowledged.

use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use model::error::Fatal;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use uring::Stopper;

use crate::failure::Failure;

/// Added to the time a stop may take: the doors have cut everything off by then, and the shards
/// finish what they were asked to.
const GRACE: Duration = uring::DRAIN.saturating_add(Duration::from_secs(5));

/// Between two looks whether anything is led here.
const HAND_OVER_LOOK: Duration = Duration::from_millis(10);

/// Listens for signals.
#[derive(Debug, Clone)]
pub(crate) struct Guard(Arc<OnceLock<Stopper>>);

impl Guard {
    /// Begins to listen; a stop may take `timeout`. Until there is something to stop, a signal ends the process.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub(crate) fn start(timeout: Duration) -> Result<Guard, Failure> {
        let refused = |error| Failure::failed(format!("cannot listen for signals: {error}"));
        let guard = Guard(Arc::new(OnceLock::new()));
        let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(refused)?;
        let listener = guard.clone();
        let listen = move || listener.listen(&mut signals, timeout);
        thread::Builder::new().name("signals".to_owned()).spawn(listen).map_err(refused)?;
        Ok(guard)
    }

    /// From now on a signal stops this.
    pub(crate) fn watch(&self, stopper: Stopper) {
        self.0.set(stopper).expect("there is one server in a process");
    }

    fn listen(&self, signals: &mut Signals, timeout: Duration) {
        let mut signals = signals.forever();
        if signals.next().is_none() {
            return;
        }
        let Some(stopper) = self.0.get() else {
            tracing::info!("told to stop before the server was up");
            end(None);
        };
        let stopper = stopper.clone();
        let milliseconds = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        tracing::info!(
            timeout_ms = milliseconds,
            "stopping: no new connections, open requests are answered; a second signal ends at once"
        );
        let stop = stopper.clone();
        let late = move || {
            hand_over(&stop, timeout);
            stop.begin();
            thread::sleep(timeout + GRACE);
            tracing::warn!("the stop took too long; it ends here");
            end(Some(Fatal::Failed));
        };
        if let Err(error) = thread::Builder::new().name("stop-timeout".to_owned()).spawn(late) {
            tracing::warn!(%error, "the stop has no time limit");
            stopper.begin();
        }
        if signals.next().is_some() {
            tracing::warn!("told twice: stopped at once, open requests are cut off");
            end(Some(Fatal::Failed));
        }
    }
}

/// Has other nodes lead what is led here, as long as there are any and it does not take too long: those
/// who are led would wait for an election otherwise.
fn hand_over(stopper: &Stopper, timeout: Duration) {
    let began = Instant::now();
    if !stopper.leave() {
        return;
    }
    while 0 < stopper.standing().groups_to_give() {
        if timeout <= began.elapsed() {
            let groups = stopper.standing().groups_to_give();
            tracing::warn!(groups, "stopping while groups are led here that others could lead");
            return;
        }
        thread::sleep(HAND_OVER_LOOK);
    }
}

#[expect(clippy::exit, reason = "the cores do not listen any more, or must not be waited for")]
fn end(fatal: Option<Fatal>) -> ! {
    std::process::exit(fatal.map_or(0, |fatal| i32::from(fatal.status())))
}
