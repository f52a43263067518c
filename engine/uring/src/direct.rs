//! Files opened for direct IO: what is written goes to the device, not to the page cache, and memory
//! holds no second copy.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use model::limits::BLOCK_BYTES;
use rustix::fs::{FallocateFlags, OFlags, major, minor};
use rustix::io::Errno;
use shard::aligned::AlignedBuffer;

/// Bytes of one write of zeros. A batch of the log waits behind one of them at most, and the device
/// takes larger ones no faster.
const ZERO_BYTES: usize = 256 * 1024;

fn direct() -> i32 {
    i32::try_from(OFlags::DIRECT.bits()).expect("open flags fit an int")
}

/// Makes a file, or empties the one there is.
///
/// # Errors
/// Those of open.
pub fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .custom_flags(direct())
        .mode(0o600)
        .open(path)
}

/// Opens a file to write over what it holds.
///
/// # Errors
/// Those of open.
pub fn open_for_write(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).custom_flags(direct()).open(path)
}

/// Opens a file to read it.
///
/// # Errors
/// Those of open.
pub fn open_for_read(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(direct()).open(path)
}

/// Reads `bytes` bytes at `offset`, both multiples of the block size.
///
/// # Errors
/// Those of pread; the end of the file counts as one.
pub fn read(file: &File, offset: u64, bytes: usize) -> io::Result<AlignedBuffer> {
    assert!(offset.is_multiple_of(BLOCK_BYTES as u64), "direct IO needs whole blocks");
    assert!(bytes.is_multiple_of(BLOCK_BYTES), "direct IO needs whole blocks");
    let mut buffer = AlignedBuffer::zeroed(bytes);
    file.read_exact_at(buffer.as_mut_slice(), offset)?;
    Ok(buffer)
}

/// Fills an empty file with zeros that are really written: a later write then changes no metadata,
/// so that its sync is one flush and no journal commit. Not yet durable.
///
/// # Errors
/// Those of fallocate and pwrite.
pub fn fill_with_zeros(file: &File, bytes: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes) {
        // Writing makes the room as well, only less evenly.
        Ok(()) | Err(Errno::OPNOTSUPP) => {}
        Err(error) => return Err(error.into()),
    }
    let zeros = AlignedBuffer::zeroed(ZERO_BYTES);
    let mut offset = 0;
    while offset < bytes {
        let count = usize::try_from(bytes - offset).map_or(ZERO_BYTES, |left| left.min(ZERO_BYTES));
        file.write_all_at(&zeros.as_slice()[..count], offset)?;
        offset += count as u64;
    }
    Ok(())
}

/// Whether the device under a path can make single writes durable by itself (force unit access).
///
/// # Errors
/// If the path does not exist or the kernel does not describe its device.
pub fn device_writes_through(path: &Path) -> io::Result<bool> {
    let device = std::fs::metadata(path)?.dev();
    let base = format!("/sys/dev/block/{}:{}", major(device), minor(device));
    // A partition has its queue one level up.
    let own = std::fs::read_to_string(format!("{base}/queue/fua"));
    let fua = own.or_else(|_| std::fs::read_to_string(format!("{base}/../queue/fua")))?;
    Ok(fua.trim() == "1")
}
