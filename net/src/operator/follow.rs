//! How a node hears what operators say. While nobody has said anything there is nothing to follow, and
//! nodes tell each other in their signs of life how much they know: so nobody is asked but once in a
//! long while.

use std::time::{Duration, Instant};

use futures_lite::future::or;
use model::api::{Reply, Request, TailMessage, TailOpen};
use model::cluster::NodeName;
use model::error::Code;
use model::intent::{self, Intent};
use uring::{Gateway, Standing, rt};

use super::Operator;

/// Between two looks whether there is something to hear.
const LOOK: Duration = Duration::from_millis(100);
/// How long a node that knows of nothing new asks nobody: its neighbours may have died before they
/// could say that something was said.
const QUIET: Duration = Duration::from_secs(30);

/// What became of listening.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// Operators have not said anything yet.
    Silence,
    /// It could not go on.
    Broken,
}

/// Follows what operators say until the node stops.
pub(crate) async fn follow(gateway: Gateway, operator: Operator) {
    let mut intent = gateway.stopper().standing().intent();
    let without_end = async {
        loop {
            let ended = listen(&gateway, &operator, &mut intent).await;
            rest(gateway.stopper().standing(), ended).await;
        }
    };
    or(without_end, gateway.stopped()).await;
}

/// Waits until it is worth another try.
async fn rest(standing: &Standing, ended: Ended) {
    let began = Instant::now();
    loop {
        rt::sleep(LOOK).await;
        if ended == Ended::Broken || standing.is_behind() || QUIET <= began.elapsed() {
            return;
        }
    }
}

/// Follows what operators say until that cannot go on, from what is known already.
async fn listen(gateway: &Gateway, operator: &Operator, intent: &mut Intent) -> Ended {
    let stopper = gateway.stopper();
    let standing = stopper.standing();
    let tell = |intent: &Intent, complete| {
        let write = intent.write_tags(&operator.0.cluster.write);
        standing.set_intent(intent, write, complete);
    };
    let head = match gateway.call(Request::Get(intent::session())).await {
        Reply::Session(row) => row.last_seq,
        Reply::Refused(refusal) if refusal.code == Code::SessionNotFound => {
            tell(intent, true);
            return Ended::Silence;
        }
        _ => return Ended::Broken,
    };
    tell(intent, head <= intent.seq());
    let open = TailOpen { session: intent::session(), cursor: intent.seq() };
    let Ok(mut tail) = gateway.follow(open).await else { return Ended::Broken };
    while let Some(message) = tail.next().await {
        let TailMessage::Events { events, .. } = message else { return Ended::Broken };
        for event in &events {
            intent.take(event.seq, &event.json);
        }
        tail.written(events.iter().map(|event| event.json.len() as u64).sum());
        tell(intent, head <= intent.seq());
        if let Some(keeper) = &operator.0.keeper {
            keeper.keep(intent);
        }
        let join = |nodes: Vec<&str>| nodes.join(",");
        let write = intent.write(&operator.0.cluster.write);
        tracing::info!(
            seq = intent.seq().0,
            draining = join(intent.draining().keys().map(NodeName::as_str).collect()),
            data = join(write.iter().map(NodeName::as_str).collect()),
            preferred = intent.preferred().len(),
            "operators want"
        );
    }
    Ended::Broken
}
