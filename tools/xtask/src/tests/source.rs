use crate::source::Source;

/// Code with one space for what was left out between words, and the literals.
fn check(text: &str, code: &[&str], strings: &[(usize, &str)]) {
    let source = Source::parse(text);
    let lines: Vec<&str> = source.code.iter().map(|line| line.trim_end()).collect();
    assert_eq!(lines, code, "code of {text:?}");
    let found: Vec<(usize, &str)> =
        source.strings.iter().map(|(line, text)| (*line, text.as_str())).collect();
    assert_eq!(found, strings, "strings of {text:?}");
}

#[test]
fn tells_code_from_strings_and_comments() {
    check("let a = 1;", &["let a = 1;"], &[]);
    check("a // b \"c\"\nd", &["a", "d"], &[]);
    check("a /* b /* c */ \n d */ e", &["a", " e"], &[]);
    check("f(\"x // y\", 1)", &["f(\"\", 1)"], &[(1, "x // y")]);
    check("\n\"a\\\"b\" c", &["", "\"\" c"], &[(2, "a\\\"b")]);
    check("r\"a\\\" b", &["\"\" b"], &[(1, "a\\")]);
    check("r#\"a\"b\"# c", &["\"\" c"], &[(1, "a\"b")]);
    check("br##\"a\"#\"## c", &["\"\" c"], &[(1, "a\"#")]);
    check("b\"a\" c\"b\"", &["\"\" \"\""], &[(1, "a"), (1, "b")]);
    check("\"a\nb\" c\nd", &["\"", "\" c", "d"], &[(1, "a\nb")]);
    check("'\"' x '\\'' y", &["'\"' x '\\'' y"], &[]);
    check("fn f<'a>(x: &'a str) \"s\"", &["fn f<'a>(x: &'a str) \"\""], &[(1, "s")]);
    check("for r in b", &["for r in b"], &[]);
    check("a / b", &["a / b"], &[]);
    check("", &[""], &[]);
}

#[test]
fn survives_text_that_ends_early() {
    for text in ["\"a", "r#\"a", "/* a", "'", "'\\", "b", "br#", "r#\"a\"", "\"\\"] {
        Source::parse(text);
    }
}
