//! The device itself, asked in the form of the log: one block written directly into a file of written
//! zeros, its sync linked to the write, one at a time, waited for in the kernel. What a server adds to
//! this is its own doing.

use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use model::limits::BLOCK_BYTES;
use shard::aligned::AlignedBuffer;
use uring::{Ring, SyncStrategy, direct};

use crate::hog::Hogs;
use crate::options::{Common, Disk};
use crate::report::{Figure, Latencies, Report, Unit};
use crate::scenario::{rounds, seconds};
use crate::scratch::Scratch;

/// Blocks of the probe's file; writing goes round and round.
const FILE_BLOCKS: u64 = 16 * 1024;
/// Writes before any counts.
const WARMUP_WRITES: usize = 32;

/// A file to write to and a ring to do it with.
#[derive(Debug)]
pub(crate) struct Probe {
    ring: Ring,
    file: Rc<std::fs::File>,
    buffer: Option<AlignedBuffer>,
    next_block: u64,
    /// Holds the file.
    _scratch: Scratch,
}

impl Probe {
    /// Makes the file, in a directory of its own below `parent`, and fills it with zeros.
    ///
    /// # Errors
    /// If the file system takes no direct IO, or the kernel gives no ring.
    pub(crate) fn new(parent: &Path) -> Result<Probe, String> {
        let scratch = Scratch::new(parent)?;
        let open = || -> io::Result<(Ring, std::fs::File)> {
            let path = scratch.path().join("probe");
            let file = direct::create(&path)?;
            direct::fill_with_zeros(&file, FILE_BLOCKS * BLOCK_BYTES as u64)?;
            file.sync_all()?;
            Ok((Ring::new(SyncStrategy::Link)?, direct::open_for_write(&path)?))
        };
        let (ring, file) =
            open().map_err(|error| format!("{} cannot be probed: {error}", parent.display()))?;
        let mut buffer = AlignedBuffer::with_capacity(BLOCK_BYTES);
        buffer.extend_from_slice(&[0xa5; BLOCK_BYTES]);
        let (file, buffer) = (Rc::new(file), Some(buffer));
        let mut probe = Probe { ring, file, buffer, next_block: 0, _scratch: scratch };
        for _ in 0..WARMUP_WRITES {
            probe.write()?;
        }
        Ok(probe)
    }

    /// Makes one block durable; how long that took.
    ///
    /// # Errors
    /// If it failed. The probe is of no use then.
    pub(crate) fn write(&mut self) -> Result<Duration, String> {
        let buffer = self.buffer.take().ok_or("an earlier write failed")?;
        let offset = self.next_block * BLOCK_BYTES as u64;
        self.next_block = (self.next_block + 1) % FILE_BLOCKS;
        let start = Instant::now();
        let submitted = self.ring.submit(Rc::clone(&self.file), offset, buffer);
        let done = submitted.and_then(|()| self.ring.wait());
        let took = start.elapsed();
        self.buffer = Some(done.map_err(|error| error.to_string())?);
        Ok(took)
    }

    /// Writes for at least `time`, into `latencies`.
    ///
    /// # Errors
    /// Those of [`Probe::write`].
    pub(crate) fn measure(
        &mut self,
        time: Duration,
        latencies: &mut Latencies,
    ) -> Result<(), String> {
        let start = Instant::now();
        while start.elapsed() < time {
            latencies.record(self.write()?);
        }
        Ok(())
    }
}

/// The `disk` scenario.
///
/// # Errors
/// Why it could not be run to its end.
pub(crate) fn run(options: &Disk, common: &Common) -> Result<Report, String> {
    let mut report = Report::new("disk");
    report.set("dir", common.dir.display().to_string());
    report.set("seconds", options.seconds);
    let time = seconds(options.seconds)?;
    let mut probe = Probe::new(&common.dir)?;
    rounds(common, |_, company| {
        let _hogs = Hogs::start(company.hogs);
        report.add(&company.name, round(&mut probe, time)?);
        Ok(())
    })?;
    Ok(report.conclude())
}

/// One round of the device.
///
/// # Errors
/// Those of [`Probe::write`].
pub(crate) fn round(probe: &mut Probe, time: Duration) -> Result<Vec<Figure>, String> {
    let mut latencies = Latencies::default();
    let start = Instant::now();
    probe.measure(time, &mut latencies)?;
    let mut figures = vec![per_second("writes", latencies.count(), start.elapsed())];
    figures.extend(latencies.figures(""));
    Ok(figures)
}

/// How many of something there were in a second.
#[expect(clippy::cast_precision_loss, reason = "three digits are exact enough")]
pub(crate) fn per_second(name: &str, count: u64, time: Duration) -> Figure {
    Figure::new(name, Unit::PerSecond, count as f64 / time.as_secs_f64())
}

/// Percentiles of one thing as multiples of those of another, where both are known.
pub(crate) fn ratios(ours: &Latencies, theirs: &Latencies, name: &str) -> Vec<Figure> {
    let ratio = |percentile: &str| {
        let (ours, theirs) = (ours.percentile(percentile)?, theirs.percentile(percentile)?);
        Some(Figure::new(format!("{percentile} / {name} {percentile}"), Unit::Ratio, ours / theirs))
    };
    ["p50", "p99"].into_iter().filter_map(ratio).collect()
}
