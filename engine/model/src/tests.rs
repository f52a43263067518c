mod canonical;
mod config;
