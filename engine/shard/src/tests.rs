mod aligned;
mod cluster;
mod readers;
mod restart;
mod route;
mod sessions;
mod wal;
mod world;
