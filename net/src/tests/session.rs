//! Create, patch, list, pages and tails: every field's rule.

use expect_test::expect;
use model::api::Visibility;
use model::command::{Principal, TitleChange};
use model::error::Code;
use model::ids::{Seq, SessionId};

use crate::identity::Identity;
use crate::members::Members;
use crate::params::{Params, decode};
use crate::problem::Problem;
use crate::session;

fn create(body: &str) -> Result<model::command::Create, Problem> {
    let members = Members::parse(body.as_bytes())?;
    session::create(&members, &Identity::service(), [0xff; session::ID_BYTES])
}

fn patch(body: &str) -> Result<model::command::Patch, Problem> {
    let members = Members::parse(body.as_bytes())?;
    session::patch(SessionId::new("s").unwrap(), &members)
}

fn params(query: &str) -> Params {
    decode(query).unwrap()
}

#[test]
fn create_checks_each_field() {
    use Code::{InvalidEvent, InvalidMetadata};
    let cases: &[(Result<(), Code>, &[&str])] = &[
        (Ok(()), &["", "{}", "[]", r#"{"id":null,"title":null,"metadata":null}"#]),
        (Ok(()), &[r#"{"id":"a","title":"","metadata":{"tenant_id":"x"}}"#]),
        (Err(InvalidEvent), &[r#"{"id":""}"#, r#"{"id":5}"#, r#"{"title":5}"#, r#"{"id":{}}"#]),
        (Err(InvalidMetadata), &[r#"{"metadata":[]}"#, r#"{"metadata":"x"}"#]),
        (Err(InvalidEvent), &[r#"{"metadata":[],"title":1}"#, r#"{"metadata":1,"id":""}"#]),
    ];
    for (expected, bodies) in cases {
        for body in *bodies {
            assert_eq!(create(body).map(|_| ()), expected.map_err(Problem::from), "{body}");
        }
    }
}

#[test]
fn create_fills_in_what_is_not_said() {
    let made = create("").unwrap();
    expect!["ses_________________"].assert_eq(made.session.as_str());
    assert_eq!((made.title, &*made.metadata), (None, "{}"));
    assert_eq!(made.creator, Principal::service());
    let made = session::create(
        &Members::default(),
        &Identity::service(),
        [0, 16, 131, 16, 81, 135, 32, 146, 139, 48, 211, 143],
    );
    assert_eq!(made.unwrap().session.as_str(), "ses_ABCDEFGHIJKLMNOP");
    let made = create(r#"{"id":"a/b","title":"\u0041","metadata":{"b":1, "a":1.0}}"#).unwrap();
    assert_eq!(made.session.as_str(), "a/b");
    assert_eq!(made.title.as_deref(), Some("A"));
    assert_eq!(&*made.metadata, r#"{"b":1, "a":1.0}"#);
}

#[test]
fn create_takes_a_whole_creator_only() {
    let creator =
        |json: &str| create(&format!(r#"{{"creator_principal":{json}}}"#)).unwrap().creator;
    let named = Principal { tenant_id: "acme".into(), id: "u1".into(), kind: "user".into() };
    assert_eq!(creator(r#"{"tenant_id":"acme","id":"u1","type":"user","more":1}"#), named);
    for partial in [
        "null",
        "[]",
        "{}",
        r#"{"tenant_id":"acme","id":"u1"}"#,
        r#"{"tenant_id":"","id":"u1","type":"user"}"#,
        r#"{"tenant_id":"acme","id":1,"type":"user"}"#,
        r#"{"tenant_id":"acme","id":"u1","type":"root"}"#,
    ] {
        assert_eq!(creator(partial), Principal::service(), "{partial}");
    }
}

#[test]
fn patch_checks_each_field() {
    use Code::{InvalidMetadata, InvalidSession};
    let cases: &[(Result<(), Code>, &[&str])] = &[
        (Ok(()), &[r#"{"title":null}"#, r#"{"title":""}"#, r#"{"title":"a","metadata":{}}"#]),
        (Ok(()), &[r#"{"metadata":{"a":null}}"#, r#"{"title":"a","expected_version":"2"}"#]),
        (Ok(()), &[r#"{"title":"a","expected_version":null}"#]),
        (Err(InvalidSession), &["", "{}", "[]", r#"{"expected_version":1}"#, r#"{"metadata":{}}"#]),
        (Err(InvalidSession), &[r#"{"title":5}"#, r#"{"title":"a","expected_version":0}"#]),
        (Err(InvalidSession), &[r#"{"title":"a","expected_version":1.0}"#]),
        (Err(InvalidMetadata), &[r#"{"metadata":null}"#, r#"{"metadata":[]}"#]),
        (Err(InvalidMetadata), &[r#"{"metadata":"x","title":"a"}"#]),
    ];
    for (expected, bodies) in cases {
        for body in *bodies {
            assert_eq!(patch(body).map(|_| ()), expected.map_err(Problem::from), "{body}");
        }
    }
    assert_eq!(patch(r#"{"title":null}"#).unwrap().title, TitleChange::Clear);
    assert_eq!(patch(r#"{"title":""}"#).unwrap().title, TitleChange::Set("".into()));
    let whole = patch(r#"{"metadata":{"a": 1},"expected_version":3}"#).unwrap();
    assert_eq!(whole.title, TitleChange::Keep);
    assert_eq!((whole.metadata.as_deref(), whole.expected_version), (Some(r#"{"a": 1}"#), Some(3)));
}

#[test]
fn list_checks_each_parameter() {
    use Code::{InvalidCursor, InvalidLimit, InvalidListQuery, InvalidMetadata};
    let cases: &[(Result<(), Code>, &[&str])] = &[
        (Ok(()), &["", "limit=1", "limit=1000", "limit=%2B10", "cursor=a", "other[x]=1"]),
        (Ok(()), &["archived=false", "archived=true", "archived=all", "metadata.a[b]=c"]),
        (Err(InvalidLimit), &["limit=0", "limit=1001", "limit=10.5", "limit=", "limit=x"]),
        (Err(InvalidLimit), &["limit=-1", "limit= 1", "limit[]=1", "limit=99999999999999999999"]),
        (Err(InvalidCursor), &["cursor=", "cursor", "cursor[]=a"]),
        (Err(InvalidListQuery), &["archived=yes", "archived=", "archived=TRUE", "archived[]=true"]),
        (Err(InvalidMetadata), &["metadata=x", "metadata[]=x", "metadata[a][b]=c", "metadata.=x"]),
    ];
    for (expected, queries) in cases {
        for query in *queries {
            let listed = session::list(&params(query)).map(|_| ());
            assert_eq!(listed, expected.map_err(Problem::from), "{query}");
        }
    }
}

#[test]
fn list_reads_both_forms_of_filters() {
    let list = session::list(&params("metadata[b]=1&metadata[a]=2&metadata.b=3&metadata.c.d=4"));
    let list = list.unwrap();
    let filters = [("a", "2"), ("b", "3"), ("c.d", "4")].map(|(k, v)| (k.into(), v.into()));
    assert_eq!(list.metadata, filters);
    assert_eq!((list.limit, list.visibility, list.cursor), (100, Visibility::Active, None));
}

#[test]
fn pages_and_tails_check_each_parameter() {
    let session = || SessionId::new("s").unwrap();
    let page = session::events(session(), &params("cursor=7&limit=5")).unwrap();
    assert_eq!((page.cursor, page.limit), (Seq(7), 5));
    let page = session::events(session(), &params("")).unwrap();
    assert_eq!((page.cursor, page.limit), (Seq(0), 100));
    for query in ["cursor=-1", "cursor=x", "cursor=", "cursor=1.0", "cursor[]=1", "cursor=1%20"] {
        let refused = session::events(session(), &params(query));
        assert_eq!(refused, Err(Code::InvalidCursor.into()), "{query}");
    }
    let refused = session::events(session(), &params("limit=1001"));
    assert_eq!(refused, Err(Code::InvalidLimit.into()));
    for query in ["batch_size=bad", "batch_size=0", "batch_size=1001", "batch_size="] {
        let refused = session::batch_size(&params(query));
        assert_eq!(refused, Err(Code::InvalidTailBatchSize.into()), "{query}");
    }
    assert_eq!(session::batch_size(&params("")), Ok(1));
    assert_eq!(session::batch_size(&params("batch_size=1000")), Ok(1000));
}
