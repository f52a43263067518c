mod aligned;
mod cluster;
mod readers;
mod restart;
mod sessions;
mod wal;
mod world;
