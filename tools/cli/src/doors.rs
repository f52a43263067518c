//! What runs beside the shards of each core: the listeners, all alike.

use std::sync::Arc;
use std::time::Duration;

use model::config::ServeConfig;
use net::{DoorConfig, Exposition};
use uring::Doors;

/// The doors of a configured server on so many cores. Connections are spread evenly by the kernel,
/// so each core may have its share of them.
pub(crate) fn of(config: &ServeConfig, cores: u32, exposition: Exposition) -> Doors {
    let share = (config.connections_max / cores).max(1);
    let door = DoorConfig {
        listen: config.listen,
        ops_listen: config.ops_listen,
        connections_max: usize::try_from(share).expect("a number of 32 bits"),
        drain: Duration::from_millis(config.shutdown_timeout_ms),
        exposition,
    };
    Arc::new(move |gateway| {
        let door = door.clone();
        Box::pin(async move { net::serve(door, gateway).await.map_err(|error| error.to_string()) })
    })
}
