mod aligned;
mod wal;
