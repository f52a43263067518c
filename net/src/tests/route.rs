//! Methods and paths.

use hyper::Method;
use model::error::Code;
use model::ids::SessionId;

use crate::http::route::{Ops, Route, Say, route};
use crate::problem::Problem;

fn id(name: &str) -> SessionId {
    SessionId::new(name).unwrap()
}

#[test]
fn each_path_has_its_methods() {
    let cases = [
        ("POST", "/v1/sessions", Route::Create),
        ("POST", "/v1/sessions/", Route::Create),
        ("POST", "//v1//sessions", Route::Create),
        ("GET", "/v1/sessions", Route::List),
        ("HEAD", "/v1/sessions", Route::List),
        ("GET", "/v1/sessions/a", Route::Get(id("a"))),
        ("GET", "/v1/sessions/append", Route::Get(id("append"))),
        ("PATCH", "/v1/sessions/a", Route::Patch(id("a"))),
        ("POST", "/v1/sessions/a", Route::Override(id("a"))),
        ("POST", "/v1/sessions/a/append", Route::Append(id("a"))),
        ("POST", "/v1/sessions/a/archive", Route::Archive(id("a"))),
        ("POST", "/v1/sessions/a/unarchive", Route::Unarchive(id("a"))),
        ("GET", "/v1/sessions/a/tail", Route::Tail(id("a"))),
        ("GET", "/v1/sessions/a/events", Route::Events(id("a"))),
        ("GET", "/health/live", Route::Live),
        ("HEAD", "/health/ready", Route::Ready),
        ("GET", "/metrics", Route::Metrics),
        ("GET", "/ops/status", Route::Ops(Ops::Status)),
        ("GET", "/ops/ready-nodes", Route::Ops(Ops::ReadyNodes)),
        ("GET", "/ops/drained", Route::Ops(Ops::Drained)),
        ("GET", "/ops/groups/7", Route::Ops(Ops::Group("7".into()))),
        ("POST", "/ops/drain", Route::Ops(Ops::Say(Say::Drain))),
        ("POST", "/ops/undrain", Route::Ops(Ops::Say(Say::Undrain))),
        ("POST", "/ops/transfer", Route::Ops(Ops::Say(Say::Prefer))),
        ("POST", "/ops/release", Route::Ops(Ops::Say(Say::Release))),
        ("GET", "/ops/members", Route::Ops(Ops::Members)),
        ("POST", "/ops/members/add", Route::Ops(Ops::Say(Say::Add))),
        ("POST", "/ops/members/remove", Route::Ops(Ops::Say(Say::Remove))),
    ];
    for (method, path, expected) in cases {
        let method = method.parse::<Method>().unwrap();
        assert_eq!(route(&method, path), Ok(expected), "{method} {path}");
    }
}

#[test]
fn everything_else_is_not_there() {
    let cases = [
        ("GET", "/"),
        ("GET", "/v1"),
        ("GET", "/v2/sessions"),
        ("GET", "/V1/sessions"),
        ("PUT", "/v1/sessions"),
        ("DELETE", "/v1/sessions/a"),
        ("GET", "/v1/sessions/a/append"),
        ("POST", "/v1/sessions/a/tail"),
        ("POST", "/v1/sessions/a/b"),
        ("GET", "/v1/sessions/a/events/b"),
        ("POST", "/v1/auth/issue"),
        ("POST", "/health/live"),
        ("GET", "/health"),
        ("GET", "/ops"),
        ("GET", "/ops/drain"),
        ("POST", "/ops/status"),
        ("POST", "/ops"),
        ("POST", "/ops/members"),
        ("GET", "/ops/members/add"),
        ("GET", "/ops/transfer"),
        ("POST", "/ops/members/drain"),
    ];
    for (method, path) in cases {
        let method = method.parse::<Method>().unwrap();
        assert_eq!(route(&method, path), Err(Problem::NotFound), "{method} {path}");
    }
}

#[test]
fn ids_are_decoded_and_otherwise_left_alone() {
    let cases = [
        ("a%2Fb", "a/b"),
        ("%2e%2e", ".."),
        ("..", ".."),
        ("a+b", "a+b"),
        ("%00", "\0"),
        ("%C3%A9", "\u{e9}"),
        ("\u{e9}", "\u{e9}"),
        ("%25", "%"),
        (" ", " "),
    ];
    for (segment, name) in cases {
        let path = format!("/v1/sessions/{segment}");
        assert_eq!(route(&Method::GET, &path), Ok(Route::Get(id(name))), "{segment}");
    }
    for segment in ["%", "%ff", "%4", "a%zz", "%C3"] {
        let path = format!("/v1/sessions/{segment}/append");
        let expected = Err(Code::InvalidSessionId.into());
        assert_eq!(route(&Method::POST, &path), expected, "{segment}");
    }
}

#[test]
fn the_operators_session_is_nobodys() {
    for tail in ["", "/events", "/tail"] {
        let path = format!("/v1/sessions/%00starcite.intent{tail}");
        assert_eq!(route(&Method::GET, &path), Err(Code::InvalidSessionId.into()), "{path}");
    }
    for tail in ["", "/append", "/archive", "/unarchive"] {
        let path = format!("/v1/sessions/%00starcite.intent{tail}");
        assert_eq!(route(&Method::POST, &path), Err(Code::InvalidSessionId.into()), "{path}");
    }
}
