//! The recorder behind every metric, and the thread that renders it: sorting thousands of samples is
//! no work for an executor.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use model::metric::{Kind, Metric, Unit};
use uring::rt;

/// Between drains of the histograms' samples, which are kept whole until then.
const UPKEEP: Duration = Duration::from_secs(2);
/// Renderings waiting; more are refused.
const WAITING_MAX: usize = 16;
/// Between looks of an executor at whether its rendering is done.
const LOOK: Duration = Duration::from_millis(2);
/// Looks before it gives up: ten seconds.
const LOOKS_MAX: u32 = 5_000;

/// One rendering: asked for by an executor, filled in by the thread.
type Page = Arc<OnceLock<String>>;

/// Way to the process's recorder. Cheap to clone; for any thread.
#[derive(Debug, Clone)]
pub struct Exposition(Option<SyncSender<Page>>);

/// Why metrics cannot be collected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpositionError(String);

impl std::fmt::Display for ExpositionError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ExpositionError {}

impl Exposition {
    /// Makes the recorder of the process and starts the thread behind it. Must come before the first
    /// handle is made: one made earlier counts into nothing.
    ///
    /// # Errors
    /// If there is a recorder already, or no thread can be started.
    pub fn install() -> Result<Exposition, ExpositionError> {
        let recorder = builder()?.build_recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder)
            .map_err(|_| ExpositionError("a metrics recorder is installed already".to_owned()))?;
        describe();
        let (asks, pages) = sync_channel(WAITING_MAX);
        std::thread::Builder::new()
            .name("metrics".to_owned())
            .spawn(move || serve(&handle, &pages))
            .map_err(|error| ExpositionError(format!("start the metrics thread: {error}")))?;
        Ok(Exposition(Some(asks)))
    }

    /// For a process that collects no metrics: the exposition is empty.
    pub fn off() -> Exposition {
        Exposition(None)
    }

    /// The text of all series; `None` if too many ask at once.
    pub(crate) async fn render(&self) -> Option<String> {
        let Some(asks) = &self.0 else { return Some(String::new()) };
        let page = Page::default();
        asks.try_send(Arc::clone(&page)).ok()?;
        for _ in 0..LOOKS_MAX {
            if let Some(text) = page.get() {
                return Some(text.clone());
            }
            rt::sleep(LOOK).await;
        }
        None
    }
}

/// A recorder that knows every histogram's buckets.
fn builder() -> Result<PrometheusBuilder, ExpositionError> {
    let mut builder = PrometheusBuilder::new();
    for metric in Metric::ALL {
        if let Kind::Histogram(edges) = metric.kind() {
            builder = builder
                .set_buckets_for_metric(Matcher::Full(metric.name().to_owned()), edges)
                .map_err(|error| ExpositionError(format!("{}: {error}", metric.name())))?;
        }
    }
    Ok(builder)
}

fn describe() {
    for metric in Metric::ALL {
        let unit = match metric.unit() {
            Unit::Count => metrics::Unit::Count,
            Unit::Bytes => metrics::Unit::Bytes,
            Unit::Seconds => metrics::Unit::Seconds,
            Unit::Milliseconds => metrics::Unit::Milliseconds,
        };
        let (name, help) = (metric.name(), metric.help());
        match metric.kind() {
            Kind::Counter => metrics::describe_counter!(name, unit, help),
            Kind::Gauge => metrics::describe_gauge!(name, unit, help),
            Kind::Histogram(_) => metrics::describe_histogram!(name, unit, help),
        }
    }
}

/// Renders what is asked for, until nobody can ask any more.
fn serve(handle: &PrometheusHandle, pages: &Receiver<Page>) {
    loop {
        match pages.recv_timeout(UPKEEP) {
            Ok(page) => {
                let text = page.set(handle.render());
                assert!(text.is_ok(), "a page is rendered once");
            }
            Err(RecvTimeoutError::Timeout) => handle.run_upkeep(),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
