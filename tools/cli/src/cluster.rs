//! A node's place among others: which cluster its directory belongs to, and what shards and
//! connections are told of it.

use std::time::SystemTime;

use model::cluster::MemberId;
use model::config::ServeConfig;
use model::error::Fatal;
use model::intent::Intent;
use net::{Credentials, Links, Newcomer, PeerConfig, Startup};
use shard::NodeId;
use shard::cluster::{Cluster, Timing};
use uring::{DataDir, Founding};

use crate::failure::Failure;

/// A node that belongs to a cluster.
#[derive(Debug)]
pub(crate) struct Membership {
    founding: Founding,
    member: MemberId,
    made_at: u64,
    started_at: u64,
    startup: Startup,
    credentials: Option<Credentials>,
}

/// Finds out to which cluster the directory belongs; a new one joins the one that others know of, or
/// founds one, and waits for that.
///
/// # Errors
/// If the peer port cannot be listened on, the directory cannot be written, or the certificates for
/// other nodes are of no use.
pub(crate) fn join(data_dir: &mut DataDir, config: &ServeConfig) -> Result<Membership, Failure> {
    let credentials = Credentials::load(&config.cluster)
        .map_err(|why| Failure::new(Fatal::Configuration, why))?;
    // A clock before 1970 is as good as one that says 1970.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let started_at = u64::try_from(now.as_micros()).expect("five hundred thousand years");
    let manifest = data_dir.manifest();
    let (member, made_at) = (manifest.member(), manifest.made_at);
    let (founding, startup) = match manifest.founding.clone() {
        Some(founding) => (founding, Startup::Restart),
        None => {
            let (cluster, groups) = (config.cluster.clone(), config.groups);
            let credentials = credentials.clone();
            let newcomer = Newcomer { cluster, groups, member, made_at, started_at, credentials };
            let founding = net::meet(&newcomer).map_err(Failure::failed)?;
            data_dir.join(founding.clone())?;
            let began = founding.members.contains(&member);
            (founding, if began { Startup::Founding } else { Startup::Joining })
        }
    };
    tracing::info!(
        node = %config.cluster.own,
        %member,
        cluster = format!("{:016x}", founding.cluster),
        founder = founding.members.contains(&member),
        startup = startup.name(),
        tls = credentials.is_some(),
        "belongs to a cluster"
    );
    Ok(Membership { founding, member, made_at, started_at, startup, credentials })
}

impl Membership {
    /// How the process began.
    pub(crate) fn startup(&self) -> Startup {
        self.startup
    }

    /// What shards are told, where operators want what they did when the node ran last.
    pub(crate) fn for_shards(&self, config: &ServeConfig, intent: &Intent) -> Cluster {
        Cluster {
            own: NodeId(self.member.0),
            founders: self.founding.members.iter().map(|member| NodeId(member.0)).collect(),
            founding_factor: self.founding.factor,
            write: intent.write_tags(&config.cluster.write),
            factor: config.cluster.factor,
            timing: Timing::default(),
        }
    }

    /// The connections with other nodes, if there are any.
    pub(crate) fn links(self, config: &ServeConfig) -> Option<Links> {
        Links::new(PeerConfig {
            cluster: config.cluster.clone(),
            founding: self.founding,
            member: self.member,
            made_at: self.made_at,
            started_at: self.started_at,
            credentials: self.credentials,
        })
    }
}
