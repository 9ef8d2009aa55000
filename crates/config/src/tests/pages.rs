//! The reference page says everything that the parsers know.

use crate::fields::Shape;
use crate::{
    baseline, check, driver, freeze, gateway, guard, health, notify, people, policy, probe, release,
    rule_file, scrape, service, settings,
};

const PAGE: &str = include_str!("../../../../docs/reference/files.md");

/// Each section of the page and the shapes whose keys it has.
static SECTIONS: [(&str, &[&Shape]); 8] = [
    ("## canary.yaml", &[&release::RELEASE, &release::STRATEGY, &release::STEP]),
    (
        "## Health checks",
        &[
            &health::HEALTH_CHECK,
            &probe::CHECK,
            &probe::HTTP,
            &probe::TCP,
            &probe::GRPC,
            &probe::DNS,
            &probe::TLS,
        ],
    ),
    (
        "## services.yaml",
        &[
            &service::SERVICES,
            &service::SERVICE,
            &service::ROUTE,
            &service::BAD,
            &driver::IMAGE,
            &freeze::FREEZE,
            &freeze::ROLLBACK_WINDOW,
        ],
    ),
    ("## rollback.yaml", &[&policy::POLICY, &policy::DETECT]),
    ("## Alert rules", &[&rule_file::RULES, &rule_file::GROUP, &rule_file::RULE]),
    ("## Baselines", &[&baseline::BASELINE, &baseline::EXPECT, &baseline::DRIFT]),
    (
        "## Scrape files",
        &[
            &scrape::SCRAPE,
            &scrape::GLOBAL,
            &scrape::JOB,
            &scrape::STATIC,
            &scrape::RELABEL,
            &scrape::FILE_SD,
            &scrape::HTTP_SD,
            &scrape::DNS_SD,
            &scrape::DOCKER_SD,
            &scrape::DOCKER_FILTER,
            &scrape::KUBERNETES_SD,
            &scrape::NAMESPACES,
            &scrape::SELECTOR,
            &scrape::BASIC_AUTH,
            &scrape::AUTHORIZATION,
            &scrape::TLS,
            &scrape::HEADER,
        ],
    ),
    (
        "## hmsops.yaml",
        &[
            &settings::TOWER,
            &freeze::FREEZE,
            &gateway::GATEWAY,
            &gateway::TLS,
            &guard::LIMITS,
            &gateway::HAPROXY,
            &settings::REPO,
            &settings::HEAL,
            &settings::RETENTION,
            &settings::SYSTEM,
            &settings::STATUS,
            &settings::METRICS,
            &notify::NOTIFY,
            &people::PEOPLE,
            &people::OIDC,
            &notify::MAIL,
            &notify::WEBHOOK,
        ],
    ),
];

/// The section of the page that begins with this heading.
fn section(heading: &str) -> &'static str {
    let start = PAGE.find(heading).unwrap_or_else(|| panic!("the page has a section `{heading}`"));
    let rest = &PAGE[start + heading.len()..];
    &rest[..rest.find("\n## ").unwrap_or(rest.len())]
}

#[test]
fn every_key_stands_on_the_reference_page() {
    for (heading, shapes) in SECTIONS {
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
    assert_eq!(examples, 8);
}

#[test]
fn every_annotation_that_is_read_stands_on_the_reference_page() {
    let section = section("## Alert rules");
    for name in crate::rule::ANNOTATIONS {
        assert!(section.contains(&format!("`{name}`")), "`{name}`");
    }
}
