mod canonical;
mod cluster;
mod config;
mod intent;
