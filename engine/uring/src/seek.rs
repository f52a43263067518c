//! An append that another node was asked for and that it does not answer: if the session would know it
//! again, and a third node says that it leads the group by now, that one is asked instead.

use std::pin::pin;
use std::time::{Duration, Instant};

use futures_lite::future;
use model::api::{GroupRow, GroupsPage, Reply, Request};
use model::cluster::{MemberId, NameTag};
use model::ids::GroupId;
use model::limits::{FORWARD_SILENCE_MS, LEADER_LOOK_MS};
use shard::cluster::Timing;
use shard::route::Outcome;

use crate::gateway::Gateway;
use crate::rt;

/// How long a node may be silent before it is looked whether it still leads, and between two looks at one
/// group.
const SILENCE: Duration = Duration::from_millis(FORWARD_SILENCE_MS);
const _: () = assert!(FORWARD_SILENCE_MS * 1_000 < Timing::USUAL.election_micros());
/// How long a node may take to say whether it leads.
const LOOK: Duration = Duration::from_millis(LEADER_LOOK_MS);

/// Who was last found to lead a group, and when.
pub(crate) type Found = (Instant, Option<MemberId>);

impl Gateway {
    /// Asks another node for an append that may be asked again, until it answers or another leads.
    pub(crate) async fn call_or_leave(
        &self,
        group: GroupId,
        node: NameTag,
        request: Request,
    ) -> Result<Reply, Outcome> {
        let mut call = pin!(self.call_there(node, request));
        loop {
            let answered = async { Some(call.as_mut().await) };
            let replaced = async {
                rt::sleep(SILENCE).await;
                let leader = self.seek(group, node).await?;
                Some(Err(Outcome::Replaced(leader)))
            };
            if let Some(outcome) = future::or(answered, replaced).await {
                return outcome;
            }
        }
    }

    /// Who leads a group instead of a node that is silent. One request looks; the others that wait find out
    /// from it the next time they look.
    async fn seek(&self, group: GroupId, silent: NameTag) -> Option<MemberId> {
        let hub = self.hub();
        let now = Instant::now();
        let known = hub.found(group).filter(|(at, _)| now < *at + SILENCE);
        let leader = if let Some((_, leader)) = known {
            leader
        } else {
            hub.note_found(group, (now, None));
            let leader = self.look(group, silent).await;
            hub.note_found(group, (Instant::now(), leader));
            leader
        };
        leader.filter(|leader| leader.tag() != silent)
    }

    async fn look(&self, group: GroupId, silent: NameTag) -> Option<MemberId> {
        let page = GroupsPage { first: group, count: 1 };
        let mut newest: Option<GroupRow> = None;
        for node in self.hub().replicas(group) {
            if node == silent {
                continue;
            }
            let said = rt::timeout(LOOK, self.call_there(node, Request::Groups(page))).await;
            let Some(Ok(Reply::Groups(rows))) = said else { continue };
            let row = rows.into_iter().find(|row| row.group == group);
            newest = newest.into_iter().chain(row).max_by_key(|row| row.term);
        }
        newest.map(|row| row.leader)
    }
}
