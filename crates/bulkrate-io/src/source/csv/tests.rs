use super::*;

fn cells(bytes: &str, ended: bool) -> Option<Vec<String>> {
    let mut row = RowBuffer::default();
    match parse(bytes.as_bytes(), ended, b',', &mut row.spans) {
        Parsed::Row { length, escaped, .. } => {
            row.text = bytes[..length].to_owned();
            if escaped {
                unescape(&mut row);
            }
            Some(
                row.spans
                    .iter()
                    .map(|span| row.text[span.start as usize..span.end as usize].to_owned())
                    .collect(),
            )
        }
        Parsed::More | Parsed::Bad { .. } => None,
    }
}

#[test]
fn a_row_is_found_only_when_its_end_is() {
    for (bytes, ended, want) in [
        ("a,b\n", false, Some(vec!["a", "b"])),
        ("a,b", false, None),
        ("a,b", true, Some(vec!["a", "b"])),
        ("a,b\r", false, None),
        ("a,b\r", true, Some(vec!["a", "b"])),
        ("a\rb\n", false, Some(vec!["a"])),
        ("a,\n", false, Some(vec!["a", ""])),
        ("a,", false, None),
        ("a,", true, Some(vec!["a", ""])),
        (",\n", false, Some(vec!["", ""])),
        ("\"a\"", false, None),
        ("\"a\"", true, Some(vec!["a"])),
        ("\"a\"\"", true, None),
        ("\"a,\n\"\"b\"\"\",\"\"\r\n", false, Some(vec!["a,\n\"b\"", ""])),
        ("x\"y\"z,1\n", false, Some(vec!["x\"y\"z", "1"])),
        ("\"a\" ,b\n", false, None),
        ("\"\"\"\"\n", false, Some(vec!["\""])),
        (
            "a cell of many bytes,and another one of them\n",
            false,
            Some(vec!["a cell of many bytes", "and another one of them"]),
        ),
    ] {
        let want = want.map(|cells| cells.into_iter().map(String::from).collect::<Vec<_>>());
        assert_eq!(cells(bytes, ended), want, "{bytes:?} ended {ended}");
    }
}
