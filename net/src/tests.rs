//! Tests of the doors: what clients send becomes words, and words become what clients read.

mod append;
mod body;
mod link;
mod metric;
mod params;
mod render;
mod reply;
mod route;
mod session;
mod ws;
