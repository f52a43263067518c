mod aligned;
mod readers;
mod restart;
mod sessions;
mod wal;
mod world;
