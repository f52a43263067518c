//! What runs beside the shards of each core: the listeners, all alike.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use model::config::ServeConfig;
use net::{Door, DoorConfig, Exposition};
use uring::Doors;

/// The doors of a configured server on so many cores. Connections are spread evenly by the kernel,
/// so each core may have its share of them. The receiver is told once per core whether it listens.
pub(crate) fn of(
    config: &ServeConfig,
    cores: u32,
    exposition: Exposition,
) -> (Doors, Receiver<bool>) {
    let (tell, told) = sync_channel(usize::try_from(cores).expect("a number of 32 bits"));
    let share = (config.connections_max / cores).max(1);
    let door = DoorConfig {
        listen: config.listen,
        ops_listen: config.ops_listen,
        connections_max: usize::try_from(share).expect("a number of 32 bits"),
        drain: Duration::from_millis(config.shutdown_timeout_ms),
        exposition,
    };
    let doors: Doors = Arc::new(move |gateway| {
        let (door, tell) = (door.clone(), tell.clone());
        Box::pin(async move {
            let opened = Door::open(door);
            // There is room for every core; nobody listens once one of them has failed.
            let _ = tell.try_send(opened.is_ok());
            opened.map_err(|error| error.to_string())?.serve(gateway).await;
            Ok(())
        })
    });
    (doors, told)
}
