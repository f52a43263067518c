use std::path::Path;

use crate::server::{address_of, kibibytes_of_status, program};

#[test]
fn memory_is_found_by_name() {
    let status = "Name:\tstarcite\nVmHWM:\t  20480 kB\nVmRSS:\t    512 kB\nThreads:\t5\n";
    assert_eq!(kibibytes_of_status(status, "VmRSS:"), Some(512));
    assert_eq!(kibibytes_of_status(status, "VmHWM:"), Some(20_480));
    assert_eq!(kibibytes_of_status(status, "VmSwap:"), None);
    assert_eq!(kibibytes_of_status(status, "Threads:"), None);
}

#[test]
fn an_address_may_be_written_in_several_ways() {
    for url in ["127.0.0.1:4000", "http://127.0.0.1:4000", "http://127.0.0.1:4000/v1"] {
        assert_eq!(address_of(url).unwrap().to_string(), "127.0.0.1:4000", "{url}");
    }
    assert_eq!(address_of("http://127.0.0.1").unwrap().port(), 80);
    assert!(address_of("https://127.0.0.1:4000").is_err());
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let missing = program(Some(Path::new("no/such/server"))).unwrap_err();
    assert!(missing.contains("no/such/server"), "{missing}");
}
