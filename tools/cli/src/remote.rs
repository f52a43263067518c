//! Small clients of a running server: create a session, append events.

use std::io::{self, BufRead};
use std::thread;
use std::time::Duration;

use clap::Args;
use model::error::{Code, Fatal};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};
use ureq::Agent;
use ureq::http::uri::Authority;

use crate::failure::Failure;
use crate::output;

/// How long a request may take.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);
/// How often an append is sent before the command gives up.
const TRIES: u32 = 6;
/// The wait after the first failed try; it doubles with each.
const BACKOFF: Duration = Duration::from_millis(200);
/// What else to know of a conflict after a try whose outcome is unknown.
const MAY_BE_WRITTEN: &str =
    "an earlier try got no clear answer and may have written the event: read the session first";

/// Where the server is.
#[derive(Debug, Clone, Args)]
pub(crate) struct Server {
    /// The server's address; plain HTTP only.
    #[arg(long, default_value = "http://127.0.0.1:4000", value_name = "URL")]
    url: String,
}

impl Server {
    /// The URL of a path below `/v1`, whose parts are escaped.
    ///
    /// # Errors
    /// An address this program cannot speak to.
    pub(crate) fn v1(&self, parts: &[&str]) -> Result<String, Failure> {
        let address = self.authority()?;
        let path: String = parts.iter().map(|part| format!("/{}", escape(part))).collect();
        Ok(format!("http://{address}/v1{path}"))
    }

    /// Host and port.
    ///
    /// # Errors
    /// An address this program cannot speak to.
    pub(crate) fn authority(&self) -> Result<&str, Failure> {
        let Some(rest) = self.url.strip_prefix("http://") else {
            let why = "only http:// is spoken here; put a proxy in front for TLS";
            return Err(self.unusable(why));
        };
        let authority = rest.trim_end_matches('/');
        if authority.contains('/') {
            return Err(self.unusable("no path, please"));
        }
        match authority.parse::<Authority>() {
            Ok(_) => Ok(authority),
            Err(error) => Err(self.unusable(&error.to_string())),
        }
    }

    fn unusable(&self, why: &str) -> Failure {
        Failure::new(Fatal::Configuration, format!("cannot use {}: {why}", self.url))
    }
}

/// Escapes a part of a path or a value of a query.
pub(crate) fn escape(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// What a server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The body, JSON from our servers.
    pub(crate) text: String,
}

impl Answer {
    /// The body of a success.
    ///
    /// # Errors
    /// What the server refused and why.
    pub(crate) fn success(self) -> Result<String, Failure> {
        if (200..300).contains(&self.status) {
            return Ok(self.text);
        }
        Err(Failure::failed(self.refusal()))
    }

    /// Whether the server refused for this reason.
    fn is(&self, code: Code) -> bool {
        let body: Value = serde_json::from_str(&self.text).unwrap_or(Value::Null);
        body.get("error").and_then(Value::as_str) == Some(code.name())
    }

    fn refusal(&self) -> String {
        let body: Value = serde_json::from_str(&self.text).unwrap_or(Value::Null);
        let text = |name| body.get(name).and_then(Value::as_str);
        let code = text("error").unwrap_or("no reason given");
        let message = text("message").map(|message| format!(": {message}")).unwrap_or_default();
        format!("the server refused with status {}, {code}{message}", self.status)
    }
}

/// Speaks HTTP to a server.
#[derive(Debug)]
pub(crate) struct Client(Agent);

impl Client {
    pub(crate) fn new() -> Client {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(TIMEOUT))
            .build();
        Client(config.into())
    }

    /// Reads.
    ///
    /// # Errors
    /// If no answer came.
    pub(crate) fn get(&self, url: &str) -> Result<Answer, ureq::Error> {
        let response = self.0.get(url).call()?;
        answer(response)
    }

    /// Sends a JSON body.
    ///
    /// # Errors
    /// If no answer came: the deed may have been done.
    pub(crate) fn post(&self, url: &str, body: &Value) -> Result<Answer, ureq::Error> {
        let request = self.0.post(url).header("content-type", "application/json");
        answer(request.send(body.to_string())?)
    }
}

fn answer(mut response: ureq::http::Response<ureq::Body>) -> Result<Answer, ureq::Error> {
    let status = response.status().as_u16();
    let text = response.body_mut().read_to_string()?;
    Ok(Answer { status, text })
}

/// That a server could not be spoken to.
pub(crate) fn unreachable(server: &Server, error: &ureq::Error) -> Failure {
    Failure::failed(format!("no answer from {}: {error}", server.url))
}

/// The arguments of `create`.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The session's name; without one the server makes one up.
    id: Option<String>,
    /// A title.
    #[arg(long)]
    title: Option<String>,
    /// Metadata, a JSON object.
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = object)]
    metadata: Value,
    #[command(flatten)]
    server: Server,
}

impl Create {
    /// Prints the new session.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let mut body = Map::new();
        body.extend(self.id.map(|id| ("id".to_owned(), Value::String(id))));
        body.extend(self.title.map(|title| ("title".to_owned(), Value::String(title))));
        body.insert("metadata".to_owned(), self.metadata);
        let url = self.server.v1(&["sessions"])?;
        let answer = Client::new().post(&url, &Value::Object(body));
        let session = answer.map_err(|error| unreachable(&self.server, &error))?.success()?;
        output::line(&session)
    }
}

/// The arguments of `append`.
#[derive(Debug, Args)]
pub(crate) struct Append {
    /// The session.
    session: String,
    /// The event's payload, a JSON object. Without one, each line of standard input is a payload.
    #[arg(value_name = "JSON", value_parser = object)]
    payload: Option<Value>,
    /// The event's type.
    #[arg(long = "type", value_name = "TYPE", default_value = "message")]
    kind: String,
    /// Who acts.
    #[arg(long)]
    actor: Option<String>,
    /// Who counts the events; without one a new one is made up.
    #[arg(long, requires = "producer_seq")]
    producer_id: Option<String>,
    /// The count of the first event; those of further lines follow.
    #[arg(long, requires = "producer_id", value_name = "NUMBER")]
    producer_seq: Option<u64>,
    /// The session's last seq before the first event; another one is a conflict.
    #[arg(long, value_name = "NUMBER")]
    expected_seq: Option<u64>,
    #[command(flatten)]
    server: Server,
}

impl Append {
    /// Prints the place of each event.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let url = self.server.v1(&["sessions", &self.session, "append"])?;
        let client = Client::new();
        let producer_id = match &self.producer_id {
            Some(id) => id.clone(),
            None => format!("cli-{:016x}", random()?),
        };
        let first = self.producer_seq.unwrap_or(1);
        let send = |count: u64, payload: Value| {
            let mut event = json!({
                "type": self.kind,
                "payload": payload,
                "producer_id": producer_id,
                "producer_seq": first.saturating_add(count),
            });
            let members = event.as_object_mut().expect("it was made as an object");
            members.extend(self.actor.iter().map(|actor| ("actor".to_owned(), json!(actor))));
            let expected = self.expected_seq.map(|seq| seq.saturating_add(count));
            members.extend(expected.map(|seq| ("expected_seq".to_owned(), json!(seq))));
            output::line(&self.until_known(&client, &url, &event)?)
        };
        if let Some(payload) = self.payload.clone() {
            return send(0, payload);
        }
        let mut count = 0;
        for line in io::stdin().lock().lines() {
            let line = line.map_err(|e| Failure::failed(format!("cannot read the input: {e}")))?;
            if line.trim().is_empty() {
                continue;
            }
            let payload = object(&line).map_err(|e| Failure::failed(format!("payload: {e}")))?;
            send(count, payload)?;
            count += 1;
        }
        Ok(())
    }

    /// Sends an event until its fate is known: with the same producer seq it is in the log once,
    /// however often it is sent.
    fn until_known(&self, client: &Client, url: &str, event: &Value) -> Result<String, Failure> {
        let mut wait = BACKOFF;
        let mut may_be_written = false;
        for attempt in 1.. {
            let failure = match client.post(url, event) {
                // The expectation is checked first: a try before this one may be what broke it.
                Ok(answer) if may_be_written && answer.is(Code::ExpectedSeqConflict) => {
                    let why = answer.refusal();
                    return Err(Failure::failed(format!("{why}; {MAY_BE_WRITTEN}")));
                }
                Ok(answer) if !matches!(answer.status, 429 | 500..) => return answer.success(),
                Ok(answer) => {
                    may_be_written |= answer.status != 429;
                    Failure::failed(answer.refusal())
                }
                Err(error) => {
                    may_be_written = true;
                    unreachable(&self.server, &error)
                }
            };
            if attempt == TRIES {
                return Err(failure);
            }
            thread::sleep(wait);
            wait *= 2;
        }
        unreachable!("the loop ends by returning")
    }
}

/// Reads a JSON object, as clap wants it.
fn object(text: &str) -> Result<Value, String> {
    match serde_json::from_str(text) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err("it must be a JSON object".to_owned()),
        Err(error) => Err(format!("it is not JSON: {error}")),
    }
}

fn random() -> Result<u64, Failure> {
    getrandom::u64().map_err(|error| Failure::failed(format!("no random number: {error}")))
}
