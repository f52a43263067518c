//! What runs beside the shards of each core: the listeners, all alike.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use model::config::ServeConfig;
use net::{CoreLinks, Door, DoorConfig, Exposition, Links, Operator};
use uring::Doors;

/// The doors of a configured server on so many cores. Connections are spread evenly by the kernel,
/// so each core may have its share of them. The receiver is told once per core whether it listens.
pub(crate) fn of(
    config: &ServeConfig,
    cores: u32,
    (exposition, operator): (Exposition, Operator),
    links: Option<Links>,
) -> (Doors, Receiver<bool>) {
    let (tell, told) = sync_channel(usize::try_from(cores).expect("a number of 32 bits"));
    let share = (config.connections_max / cores).max(1);
    let door = DoorConfig {
        listen: config.listen,
        ops_listen: config.ops_listen,
        connections_max: usize::try_from(share).expect("a number of 32 bits"),
        drain: Duration::from_millis(config.shutdown_timeout_ms),
        exposition,
        operator: Some(operator),
    };
    let doors: Doors = Arc::new(move |gateway| {
        let (door, links, tell) = (door.clone(), links.clone(), tell.clone());
        Box::pin(async move {
            let opened = open(door, links);
            // There is room for every core; nobody listens once one of them has failed.
            let _ = tell.try_send(opened.is_ok());
            let (door, links) = opened?;
            // They stay until the core ends: what clients still wait for is decided with others.
            if let Some(links) = links {
                links.start(gateway.clone());
            }
            door.serve(gateway).await;
            Ok(())
        })
    });
    (doors, told)
}

fn open(door: DoorConfig, links: Option<Links>) -> Result<(Door, Option<CoreLinks>), String> {
    let door = Door::open(door).map_err(|error| error.to_string())?;
    let links = links.map(|links| links.open()).transpose().map_err(|error| error.to_string())?;
    Ok((door, links))
}
