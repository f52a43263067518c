mod canonical;
mod cluster;
mod config;
