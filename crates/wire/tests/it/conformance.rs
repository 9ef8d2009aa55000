//! The shared exposition texts.

use std::path::PathBuf;

use hmsops_wire::exposition::{Format, Kind, judge, parse};

/// So many of the shared OpenMetrics texts are judged as they should be; only ever raised.
const FLOOR: usize = 153;

/// Beside the checkout, or where `HMSOPS_CONFORMANCE` says.
fn folder(name: &str) -> PathBuf {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance");
    let root = std::env::var_os("HMSOPS_CONFORMANCE").map_or_else(beside, PathBuf::from);
    let folder = root.join(name);
    assert!(
        folder.is_dir(),
        "no conformance texts at `{}`: put them at `../shared/conformance` beside the checkout or set HMSOPS_CONFORMANCE",
        folder.display()
    );
    folder
}

#[test]
fn no_text_that_was_judged_right_is_judged_wrong_again() {
    let mut right = 0;
    let mut failures = Vec::new();
    for entry in std::fs::read_dir(folder("openmetrics/parsers")).unwrap() {
        let path = entry.unwrap().path();
        let case: serde_json::Value =
            serde_json::from_slice(&std::fs::read(path.join("test.json")).unwrap()).unwrap();
        let text = std::fs::read(path.join(case["file"].as_str().unwrap())).unwrap();
        let parsed = judge(&text, 1000);
        if parsed.is_ok() == case["shouldParse"].as_bool().unwrap() {
            right += 1;
        } else {
            let why = parsed.err().map_or_else(|| "it was read".to_owned(), |error| error.to_string());
            failures.push(format!("{}: {why}", path.display()));
        }
    }
    assert!(right >= FLOOR, "{right} judged right, {} wrong\n{}", failures.len(), failures.join("\n"));
}

/// Whole pages of real programs are read, each sample line once.
#[test]
fn real_pages_are_read() {
    for (name, format) in [
        ("alltypes.237mfs.prom.txt", Format::Text),
        ("alltypes.237mfs.nometa.prom.txt", Format::Text),
        ("alltypes.5mfs.om.txt", Format::OpenMetrics),
        ("1histogram.om.txt", Format::OpenMetrics),
    ] {
        let text = std::fs::read_to_string(folder("textparse").join(name)).unwrap();
        let mut lines = text.lines().collect::<Vec<_>>();
        if format == Format::OpenMetrics && lines.last() != Some(&"# EOF") {
            lines.push("# EOF");
        }
        let whole = lines.join("\n") + "\n";
        let parsed =
            parse(whole.as_bytes(), format, 100_000).unwrap_or_else(|error| panic!("{name}: {error}"));
        let is_sample = |line: &&&str| {
            let is_created =
                format == Format::OpenMetrics && (line.contains("_created{") || line.contains("_created "));
            !line.starts_with('#') && !line.trim().is_empty() && !is_created
        };
        assert_eq!(parsed.samples.len(), lines.iter().filter(is_sample).count(), "{name}");
        let types = lines.iter().filter(|line| line.starts_with("# TYPE ")).count();
        let kinds = parsed.families.iter().filter(|family| family.kind != Kind::Unknown).count();
        let untyped =
            lines.iter().filter(|line| line.ends_with(" untyped") || line.ends_with(" unknown")).count();
        assert_eq!(kinds, types - untyped, "{name}");
    }
}
