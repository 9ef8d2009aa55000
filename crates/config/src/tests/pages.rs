//! The reference page says everything that the parsers know.

use crate::fields::Shape;
use crate::{check, driver, gateway, health, notify, policy, release, rule_file, scrape, service, settings};

const PAGE: &str = include_str!("../../../../docs/reference/files.md");

static SHAPES: [&Shape; 31] = [
    &release::RELEASE,
    &release::STRATEGY,
    &release::STEP,
    &health::HEALTH_CHECK,
    &service::SERVICES,
    &service::SERVICE,
    &service::ROUTE,
    &service::BAD,
    &driver::IMAGE,
    &policy::POLICY,
    &policy::DETECT,
    &rule_file::RULES,
    &rule_file::GROUP,
    &rule_file::RULE,
    &scrape::SCRAPE,
    &scrape::GLOBAL,
    &scrape::JOB,
    &scrape::STATIC,
    &settings::TOWER,
    &gateway::GATEWAY,
    &gateway::TLS,
    &gateway::HAPROXY,
    &settings::REPO,
    &settings::HEAL,
    &settings::RETENTION,
    &settings::SYSTEM,
    &settings::STATUS,
    &settings::METRICS,
    &notify::NOTIFY,
    &notify::MAIL,
    &notify::WEBHOOK,
];

/// The section of the page that begins with this heading.
fn section(heading: &str) -> &'static str {
    let start = PAGE.find(heading).unwrap_or_else(|| panic!("the page has a section `{heading}`"));
    let rest = &PAGE[start + heading.len()..];
    &rest[..rest.find("\n## ").unwrap_or(rest.len())]
}

#[test]
fn every_key_stands_on_the_reference_page() {
    for (heading, shapes) in [
        ("## canary.yaml", &SHAPES[..4]),
        ("## services.yaml", &SHAPES[4..9]),
        ("## rollback.yaml", &SHAPES[9..11]),
        ("## Alert rules", &SHAPES[11..14]),
        ("## Scrape files", &SHAPES[14..18]),
        ("## hmsops.yaml", &SHAPES[18..]),
    ] {
        let section = section(heading);
        let keys = shapes.iter().flat_map(|shape| shape.keys).filter(|key| !key.later);
        for name in keys.flat_map(|key| [Some(key.name), key.alias]).flatten() {
            let in_row = section
                .lines()
                .filter(|line| line.starts_with('|'))
                .any(|line| line.split('|').nth(1).is_some_and(|cell| cell.contains(&format!("`{name}`"))));
            assert!(in_row, "`{name}` has no row under {heading}");
        }
    }
}

#[test]
fn the_pages_examples_are_right() {
    let mut examples = 0;
    for example in PAGE.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()) {
        let report = check("example", example);
        assert!(!report.failed(), "{:#?}\n{example}", report.diagnostics);
        examples += 1;
    }
    assert_eq!(examples, 6);
}

#[test]
fn every_annotation_that_is_read_stands_on_the_reference_page() {
    let section = section("## Alert rules");
    for name in crate::rule::ANNOTATIONS {
        assert!(section.contains(&format!("`{name}`")), "`{name}`");
    }
}
