//! A node of three asks another one, which is silent; the test plays both others.

use std::time::Duration;

use model::api::{Appended, GroupRow, Reply, Request};
use model::cluster::MemberId;
use model::command::{Append, Dedupe, Producer};
use model::error::{Code, Refusal};
use model::ids::Seq;
use shard::NodeId;
use shard::cluster::{Cluster, Timing};

use super::TempDir;
use super::forward::{OTHER, OWN, PATIENCE, serve};
use super::node::{append, create, settings};
use crate::cores::Settings;
use crate::forward::{ClientMessage, ClientQueue};
use crate::gateway::Gateway;
use crate::rt;

/// The other one that the test plays.
const THIRD: MemberId = MemberId(3 << 32 | 1);

fn one_of_three(temp: &TempDir) -> Settings {
    let all = [OWN, OTHER, THIRD];
    let cluster = Cluster {
        own: NodeId(OWN.0),
        founders: all.iter().map(|member| NodeId(member.0)).collect(),
        founding_factor: 3,
        write: all.iter().map(|member| member.tag()).collect(),
        factor: 3,
        timing: Timing::default(),
    };
    Settings { cluster, ..settings(temp.path(), 1, Some(1)) }
}

/// Runs such a node until `work` is done with it and its connections to the node it asks first, and to
/// the last one.
fn between<F: Future<Output = ()> + 'static>(
    work: impl Fn(Gateway, Peer, Peer) -> F + Send + Sync + 'static,
) {
    let temp = TempDir::new();
    serve(&one_of_three(&temp), move |gateway: Gateway| {
        let peer = |member| Peer { member, connection: gateway.clients().open(member) };
        let (other, third) = (peer(OTHER), peer(THIRD));
        let group = gateway.hub().placement.group("s");
        let order = gateway.hub().replicas(group);
        let place = |of: MemberId| order.iter().position(|name| *name == of.tag());
        let swaps = place(THIRD) < place(OTHER);
        let (first, last) = if swaps { (third, other) } else { (other, third) };
        work(gateway, first, last)
    });
}

/// A node that the test plays.
struct Peer {
    member: MemberId,
    connection: ClientQueue,
}

impl Peer {
    /// The next request it gets.
    async fn asked(&self) -> (u64, Request) {
        let asked = rt::timeout(PATIENCE, self.connection.waiting()).await;
        asked.expect("it is asked something");
        let mut batch = Vec::new();
        self.connection.take(1, &mut batch);
        match batch.pop() {
            Some(ClientMessage::Request { ticket, request }) => (ticket, request),
            other => panic!("{other:?}"),
        }
    }

    fn say(&self, gateway: &Gateway, ticket: u64, reply: Reply) {
        gateway.hear_client(self.member, ClientMessage::Reply { ticket, reply });
    }

    /// Answers who asks which groups it leads.
    async fn claim(&self, gateway: &Gateway, leader: MemberId) {
        let (ticket, request) = self.asked().await;
        let Request::Groups(page) = request else { panic!("{request:?}") };
        let row = GroupRow {
            group: page.first,
            leader,
            term: 7,
            last: 1,
            voters: vec![OWN, OTHER, THIRD],
            outgoing: Vec::new(),
            learners: Vec::new(),
            matched: Vec::new(),
        };
        let rows = if leader == self.member { vec![row] } else { Vec::new() };
        self.say(gateway, ticket, Reply::Groups(rows));
    }
}

/// An append that a session would know again.
fn recognized() -> Request {
    let Request::Append(append) = append("s", 1) else { panic!("an append") };
    let dedupe = Dedupe::Producer(Producer { id: "p".into(), seq: 1 });
    Request::Append(Append { dedupe, ..append })
}

fn appended() -> Reply {
    let (seq, archived_seq) = (Seq(1), Seq(0));
    Reply::Appended(Appended { seq, last_seq: seq, deduped: true, archived_seq })
}

#[test]
fn what_can_be_recognized_is_asked_of_whoever_leads_instead_of_a_silent_node() {
    between(|gateway, silent, heir| async move {
        let serve = async {
            let asked = silent.asked().await;
            // Nobody leads yet, and at the next look somebody does.
            heir.claim(&gateway, silent.member).await;
            heir.claim(&gateway, heir.member).await;
            let again = heir.asked().await;
            assert_eq!(asked.1, again.1);
            heir.say(&gateway, again.0, appended());
            // What comes too late finds nobody.
            silent.say(&gateway, asked.0, Refusal::from(Code::RaftTimeout).into());
        };
        let (reply, ()) = futures_lite::future::zip(gateway.call(recognized()), serve).await;
        assert_eq!((reply, gateway.leader("s")), (appended(), Some(heir.member.tag())));
    });
}

#[test]
fn a_node_that_is_slow_to_answer_is_believed() {
    between(|gateway, slow, other| async move {
        let serve = async {
            let (ticket, _) = slow.asked().await;
            other.claim(&gateway, slow.member).await;
            slow.say(&gateway, ticket, appended());
        };
        let (reply, ()) = futures_lite::future::zip(gateway.call(recognized()), serve).await;
        assert_eq!(reply, appended());
    });
}

#[test]
fn a_refusal_by_the_heir_says_nothing_of_what_the_silent_node_did() {
    between(|gateway, silent, heir| async move {
        let serve = async {
            silent.asked().await;
            heir.claim(&gateway, heir.member).await;
            let (ticket, _) = heir.asked().await;
            heir.say(&gateway, ticket, Refusal::producer_seq("p", 3, 1).into());
        };
        let (reply, ()) = futures_lite::future::zip(gateway.call(recognized()), serve).await;
        assert_eq!(reply, Refusal::from(Code::RaftTimeout).into());
    });
}

#[test]
fn what_cannot_be_recognized_waits_for_the_silent_node() {
    between(|gateway, silent, other| async move {
        let call = gateway.call(create("s"));
        let serve = async {
            silent.asked().await;
            let waited = rt::timeout(Duration::from_millis(600), other.connection.waiting()).await;
            assert!(waited.is_none(), "nobody else is asked for anything");
            gateway.clients().lost(silent.member);
        };
        let (reply, ()) = futures_lite::future::zip(call, serve).await;
        assert_eq!(reply, Refusal::from(Code::RaftTimeout).into());
    });
}
