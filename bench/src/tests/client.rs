use crate::client::{Garbage, Reply, scan};

const REPLY: &[u8] = b"HTTP/1.1 201 Created\r\ndate: x\r\nContent-Length: 11\r\n\r\n{\"seq\":123}";

#[test]
fn a_reply_is_whole_exactly_when_its_last_byte_is_there() {
    for length in 0..REPLY.len() {
        assert_eq!(scan(&REPLY[..length]), Ok(None), "after {length} bytes");
    }
    let whole =
        Reply { status: 201, head_bytes: REPLY.len() - 11, bytes: REPLY.len(), last: false };
    assert_eq!(scan(REPLY), Ok(Some(whole)));
    let mut more = REPLY.to_vec();
    more.extend_from_slice(REPLY);
    for length in REPLY.len()..more.len() {
        assert_eq!(scan(&more[..length]), Ok(Some(whole)), "the second reply is not looked at");
    }
}

#[test]
fn what_is_no_reply_is_found_out() {
    let cases: &[(&[u8], Garbage)] = &[
        (b"X", Garbage::StatusLine),
        (b"HTTP/2", Garbage::StatusLine),
        (b"HTTP/1.1 20 OK\r\ncontent-length: 0\r\n\r\n", Garbage::StatusLine),
        (b"HTTP/1.1 2011 OK\r\ncontent-length: 0\r\n\r\n", Garbage::StatusLine),
        (b"HTTP/1.1 999 OK\r\ncontent-length: 0\r\n\r\n", Garbage::StatusLine),
        (b"HTTP/1.1_200 OK\r\ncontent-length: 0\r\n\r\n", Garbage::StatusLine),
        (b"HTTP/1.1\r\n\r\n", Garbage::StatusLine),
        (b"HTTP/1.1 200 OK\r\n\r\n", Garbage::Length),
        (b"HTTP/1.1 200 OK\r\ncontent-length:\r\n\r\n", Garbage::Length),
        (b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", Garbage::Length),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1x\r\n\r\n", Garbage::Length),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\n", Garbage::Length),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 16384\r\n\r\n", Garbage::TooLong),
    ];
    for (bytes, garbage) in cases {
        let shown = String::from_utf8_lossy(bytes);
        assert_eq!(scan(bytes), Err(*garbage), "{shown}");
    }
    let mut endless = b"HTTP/1.1 200 OK\r\n".to_vec();
    endless.resize(16 * 1024, b'x');
    assert_eq!(scan(&endless), Err(Garbage::TooLong));
}

#[test]
fn every_single_byte_changed_is_no_panic() {
    for place in 0..REPLY.len() {
        for byte in 0..=u8::MAX {
            let mut changed = REPLY.to_vec();
            changed[place] = byte;
            if let Ok(Some(reply)) = scan(&changed) {
                assert!(reply.head_bytes <= reply.bytes && reply.bytes <= changed.len());
            }
        }
    }
}

#[test]
fn a_reply_may_have_no_body_and_may_be_the_last() {
    let reply = scan(b"HTTP/1.1 204 No Content\r\nConnection: Close\r\n\r\n").unwrap().unwrap();
    assert_eq!((reply.status, reply.last), (204, true));
    assert_eq!(reply.head_bytes, reply.bytes);
}
