//! A tower that is killed again and again while metrics come in, alerts wait for their time, a heal runs and people
//! are told.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::http;
use super::kit::{SHOP, Site, now};
use super::nginx::{self, Build};
use super::receiver::{Pager, Target};
use super::sender::{Emitted, SERIES, SOURCES, Sender, Written, wall_ms};
use super::signals::encoded;

/// Kills, and rules by how many seconds they wait, each longer than the one before.
const KILLS: (usize, u64, u64) = (5, 3, 3);

/// The same with `HMSOPS_LONG=1`.
const KILLS_LONG: (usize, u64, u64) = (50, 10, 20);

/// Between two evaluations of each rule.
const INTERVAL_MS: i64 = 1000;

/// What an evaluation may take beyond that.
const SLACK_MS: i64 = 2000;

/// The rule whose alert is healed.
const AILING: &str = "ailing-shop";

/// How a life of the tower ends.
#[derive(Debug, Clone, Copy)]
enum End {
    /// So long after a heal is under way.
    Heal(u64),
    /// When a receiver has been asked for the first time to take a notice.
    Notice,
    /// After so many milliseconds, and when each sender has had something acknowledged.
    Work(u64),
    /// As [`End::Work`]; and the next tower so many milliseconds after its start, ready or not.
    Start(u64, u64),
}

/// The kills of a seed: splitmix64 (Steele, Lea and Flood 2014).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn end(&mut self, number: usize) -> End {
        match number {
            0 | 1 => End::Heal(self.below(600)),
            2 => End::Notice,
            _ if number.is_multiple_of(5) => End::Notice,
            _ if number % 5 == 4 => End::Start(self.below(2000), self.below(400)),
            _ => End::Work(self.below(3000)),
        }
    }
}

/// Everything around the tower, which outlives it.
struct Ground {
    site: Site,
    pager: Pager,
    target: Target,
    writer: Sender,
    emitter: Sender,
    /// When each life was ready, and when it was killed, by the wall clock.
    lives: Vec<(i64, i64)>,
    /// Seconds that the rules wait which always hold.
    holds: Vec<u64>,
}

/// Issue 3's promise: `kill -9` fifty times under remote write, scrape and emit. No acknowledged sample is lost and
/// none is doubled; alerts fire in their time; no notice is lost and no heal is repeated.
#[test]
fn kills_lose_nothing_and_repeat_nothing() {
    let long = std::env::var("HMSOPS_LONG").is_ok_and(|value| value == "1");
    let (kills, rules, apart) = if long { KILLS_LONG } else { KILLS };
    let seed = std::env::var("HMSOPS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(3);
    println!("HMSOPS_SEED={seed}, {kills} kills");
    let (written, emitted) = (super::sender::Book::default(), super::sender::Book::default());
    let (site, pager, target) = lay_out();
    let writer = Sender::write(site.at, &site.token(), &written);
    let emitter = Sender::emit(site.collector, &emitted);
    let holds = (1..=rules).map(|number| number * apart).collect();
    let mut ground = Ground { site, pager, target, writer, emitter, lives: Vec::new(), holds };
    ground.declare_rules();

    let (mut dice, mut ready) = (Dice(seed), wall_ms());
    for number in 0..kills {
        let end = dice.end(number);
        ground.live(end);
        ground.lives.push((ready, wall_ms()));
        ground.site.kill_tower();
        if let End::Start(_, millis) = end {
            ground.site.spawn_tower();
            let at = now() + Duration::from_millis(millis);
            ground.site.wait_closely("a while", 10, |_| (now() >= at).then_some(()));
            ground.site.kill_tower();
        }
        ground.site.start();
        ready = wall_ms();
    }
    ground.lives.push((ready, i64::MAX));
    ground.settle();
    let Ground { site, pager, target, writer, emitter, lives, holds } = ground;
    let broken = (writer.stop(), emitter.stop());
    println!("{broken:?} requests of writer and emitter broke off");

    check_written(&site, &written.lock().unwrap());
    check_emitted(&site, &emitted.lock().unwrap());
    check_scraped(&site, &target);
    check_timers(&site, &holds, &lives);
    check_notices(&site, &pager, &holds);
    check_heals(&site);
    assert!(site.done(&["audit", "verify"]).starts_with("whole: "));
}

/// A tower that is told of a pager and a program to scrape, with 1.0 of `shop` running.
fn lay_out() -> (Site, Pager, Target) {
    let (mut site, pager, target) = (Site::lay_out(SHOP), Pager::start(), Target::start());
    site.put_secret("pager.secret", &Pager::secret());
    let url = pager.url();
    site.configure(&format!(
        "notify: {{webhooks: {{pager: {{url: \"{url}\", secrets: [\"file:pager.secret\"]}}}}}}\n"
    ));
    let scrape = format!(
        "scrape_configs:\n  - job_name: kills\n    scrape_interval: 1s\n    static_configs:\n      - targets: [\"{}\"]\n",
        target.at()
    );
    nginx::put(&site.path("repo/ops/scrape/kills.yaml"), &scrape);
    site.build("1.0", Build::GOOD);
    site.start();
    site.wait("1.0 is served", 30, |site| site.get("/").filter(|answer| answer.version() == Some("1.0")));
    (site, pager, target)
}

fn timer(seconds: u64) -> String {
    format!("always-{seconds}-s")
}

impl Ground {
    fn declare_rules(&self) {
        for seconds in &self.holds {
            self.declare_rule(&json!({"name": timer(*seconds), "expr": "vector(1)", "for_seconds": seconds}));
        }
        self.declare_rule(&json!({"name": AILING, "expr": "ailing > 0", "for_seconds": 1,
            "on_fire": "restart shop"}));
    }

    fn declare_rule(&self, rule: &Value) {
        let mut rule = rule.clone();
        rule["interval_seconds"] = json!(INTERVAL_MS / 1000);
        rule["notify"] = json!(["pager"]);
        let fields = [
            format!("authorization: Bearer {}", self.site.token()),
            "content-type: application/json".to_owned(),
        ];
        let body = rule.to_string();
        let answer = http::post(self.site.at, "/hms/v1/rules", &fields, body.as_bytes()).unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// The one heal, once there is one. What it was for is over when it has run.
    fn heal(&self) -> Option<Value> {
        let heal = self.site.api("/hms/v1/heals")?["items"].get(0)?.clone();
        assert_ne!(heal["phase"], "failed", "{heal:#}\n{}", self.site.log());
        if heal["phase"] != "running" {
            self.target.recover();
        }
        Some(heal)
    }

    /// Waits until this life of the tower has come to its end.
    fn live(&self, end: End) {
        let begun = now();
        let done = (self.writer.taken(), self.emitter.taken());
        let works = || self.writer.taken() > done.0 && self.emitter.taken() > done.1;
        let asked = self.pager.received().tries.len();
        let news = || self.pager.received().tries.len() > asked;
        let mut healing = None;
        self.site.wait(&format!("{end:?}"), 60, |_| {
            let heal = self.heal();
            let is_over = match end {
                End::Heal(millis) => {
                    let since = *healing.get_or_insert_with(now);
                    if heal.is_none() {
                        healing = None;
                    }
                    heal.is_some() && now() >= since + Duration::from_millis(millis)
                }
                End::Notice => news() || begun.elapsed() > Duration::from_secs(5) && works(),
                End::Work(millis) | End::Start(millis, _) => {
                    begun.elapsed() >= Duration::from_millis(millis) && works()
                }
            };
            is_over.then_some(())
        });
    }

    /// Waits until all that has begun has ended.
    fn settle(&self) {
        let longest = self.holds.iter().max().unwrap();
        self.site.wait("the heal has helped", 60, |_| self.heal().filter(|heal| heal["phase"] == "healed"));
        for seconds in &self.holds {
            self.site.wait(&format!("the alert of {seconds} s"), 60 + longest, |site| {
                let alerts = site.api("/hms/v1/alerts?active=true")?;
                let mut alerts = alerts["items"].as_array()?.iter();
                alerts
                    .any(|alert| alert["rule"] == timer(*seconds) && alert["condition"] == "firing")
                    .then_some(())
            });
        }
        let expected = expected_notices(&self.holds).len();
        self.site.wait(&format!("{expected} notices are delivered"), 60, |site| {
            let notices = site.api("/hms/v1/notices?limit=1000")?;
            let notices = notices["items"].as_array()?;
            let delivered = notices.iter().filter(|notice| notice["phase"] == "delivered").count();
            (delivered == notices.len() && delivered >= expected).then_some(())
        });
    }
}

/// All samples of the one series that a selector names, by a range of two hours.
fn samples(site: &Site, selector: &str) -> Vec<(i64, f64)> {
    let path = format!("/api/v1/query?query={}", encoded(&format!("{selector}[2h]")));
    let answer = site.wait(selector, 30, |site| site.api(&path));
    let result = answer["data"]["result"].as_array().unwrap_or_else(|| panic!("{selector}: {answer}"));
    assert_eq!(result.len(), 1, "series of {selector}: {answer}");
    let values = result[0]["values"].as_array().unwrap().iter();
    values
        .map(|pair| {
            let time = (pair[0].as_f64().unwrap() * 1000.0).round() as i64;
            (time, pair[1].as_str().unwrap().parse().unwrap())
        })
        .collect()
}

fn check_written(site: &Site, written: &Written) {
    assert_eq!(written.len(), SERIES);
    for (series, expected) in written {
        let found = samples(site, &format!("kills_written{{series=\"{series}\"}}"));
        let expected: Vec<(i64, f64)> = expected.iter().map(|(time, value)| (*time, *value)).collect();
        let lost: Vec<_> = expected.iter().filter(|sample| !found.contains(sample)).collect();
        let odd: Vec<_> = found.iter().filter(|sample| !expected.contains(sample)).collect();
        assert!(
            found == expected,
            "series {series}: {} acknowledged, {} found; lost {lost:?}; not sent so {odd:?}",
            expected.len(),
            found.len()
        );
    }
    println!("{} batches written, each whole", written[&0].len());
}

fn check_emitted(site: &Site, emitted: &Emitted) {
    assert_eq!(emitted.len(), SOURCES);
    for (source, expected) in emitted {
        for function in ["sum_over_time", "count_over_time"] {
            let query = format!("{function}(kills.emitted{{origin=\"{source}\"}}[2h])");
            let path = format!("/api/v1/query?query={}", encoded(&query));
            let answer = site.wait(&query, 30, |site| site.api(&path));
            let result = &answer["data"]["result"];
            let found: Option<f64> = result[0]["value"][1].as_str().and_then(|text| text.parse().ok());
            assert_eq!((found, &result[1]), (Some(*expected as f64), &Value::Null), "{query}: {answer}");
        }
    }
    println!("{emitted:?} emitted");
}

/// What a scrape brought is there whole or not at all, once, in the order of time.
fn check_scraped(site: &Site, target: &Target) {
    let a = samples(site, "scraped_total{shelf=\"a\"}");
    let b = samples(site, "scraped_total{shelf=\"b\"}");
    let ups = samples(site, "up{job=\"kills\"}");
    for found in [&a, &b] {
        let wrong = found.windows(2).find(|pair| pair[0].0 >= pair[1].0 || pair[0].1 >= pair[1].1);
        assert_eq!(wrong, None, "{found:?}");
    }
    assert_eq!(ups.windows(2).find(|pair| pair[0].0 >= pair[1].0), None, "{ups:?}");
    let doubled: Vec<(i64, f64)> = a.iter().map(|(time, count)| (*time, count * 1000.0)).collect();
    assert_eq!(doubled, b);
    let last = a.last().unwrap().1;
    assert!(last <= target.asked() as f64, "{last} of {}", target.asked());
    println!("{} of {} scrapes kept", a.len(), target.asked());
}

/// Lines of one kind, by what they are about. The list is whole.
fn lines(site: &Site, kind: &str) -> BTreeMap<String, Vec<Value>> {
    let found = site.json(&["audit", "list", "--limit", "1000", "--kind", kind]);
    let entries = found["entries"].as_array().unwrap();
    assert!(entries.len() < 1000);
    let mut lines: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for entry in entries.iter().rev() {
        lines.entry(entry["subject"].as_str().unwrap().to_owned()).or_default().push(entry.clone());
    }
    lines
}

/// Each alert fires once: not before its time, and as soon after it as a tower lives for long enough to see it.
fn check_timers(site: &Site, holds: &[u64], lives: &[(i64, i64)]) {
    let (pending, fired) = (lines(site, "alert.pending"), lines(site, "alert.fired"));
    let ended = lines(site, "alert.ended");
    for seconds in holds {
        let subject = format!("rule/{}", timer(*seconds));
        let ([pending], [fired]) = (&pending[&subject][..], &fired[&subject][..]) else {
            panic!("{subject}: {:#?}\n{:#?}", pending[&subject], fired[&subject]);
        };
        assert_eq!(ended.get(&subject), None);
        let number = |entry: &Value, key: &str| entry[key].as_i64().unwrap();
        let hold = *seconds as i64 * 1000;
        let held = number(fired, "steady_ms") - number(pending, "steady_ms");
        assert!(held >= hold, "{subject}: fired after {held} ms");
        let due = number(pending, "at_ms") + hold;
        let seen = lives.iter().map(|(ready, killed)| (due.max(*ready), *killed));
        let seen = seen.filter(|(from, killed)| killed.saturating_sub(*from) >= INTERVAL_MS + SLACK_MS);
        let latest = seen.map(|(from, _)| from + INTERVAL_MS + SLACK_MS).min().unwrap();
        let at = number(fired, "at_ms");
        println!("{subject}: fired {} ms after its time", at - due);
        assert!(
            at <= latest,
            "{subject}: {} ms late, {} ms too late\n{lives:?}\n{pending:#}\n{fired:#}",
            at - due,
            at - latest
        );
    }
}

/// What people have to read, as `RULE WORD`.
fn expected_notices(holds: &[u64]) -> Vec<String> {
    let mut expected: Vec<String> =
        holds.iter().map(|seconds| format!("{} fired", timer(*seconds))).collect();
    expected.extend(["fired", "resolved"].map(|word| format!("{AILING} {word}")));
    expected.sort();
    expected
}

/// Every notice is taken, by an id of its own, and says the same at each try.
fn check_notices(site: &Site, pager: &Pager, holds: &[u64]) {
    let received = pager.received();
    assert_eq!(received.forged, Vec::<String>::new());
    let mut taken: Vec<String> = Vec::new();
    for (id, bodies) in &received.taken {
        assert_eq!(bodies.len(), 1, "{id}: {bodies:?}");
        let body: Value = serde_json::from_str(bodies.first().unwrap()).unwrap();
        let subject = body["subject"].as_str().unwrap();
        let rules = holds.iter().map(|seconds| timer(*seconds)).chain([AILING.to_owned()]);
        let rule = rules.into_iter().find(|rule| subject.contains(rule.as_str()));
        taken.push(format!("{} {}", rule.unwrap_or_default(), body["occasion"].as_str().unwrap()));
    }
    taken.sort();
    assert_eq!(taken, expected_notices(holds), "{received:#?}");
    let told = lines(site, "notice.sent");
    assert_eq!(told.len(), taken.len(), "{told:#?}");
    for (notice, lines) in &told {
        let of = |outcome: &str| lines.iter().filter(|line| line["outcome"] == outcome).count();
        assert_eq!((of("intended"), of("done")), (1, 1), "{notice}: {lines:#?}");
    }
    println!("tries by notice: {:?}", received.tries);
}

/// What heals ran once, helped, and left no ticket.
fn check_heals(site: &Site) {
    for kind in ["heal.run", "heal.ran", "heal.judged"] {
        let found: Vec<Value> = lines(site, kind).into_values().flatten().collect();
        assert_eq!(found.len(), 1, "{kind}: {found:#?}");
        assert_ne!(found[0]["outcome"], "failed", "{found:#?}");
    }
    let tickets = lines(site, "ticket");
    assert!(tickets.is_empty(), "{tickets:#?}");
    let starts: Vec<Value> = lines(site, "instance.start").into_values().flatten().collect();
    // The first, and the one that the heal asked for.
    assert_eq!(starts.len(), 2, "{starts:#?}");
}
