//! What holds for every route: bodies, headers, unknown routes, CORS (item 6 of the checklist).

use serde_json::{Value, json};

use crate::http::{Connection, Request};
use crate::server::Server;
use crate::session::{loose, unique};

const BODY_BYTES_MAX: usize = 8_000_000;

#[test]
fn b06_a_preflight_is_answered_before_anything_else() {
    let server = Server::shared();
    let api = server.api();
    let routes = ["/v1/sessions", "/v1/sessions/none", "/v1/sessions/none/append", "/v1/else"];
    for route in routes {
        let request = Request::new("OPTIONS", route)
            .header("origin", "https://app.example")
            .header("access-control-request-method", "PATCH")
            .header("access-control-request-headers", "authorization, x-own-header");
        let response = api.call(&request);
        assert_eq!(response.status, 204, "{route}");
        assert_eq!(response.text(), "");
        response.is_readable_from_any_origin();
        let methods = response.header("access-control-allow-methods").expect("methods");
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            assert!(methods.contains(method), "{methods}");
        }
        let headers = response.header("access-control-allow-headers").expect("headers");
        assert_eq!(headers, "authorization, x-own-header", "those asked for are echoed");
    }
    assert_eq!(api.call(&Request::new("OPTIONS", "/v1/sessions")).status, 204);
}

#[test]
fn b06_every_answer_is_readable_from_any_origin() {
    let server = Server::shared();
    let api = server.api();
    let id = api.session("cors");
    let requests = [
        Request::get("/v1/sessions"),
        Request::get(&format!("/v1/sessions/{id}")),
        Request::get("/v1/sessions/none"),
        Request::get("/v1/sessions?limit=0"),
        Request::get("/v1/sessions").header("accept", "text/html"),
        Request::post("/v1/sessions").json_text("{"),
        Request::post("/v1/sessions").json(&json!({"id": id})),
        Request::get("/v1/nowhere"),
        Request::get(&format!("/v1/sessions/{id}/tail")),
    ];
    for request in requests {
        let response = api.call(&request.clone().header("origin", "https://app.example"));
        response.is_readable_from_any_origin();
        let exposed = response.header("access-control-expose-headers");
        assert_eq!(exposed, Some("*"), "{request:?}");
    }
}

#[test]
fn an_unknown_route_is_not_found() {
    let server = Server::shared();
    let api = server.api();
    let id = api.session("routes");
    let routes = [
        ("GET", "/".to_owned()),
        ("GET", "/v1".to_owned()),
        ("GET", "/v1/else".to_owned()),
        ("GET", "/v2/sessions".to_owned()),
        ("POST", "/v1/auth/issue".to_owned()),
        ("DELETE", "/v1/sessions".to_owned()),
        ("PUT", "/v1/sessions".to_owned()),
        ("PATCH", "/v1/sessions".to_owned()),
        ("DELETE", format!("/v1/sessions/{id}")),
        ("POST", format!("/v1/sessions/{id}")),
        ("GET", format!("/v1/sessions/{id}/append")),
        ("GET", format!("/v1/sessions/{id}/archive")),
        ("POST", format!("/v1/sessions/{id}/else")),
        ("POST", format!("/v1/sessions/{id}/append/more")),
        ("POST", format!("/v1/sessions/{id}/events")),
    ];
    for (method, route) in routes {
        let response = api.call(&Request::new(method, &route));
        println!("{method} {route}: {}", response.text());
        response.not_found();
    }
}

#[test]
fn head_is_get_without_a_body() {
    let server = Server::shared();
    let api = server.api();
    let id = api.session("head");
    for target in ["/v1/sessions", &format!("/v1/sessions/{id}"), "/health/live"] {
        let response = api.call(&Request::new("HEAD", target));
        assert_eq!(response.status, 200, "{target}");
        assert_eq!(response.header("content-type"), api.get(target).header("content-type"));
    }
    assert_eq!(api.call(&Request::new("HEAD", "/v1/sessions/none")).status, 404);
}

#[test]
fn only_json_is_on_offer() {
    let server = Server::shared();
    let api = server.api();
    let fine = [
        "application/json",
        "*/*",
        "application/*",
        "text/html, application/json;q=0.5",
        "text/html,*/*;q=0.1",
        "application/json; charset=utf-8",
        "APPLICATION/JSON",
    ];
    for accept in fine {
        api.call(&Request::get("/v1/sessions").header("accept", accept)).expect(200);
    }
    for accept in ["text/html", "application/xml", "image/*", "text/html, text/plain"] {
        api.call(&Request::get("/v1/sessions").header("accept", accept)).failed(406);
        let request = Request::post("/v1/sessions").header("accept", accept).json_text("{}");
        api.call(&request).failed(406);
    }
    api.call(&Request::get("/health/live").header("accept", "text/html")).expect(200);
    api.call(&Request::get("/health/ready").header("accept", "text/html")).expect(200);
}

#[test]
fn a_body_that_is_no_json_is_refused() {
    let server = Server::shared();
    let api = server.api();
    let id = api.session("no-json");
    let targets = [
        ("POST", "/v1/sessions".to_owned()),
        ("POST", format!("/v1/sessions/{id}/append")),
        ("PATCH", format!("/v1/sessions/{id}")),
    ];
    let deep = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
    let bodies: [&[u8]; 9] = [
        b"{",
        b"{\"a\":1",
        b"{\"a\":1}}",
        b"{'a':1}",
        b"nonsense",
        b"{\"a\":\xff}",
        b"{\"\xc3\x28\":1}",
        b"{\"id\":\"\xed\xa0\x80\"}",
        deep.as_bytes(),
    ];
    for (method, target) in targets {
        for body in bodies {
            api.call(&Request::new(method, &target).json_text(body)).failed(400);
        }
    }
    assert_eq!(api.events(&id).len(), 0);
}

#[test]
fn nesting_is_bounded_and_what_fits_is_kept() {
    let server = Server::shared();
    let api = server.api();
    let id = api.session("nesting");
    let target = format!("/v1/sessions/{id}/append");
    let nested = |depth: usize| {
        let payload = format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        format!("{{\"type\":\"t\",\"payload\":{payload}}}")
    };
    // The body itself is the first level.
    let response = api.call(&Request::post(&target).json_text(nested(63)));
    assert_eq!(response.expect(201)["seq"], json!(1));
    api.call(&Request::post(&target).json_text(nested(64))).failed(400);
    api.call(&Request::post(&target).json_text(nested(1_000_000))).failed(400);
    assert_eq!(api.events(&id).len(), 1);
}

#[test]
fn a_form_does_what_json_does() {
    let server = Server::shared();
    let api = server.api();
    let id = unique("form");
    let form = format!("id={id}&title=A+title%21&metadata[user]=u+1&metadata[x]=%C3%BC");
    let row = api.call(&Request::post("/v1/sessions").form(&form)).expect(201);
    assert_eq!(row["id"], id);
    assert_eq!(row["title"], "A title!");
    assert_eq!(row["metadata"], json!({"user": "u 1", "x": "\u{fc}"}));
    let target = format!("/v1/sessions/{id}/append");
    let form = "type=content&payload[text]=hi&payload[list][]=a&payload[list][]=b\
                &actor=agent%3Ax&producer_id=p&producer_seq=1&expected_seq=0";
    let reply = api.call(&Request::post(&target).form(form)).expect(201);
    assert_eq!(reply["seq"], json!(1));
    let event = &api.events(&id)[0];
    assert_eq!(event["payload"], json!({"text": "hi", "list": ["a", "b"]}));
    assert_eq!(event["producer_seq"], json!(1));
    assert_eq!(event["actor"], "agent:x");
    let form = "type=content&payload=text";
    api.call(&Request::post(&target).form(form)).refused(400, "invalid_event");
}

#[test]
fn parameters_come_from_body_query_and_path() {
    let server = Server::shared();
    let api = server.api();
    let (id, other) = (unique("query"), unique("query"));
    let row = api.post(&format!("/v1/sessions?id={id}&title=T"), &json!({})).expect(201);
    assert_eq!(row["id"], id);
    assert_eq!(row["title"], "T");
    let row = api.post(&format!("/v1/sessions?id={id}"), &json!({"id": other})).expect(201);
    assert_eq!(row["id"], other, "the body wins over the query");
    let mut body = loose("whither");
    body["id"] = json!(other);
    api.append(&id, &body).expect(201);
    assert_eq!(api.events(&id).len(), 1, "the path wins over the body");
    assert_eq!(api.events(&other).len(), 0);
}

#[test]
fn a_body_at_the_bound_is_taken_and_one_beyond_it_is_not() {
    let server = Server::shared();
    let api = server.api();
    let id = api.session("bound");
    let target = format!("/v1/sessions/{id}/append");
    let body = |bytes: usize| {
        let frame = r#"{"type":"t","payload":{"x":""}}"#.len();
        format!(r#"{{"type":"t","payload":{{"x":"{}"}}}}"#, "z".repeat(bytes - frame))
    };
    let fits = body(BODY_BYTES_MAX);
    assert_eq!(fits.len(), BODY_BYTES_MAX);
    api.call(&Request::post(&target).json_text(fits)).expect(201);
    let events = api.events(&id);
    let kept = events[0]["payload"]["x"].as_str().expect("text").len();
    assert_eq!(kept, BODY_BYTES_MAX - r#"{"type":"t","payload":{"x":""}}"#.len());
    let mut connection = Connection::open(server.address()).expect("it listens");
    // The server need not read what it refuses, so a write may fail before the answer is read.
    let request = Request::post(&target).json_text(body(BODY_BYTES_MAX + 1));
    let sent = connection.send(&request.bytes());
    match connection.receive("POST") {
        Ok(response) => response.failed(413),
        Err(error) => assert!(sent.is_err(), "no answer: {error}"),
    }
    assert_eq!(api.events(&id).len(), 1);
}

#[test]
fn an_announced_body_beyond_the_bound_is_refused_unread() {
    let server = Server::shared();
    for length in ["8000001", "999999999999", "9223372036854775807"] {
        let mut connection = Connection::open(server.address()).expect("it listens");
        let head = format!(
            "POST /v1/sessions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{{"
        );
        connection.send(head.as_bytes()).expect("a head can be sent");
        connection.receive("POST").expect("an answer before the body").failed(413);
        connection.read_to_end().expect("the rest of the body is not waited for");
    }
}

#[test]
fn a_chunked_body_beyond_the_bound_is_refused_before_its_end() {
    let server = Server::shared();
    let mut connection = Connection::open(server.address()).expect("it listens");
    let head = "POST /v1/sessions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                transfer-encoding: chunked\r\n\r\n";
    connection.send(head.as_bytes()).expect("a head can be sent");
    let chunk = [format!("{:x}\r\n", 100_000).into_bytes(), vec![b' '; 100_000], b"\r\n".to_vec()];
    let chunk = chunk.concat();
    for _ in 0..80 {
        connection.send(&chunk).expect("what is within the bound is taken");
    }
    // One more goes beyond; the last chunk never comes.
    let _ = connection.send(&chunk);
    connection.receive("POST").expect("an answer before the end").failed(413);
    connection.read_to_end().expect("the rest of the body is not waited for");
}

#[test]
fn a_chunked_body_within_the_bound_is_taken() {
    let server = Server::shared();
    let api = server.api();
    let id = unique("chunked");
    let mut connection = Connection::open(server.address()).expect("it listens");
    let head = "POST /v1/sessions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                transfer-encoding: chunked\r\n\r\n";
    connection.send(head.as_bytes()).expect("a head can be sent");
    for byte in format!("{{\"id\":\"{id}\"}}").bytes() {
        let chunk = [b"1\r\n".as_slice(), &[byte], b"\r\n"].concat();
        connection.send(&chunk).expect("a chunk can be sent");
    }
    connection.send(b"0\r\n\r\n").expect("the end can be sent");
    assert_eq!(connection.receive("POST").expect("an answer").expect(201)["id"], id);
    assert_eq!(api.row(&id)["id"], id);
}

#[test]
fn a_client_that_asks_before_it_sends_is_told_to_go_on() {
    let server = Server::shared();
    let mut connection = Connection::open(server.address()).expect("it listens");
    let head = "POST /v1/sessions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                content-length: 2\r\nexpect: 100-continue\r\n\r\n";
    connection.send(head.as_bytes()).expect("a head can be sent");
    connection.send(b"{}").expect("a body can be sent");
    connection.receive("POST").expect("an answer").expect(201);
}

#[test]
fn a_head_beyond_the_bounds_is_refused() {
    let server = Server::shared();
    let many: String = (0..5_000).map(|n| format!("x-{n}: y\r\n")).collect();
    let long = |length: usize| format!("x: {}\r\n", "y".repeat(length));
    for headers in [many, long(150_000)] {
        let mut connection = Connection::open(server.address()).expect("it listens");
        let head = format!("GET /v1/sessions HTTP/1.1\r\nhost: x\r\n{headers}\r\n");
        connection.send(head.as_bytes()).expect("a head can be sent");
        assert_eq!(connection.receive("GET").expect("an answer").status, 431);
        connection.read_to_end().expect("the connection ends");
    }
    let mut connection = Connection::open(server.address()).expect("it listens");
    let head = format!("GET /v1/sessions/{} HTTP/1.1\r\nhost: x\r\n\r\n", "i".repeat(150_000));
    connection.send(head.as_bytes()).expect("a head can be sent");
    let status = connection.receive("GET").expect("an answer").status;
    assert!(matches!(status, 414 | 431), "{status}");
    // Of one without end nothing is kept, and not all of it is read.
    let mut connection = Connection::open(server.address()).expect("it listens");
    let head = format!("GET /v1/sessions HTTP/1.1\r\nhost: x\r\n{}", long(30_000_000));
    let _ = connection.send(head.as_bytes());
    connection.read_to_end().expect("the connection ends");
}

#[test]
fn answers_name_what_they_hold() {
    let server = Server::shared();
    let api = server.api();
    let response = api.get("/v1/sessions?limit=1");
    let body: Value = response.expect(200);
    assert!(body["sessions"].is_array());
    let length = response.header("content-length").map(|text| text.parse::<usize>());
    if let Some(length) = length {
        assert_eq!(length, Ok(response.body.len()));
    }
}
