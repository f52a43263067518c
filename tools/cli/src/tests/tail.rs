use crate::tail::Printer;

/// What a tail prints of frames, and whether it has enough.
fn print(printer: &mut Printer, frames: &[&str]) -> Result<(Vec<String>, bool), String> {
    let mut lines = Vec::new();
    let mut enough = printer.done();
    for frame in frames {
        let mut show = |line: &str| {
            lines.push(line.to_owned());
            Ok(())
        };
        enough = printer.frame(frame, &mut show).map_err(|failure| format!("{failure:?}"))?;
    }
    Ok((lines, enough))
}

fn printer(cursor: u64, last: Option<u64>, left: Option<u64>) -> Printer {
    Printer { cursor, last, left }
}

#[test]
fn events_are_printed_as_they_came() {
    let frames = ["{\"seq\":1,\"b\":1,\"a\":1.0}", "[{\"seq\":2},{\"seq\":3}]", "[]"];
    let (lines, enough) = print(&mut printer(0, None, None), &frames).unwrap();
    assert_eq!(lines, ["{\"seq\":1,\"b\":1,\"a\":1.0}", "{\"seq\":2}", "{\"seq\":3}"]);
    assert!(!enough);
}

#[test]
fn an_event_is_one_line_whatever_its_payload() {
    let frames = ["{\"seq\":1,\n\"payload\":{\n}}"];
    let (lines, _) = print(&mut printer(0, None, None), &frames).unwrap();
    assert_eq!(lines.len(), 1);
    assert!(!lines[0].contains('\n'));
}

#[test]
fn members_may_have_any_name() {
    let names = ["$serde_json::private::Number", "$serde_json::private::RawValue", "\\u0061"];
    let event = |name| format!("{{\"seq\":1,\"payload\":{{\"{name}\":{{\"seq\":2}}}}}}");
    for event in names.map(event) {
        let (lines, _) = print(&mut printer(0, None, None), &[&event]).unwrap();
        assert_eq!(lines, [event]);
    }
}

#[test]
fn what_was_printed_is_not_printed_again() {
    let mut printer = printer(2, None, None);
    let (lines, _) = print(&mut printer, &["[{\"seq\":1},{\"seq\":2},{\"seq\":3}]"]).unwrap();
    assert_eq!(lines, ["{\"seq\":3}"]);
    assert_eq!(printer.cursor, 3);
}

#[test]
fn a_hole_is_an_error() {
    let error = print(&mut printer(2, None, None), &["{\"seq\":4}"]).unwrap_err();
    assert!(error.contains("a hole"), "{error}");
    print(&mut printer(0, None, None), &["{\"type\":\"gap\"}"]).unwrap_err();
    print(&mut printer(0, None, None), &["hello"]).unwrap_err();
}

#[test]
fn ends_where_it_is_told() {
    let frame = "[{\"seq\":1},{\"seq\":2},{\"seq\":3}]";
    let (lines, enough) = print(&mut printer(0, None, Some(2)), &[frame]).unwrap();
    assert_eq!((lines.len(), enough), (2, true));
    let (lines, enough) = print(&mut printer(0, Some(2), None), &[frame]).unwrap();
    assert_eq!((lines.len(), enough), (2, true));
    assert!(printer(7, Some(7), None).done(), "nothing is to come");
    assert!(printer(0, None, Some(0)).done());
    assert!(!printer(0, Some(1), Some(1)).done());
}
