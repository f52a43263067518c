//! What clients read: rows and places as JSON.

use std::collections::VecDeque;
use std::io::Write;

use bytes::Bytes;
use model::api::{Appended, Event, SessionRow};
use model::command::Principal;
use model::error::Refusal;
use model::ids::Seq;
use model::limits::PAGE_BYTES_MAX;

/// Room for a row's names and short values.
const ROW_BYTES: usize = 512;

/// A session's row.
pub(crate) fn session(row: &SessionRow) -> Bytes {
    let mut out = Vec::with_capacity(ROW_BYTES + row.metadata.len());
    write_session(&mut out, row);
    out.into()
}

/// A page of rows. Rows beyond [`PAGE_BYTES_MAX`] are left for the next page; the first is always
/// shown.
pub(crate) fn sessions(rows: &[SessionRow], more: bool) -> Bytes {
    let mut out = Vec::with_capacity(ROW_BYTES * (rows.len() + 1));
    out.extend_from_slice(b"{\"sessions\":[");
    let mut shown = 0;
    for row in rows {
        if 0 < shown {
            if PAGE_BYTES_MAX < out.len() + row.metadata.len() {
                break;
            }
            out.push(b',');
        }
        write_session(&mut out, row);
        shown += 1;
    }
    out.extend_from_slice(b"],\"next_cursor\":");
    match rows[..shown].last() {
        Some(last) if more || shown < rows.len() => write_string(&mut out, last.id.as_str()),
        Some(_) | None => out.extend_from_slice(b"null"),
    }
    out.push(b'}');
    out.into()
}

/// The place of an appended event.
pub(crate) fn appended(appended: &Appended) -> Bytes {
    let Appended { seq, last_seq, deduped, archived_seq } = appended;
    format!(
        "{{\"seq\":{seq},\"last_seq\":{last_seq},\"deduped\":{deduped},\"cursor\":{seq},\
         \"committed_cursor\":{archived_seq}}}"
    )
    .into()
}

/// A page of events, in pieces that share the events' bytes.
pub(crate) fn events(events: &[Event], last_seq: Seq) -> VecDeque<Bytes> {
    let mut pieces = VecDeque::with_capacity(2 * events.len() + 1);
    let mut before: &'static [u8] = b"{\"events\":[";
    for event in events {
        pieces.push_back(Bytes::from_static(before));
        pieces.push_back(event.json.clone());
        before = b",";
    }
    let start = if events.is_empty() { "{\"events\":[" } else { "" };
    let next = match events.last() {
        Some(last) if last.seq < last_seq => last.seq.to_string(),
        Some(_) | None => "null".to_owned(),
    };
    pieces.push_back(format!("{start}],\"next_cursor\":{next},\"last_seq\":{last_seq}}}").into());
    pieces
}

/// A refusal.
pub(crate) fn refusal(refusal: &Refusal) -> Bytes {
    let mut out = Vec::with_capacity(128);
    out.extend_from_slice(b"{\"error\":");
    write_string(&mut out, refusal.code.name());
    out.extend_from_slice(b",\"message\":");
    write_string(&mut out, &refusal.message);
    if let Some(version) = refusal.current_version {
        write(&mut out, format_args!(",\"current_version\":{version}"));
    }
    out.push(b'}');
    out.into()
}

fn write_session(out: &mut Vec<u8>, row: &SessionRow) {
    let Principal { tenant_id, id, kind } = &row.creator;
    out.extend_from_slice(b"{\"id\":");
    write_string(out, row.id.as_str());
    out.extend_from_slice(b",\"title\":");
    match &row.title {
        Some(title) => write_string(out, title),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"tenant_id\":");
    write_string(out, tenant_id);
    out.extend_from_slice(b",\"creator_principal\":{\"tenant_id\":");
    write_string(out, tenant_id);
    out.extend_from_slice(b",\"id\":");
    write_string(out, id);
    out.extend_from_slice(b",\"type\":");
    write_string(out, kind);
    out.extend_from_slice(b"},\"metadata\":");
    out.extend_from_slice(row.metadata.as_bytes());
    write(
        out,
        format_args!(
            ",\"last_seq\":{},\"created_at\":\"{}\",\"updated_at\":\"{}\",\"version\":{},\"archived\":{}}}",
            row.last_seq, row.created_at, row.updated_at, row.version, row.archived
        ),
    );
}

fn write_string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a string can be written to memory");
}

fn write(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("text can be written to memory");
}
