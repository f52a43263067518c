//! Says the same thing once in a while, however often it happens: a peer that is gone is dialed twice a
//! second, and a stranger can knock as often as it likes.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two times the same is said.
const QUIET: Duration = Duration::from_secs(10);
/// Different things remembered.
const REMEMBERED: usize = 256;

/// What was said lately.
#[derive(Debug, Default)]
pub(crate) struct Told(Mutex<BTreeMap<String, Instant>>);

impl Told {
    /// Whether this is to be said now.
    pub(crate) fn is_new(&self, text: &str, now: Instant) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|_, at| now < *at + QUIET);
        if told.contains_key(text) || REMEMBERED <= told.len() {
            return false;
        }
        told.insert(text.to_owned(), now);
        true
    }
}
