//! Every row of the list of threats has a case, and every case of a row asserts a reason: `rows.txt` says where. Reads source text
//! only; whether the cases pass is their own business.

use std::collections::BTreeSet;

use crate::harness::place;

/// One line of the list.
#[derive(Debug)]
struct Row<'a> {
    name: &'a str,
    reasons: Vec<&'a str>,
    files: Vec<&'a str>,
}

/// Sections of which every row is listed, and how many rows they have.
const SECTIONS: [(&str, usize); 10] = [
    ("a", 20),
    ("b", 24),
    ("c", 10),
    ("d", 14),
    ("e", 13),
    ("f", 15),
    ("h", 12),
    ("i", 7),
    ("j", 15),
    ("k", 28),
];

/// Every row that has no case; `rows.txt` says why.
const OPEN: [&str; 1] = ["k28"];

fn read(text: &str) -> Vec<Row<'_>> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let mut words = line.split_whitespace();
            let (name, reasons) = (words.next().unwrap(), words.next().unwrap());
            let reasons = reasons.split(',').filter(|reason| *reason != "-").collect();
            Row { name, reasons, files: words.collect() }
        })
        .collect()
}

/// Returns the text of every case in a file that is named after the row, such as `fn e3_e4_…`.
fn cases(source: &str, row: &str) -> Vec<String> {
    let is_named = |function: &str| {
        let mut words = function.split('_');
        let is_row = |word: &&str| {
            let (letter, number) = word.split_at(word.len().min(1));
            !number.is_empty()
                && letter.bytes().all(|b| b.is_ascii_lowercase())
                && number.bytes().all(|b| b.is_ascii_digit())
        };
        words.by_ref().take_while(is_row).any(|word| word == row)
    };
    called(source, is_named)
}

/// Returns the text of every case in a file whose function is called so.
fn called(source: &str, is_meant: impl Fn(&str) -> bool) -> Vec<String> {
    let parts = source.split("#[test]\n").skip(1);
    let named = parts.filter(|part| {
        let head = part.trim_start().strip_prefix("fn ").and_then(|rest| rest.split('(').next());
        head.is_some_and(&is_meant)
    });
    named.map(|part| body(part).to_owned()).collect()
}

/// Returns a case up to the brace that ends it, as far in as the case itself: what follows belongs to others.
fn body(part: &str) -> &str {
    let head = part.split('\n').next().unwrap_or_default();
    let indent: String = head.chars().take_while(|c| *c == ' ').collect();
    let close = format!("\n{indent}}}");
    match part.find(&close) {
        Some(end) if !head.ends_with('}') => &part[..end + close.len()],
        _ => head,
    }
}

#[test]
fn every_row_has_a_case_that_asserts_its_reason() {
    let root = place::root();
    let text = std::fs::read_to_string(root.join("tests/rows.txt")).unwrap();
    let mut missing = Vec::new();
    let mut seen = BTreeSet::new();
    for Row { name, reasons, files } in read(&text) {
        assert!(seen.insert(name.to_owned()), "{name} is listed twice");
        let found = |place: &&str| {
            let (file, function) = place.split_once("::").map_or((*place, None), |(f, n)| (f, Some(n)));
            let source = std::fs::read_to_string(root.join(file)).unwrap_or_default();
            let cases = match function {
                Some(function) => called(&source, |name| name == function),
                None => cases(&source, name),
            };
            (cases.is_empty().then(|| format!("{name}: no case at {place}")), cases)
        };
        let (gone, cases): (Vec<Option<String>>, Vec<Vec<String>>) = files.iter().map(found).unzip();
        missing.extend(gone.into_iter().flatten());
        let cases = cases.concat();
        let absent = reasons.iter().filter(|reason| !cases.iter().any(|case| case.contains(**reason)));
        missing.extend(absent.map(|reason| format!("{name}: no case asserts {reason}")));
    }
    let open = text.lines().filter_map(|line| line.strip_prefix("# open "));
    let open = open.filter_map(|line| line.split(':').next());
    let open: BTreeSet<&str> = open.flat_map(str::split_whitespace).collect();
    assert_eq!(open, BTreeSet::from(OPEN), "the rows without a case are named here as well");
    for (letter, count) in SECTIONS {
        let rows = (1..=count).map(|number| format!("{letter}{number}"));
        for row in rows {
            match (seen.contains(&row), open.contains(row.as_str())) {
                (true, false) | (false, true) => {}
                (true, true) => missing.push(format!("{row} is listed and said to be open")),
                (false, false) => missing.push(format!("{row} is not in the list")),
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn a_row_without_a_case_is_found() {
    let source = "#[test]\nfn e3_e4_no_file() {\n check(\"input.url\")\n}\n\n#[test]\nfn e30_other() {}\n#[test]\nfn f1_x() {}";
    let count = |row: &str| cases(source, row).len();
    assert_eq!((count("e3"), count("e4"), count("e30"), count("f1")), (1, 1, 1, 1));
    assert_eq!((count("e5"), count("e"), count("x"), count("no")), (0, 0, 0, 0));
    assert!(cases(source, "e4")[0].contains("input.url"));
    // What a neighbour or a helper behind the case says is not said by the case.
    let source = "#[test]\nfn e3_x() {\n    check();\n}\n\nfn check() {\n    assert(\"net.x\");\n}\n";
    assert_eq!(cases(source, "e3"), ["fn e3_x() {\n    check();\n}"]);
}
