use std::net::TcpListener;

use crate::ports::{await_free, listens_in};

const TABLE: &str = "  \
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1012 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 25011 1
   1: 0100007F:0FA0 0100007F:C350 06 00000000:00000000 03:00001000 00000000     0        0 0 3
   2: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 1
";

#[test]
fn a_listener_is_told_from_what_a_closed_connection_leaves() {
    assert!(listens_in(TABLE, 0x1012));
    assert!(listens_in(TABLE, 80));
    assert!(!listens_in(TABLE, 4000), "a connection that waits for its end");
    assert!(!listens_in(TABLE, 0xc350), "a client's port");
    assert!(!listens_in("", 4000));
}

#[test]
fn a_port_becomes_free_when_its_listener_goes() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let waiting = std::thread::spawn(move || await_free(address));
    drop(listener);
    waiting.join().unwrap().unwrap();
    await_free(address).unwrap();
}
