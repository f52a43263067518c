//! Tests of the doors: what clients send becomes words, and words become what clients read.

mod append;
mod body;
mod follow;
mod link;
mod metric;
mod operator;
mod params;
mod peer;
mod render;
mod reply;
mod rest;
mod route;
mod server;
mod session;
mod wire;
mod ws;
