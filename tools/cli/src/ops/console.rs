//! Where a running server is asked: it leaves its address and a token beside its data, so that whoever
//! may read the directory may ask, and nobody else.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use model::config::Secret;
use serde_json::Value;
use ureq::Agent;

use crate::failure::Failure;
use crate::remote::escape;

const TOKEN_FILE: &str = "ops-token";
const ADDRESS_FILE: &str = "ops-address";
const TOKEN_HEADER: &str = "x-starcite-ops-token";
const TOKEN_BYTES: usize = 32;
/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Between two looks at what is waited for.
const LOOK: Duration = Duration::from_millis(200);

/// Makes a token for this life of a server and leaves it beside its data.
///
/// # Errors
/// If there are no random numbers, or it cannot be written.
pub(crate) fn leave_token(data_dir: &Path) -> Result<Secret, Failure> {
    let mut random = [0; TOKEN_BYTES];
    getrandom::fill(&mut random)
        .map_err(|error| Failure::failed(format!("no random number: {error}")))?;
    let token: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    leave(data_dir, TOKEN_FILE, &token)?;
    Ok(Secret::new(token.into_bytes()))
}

/// Leaves beside a server's data where it is asked.
///
/// # Errors
/// If it cannot be written.
pub(crate) fn leave_address(data_dir: &Path, listen: SocketAddr) -> Result<(), Failure> {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    leave(data_dir, ADDRESS_FILE, &format!("http://{}", SocketAddr::new(ip, listen.port())))
}

/// Writes a line to a file that only its owner may read; whoever reads it meanwhile reads the old one.
fn leave(data_dir: &Path, name: &str, line: &str) -> Result<(), Failure> {
    let (place, fresh) = (data_dir.join(name), data_dir.join(format!("{name}.new")));
    let write = || -> io::Result<()> {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        writeln!(file, "{line}")?;
        fs::rename(&fresh, &place)
    };
    write().map_err(|error| Failure::failed(format!("cannot write {}: {error}", place.display())))
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The server said no.
    Refused {
        /// The contract's name of the reason.
        code: String,
        /// All that it said.
        text: String,
    },
    /// It could not be asked.
    Failed(Failure),
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Failure {
        match trouble {
            Trouble::Refused { text, .. } => Failure::failed(text),
            Trouble::Failed(failure) => failure,
        }
    }
}

/// What can be waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// The node takes requests.
    Ready,
    /// The node is relieved.
    Drained,
    /// Every group is held by just the nodes that should hold it.
    Settled,
}

impl Wait {
    /// Its name in an answer.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Wait::Ready => "local_ready",
            Wait::Drained => "local_drained",
            Wait::Settled => "settled",
        }
    }
}

/// The way to the server of a data directory.
#[derive(Debug)]
pub(crate) struct Console {
    data_dir: PathBuf,
    agent: Agent,
}

impl Console {
    /// For a directory, whose server need not run yet.
    pub(crate) fn new(data_dir: PathBuf) -> Console {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(TIMEOUT))
            .build();
        Console { data_dir, agent: config.into() }
    }

    /// All that the node knows.
    pub(crate) fn status(&self) -> Result<Value, Trouble> {
        self.ask("GET", "/ops/status")
    }

    /// The nodes that may be asked for anything.
    pub(crate) fn ready_nodes(&self) -> Result<Vec<String>, Trouble> {
        Ok(words(&self.ask("GET", "/ops/ready-nodes")?["ready_nodes"]))
    }

    /// Says `drain` or `undrain` about a node, this one if none is named. Returns its name.
    pub(crate) fn say(&self, word: &str, node: Option<&str>) -> Result<String, Trouble> {
        let query = node.map(|node| format!("?node={}", escape(node))).unwrap_or_default();
        let said = self.ask("POST", &format!("/ops/{word}{query}"))?;
        Ok(said["node"].as_str().unwrap_or_default().to_owned())
    }

    /// Has a group led by a node whenever that can. Returns the node's name.
    pub(crate) fn transfer(&self, group: &str, node: &str) -> Result<String, Trouble> {
        let query = format!("?group={}&node={}", escape(group), escape(node));
        let said = self.ask("POST", &format!("/ops/transfer{query}"))?;
        Ok(said["node"].as_str().unwrap_or_default().to_owned())
    }

    /// Has a group led by whichever node its place gives.
    pub(crate) fn release(&self, group: &str) -> Result<(), Trouble> {
        self.ask("POST", &format!("/ops/release?group={}", escape(group))).map(drop)
    }

    /// Says `add` or `remove` about a node of the cluster. Returns its name.
    pub(crate) fn member(&self, word: &str, node: &str) -> Result<String, Trouble> {
        let said = self.ask("POST", &format!("/ops/members/{word}?node={}", escape(node)))?;
        Ok(said["node"].as_str().unwrap_or_default().to_owned())
    }

    /// The nodes, and what they hold.
    pub(crate) fn members(&self) -> Result<Value, Trouble> {
        self.ask("GET", "/ops/members")
    }

    /// Who leads a group.
    pub(crate) fn leader(&self, group: &str) -> Result<Option<String>, Trouble> {
        let group = self.ask("GET", &format!("/ops/groups/{}", escape(group)))?;
        Ok(group["leader"].as_str().map(str::to_owned))
    }

    /// The nodes that should hold a group.
    pub(crate) fn replicas(&self, group: &str) -> Result<Vec<String>, Trouble> {
        let group = self.ask("GET", &format!("/ops/groups/{}", escape(group)))?;
        Ok(words(&group["replicas"]))
    }

    /// Waits until something holds; `false` if it does not in time. A server that cannot be asked may
    /// be starting.
    pub(crate) fn wait(&self, wait: Wait, milliseconds: u64) -> bool {
        let so = |answer: Result<Value, Trouble>| {
            answer.is_ok_and(|answer| answer[wait.key()] == Value::Bool(true))
        };
        self.wait_until(milliseconds, || match wait {
            Wait::Ready | Wait::Drained => so(self.status()),
            Wait::Settled => so(self.members()),
        })
    }

    /// Waits until something is so; `false` if it is not in time.
    pub(crate) fn wait_until(&self, milliseconds: u64, is_so: impl Fn() -> bool) -> bool {
        let (began, patience) = (Instant::now(), Duration::from_millis(milliseconds));
        loop {
            if is_so() {
                return true;
            }
            let left = patience.saturating_sub(began.elapsed());
            if left.is_zero() {
                return false;
            }
            thread::sleep(LOOK.min(left));
        }
    }

    fn ask(&self, method: &str, target: &str) -> Result<Value, Trouble> {
        let (token, address) = (self.left(TOKEN_FILE)?, self.left(ADDRESS_FILE)?);
        let url = format!("{address}{target}");
        let answer = match method {
            "POST" => self.agent.post(&url).header(TOKEN_HEADER, &token).send_empty(),
            _ => self.agent.get(&url).header(TOKEN_HEADER, &token).call(),
        };
        let unreachable =
            |error| Trouble::Failed(Failure::failed(format!("no answer from {address}: {error}")));
        let mut answer = answer.map_err(unreachable)?;
        let status = answer.status().as_u16();
        let text = answer.body_mut().read_to_string().map_err(unreachable)?;
        let body: Value = serde_json::from_str(&text).unwrap_or_default();
        if (200..300).contains(&status) {
            return Ok(body);
        }
        let part = |name: &str| body[name].as_str().unwrap_or("no reason given").to_owned();
        let (code, message) = (part("error"), part("message"));
        let text = format!("the server refused with status {status}, {code}: {message}");
        Err(Trouble::Refused { code, text })
    }

    /// What the server has left.
    fn left(&self, name: &str) -> Result<String, Trouble> {
        let place = self.data_dir.join(name);
        let read = fs::read_to_string(&place).map(|line| line.trim_end().to_owned());
        read.map_err(|error| {
            let why = format!("cannot read {}: {error}", place.display());
            Trouble::Failed(Failure::failed(format!("{why}; does a server run on this directory?")))
        })
    }
}

fn words(list: &Value) -> Vec<String> {
    let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}
