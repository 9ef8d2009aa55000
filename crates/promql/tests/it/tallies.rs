//! What queries over emitted values mean.

use hmsops_model::labels::Labels;
use hmsops_model::sample::{Tally, Value};
use hmsops_model::series::Budget;
use hmsops_promql::script::Memory;
use hmsops_promql::{Options, Outcome, instant, parse};

/// Five flushes, one a second: two values each, 1 and 0.
fn uploads() -> Memory {
    let labels = Labels::new([("__name__", "photo.upload.ok"), ("svc", "dmv-photo")]);
    let mut memory = Memory::default();
    for second in 1..=5 {
        let tally = Tally { sum: 1.0, count: 2, min: 0.0, max: 1.0, last: 0.0 };
        memory.push(&labels, (second * 1000, 0, Value::Tally(tally))).expect("samples are in order");
    }
    memory
}

fn answer(query: &str) -> Option<f64> {
    let budget = Budget::new(1000, 1 << 20);
    let answer =
        instant(&uploads(), &parse(query).expect(query), 5000, Options::default(), &budget).expect(query);
    let Outcome::Vector(points) = answer.outcome else { panic!("{query}") };
    match points.first().map(|point| &point.value) {
        Some(Value::Float(value)) => Some(*value),
        None => None,
        other => panic!("{query}: {other:?}"),
    }
}

#[test]
fn a_tally_answers_as_the_house_says() {
    for (query, expected) in [
        ("photo.upload.ok", 0.0),
        ("photo.upload.ok{svc=\"dmv-photo\"} + 2", 2.0),
        ("rate(photo.upload.ok[5s])", 1.0),
        ("rate(photo.upload.ok[10s])", 0.5),
        ("increase(photo.upload.ok[5s])", 5.0),
        ("sum(rate(photo.upload.ok[5s]))", 1.0),
        ("avg_over_time(photo.upload.ok[5s])", 0.5),
        ("count_over_time(photo.upload.ok[5s])", 10.0),
        ("sum_over_time(photo.upload.ok[2s])", 2.0),
        ("max_over_time(photo.upload.ok[5s])", 1.0),
        ("min_over_time(photo.upload.ok[5s])", 0.0),
        ("last_over_time(photo.upload.ok[5s])", 0.0),
    ] {
        let found = answer(query).unwrap_or(f64::NAN);
        assert!((found - expected).abs() < 1e-12, "{query}: {found}");
    }
}

#[test]
fn a_budget_ends_a_query_that_reads_too_much() {
    let budget = Budget::new(3, 1 << 20);
    let expr = parse("photo.upload.ok[5s]").unwrap();
    assert!(instant(&uploads(), &expr, 5000, Options::default(), &budget).is_err());
    let budget = Budget::new(1_000_000, 1 << 16);
    let expr = parse("max_over_time(photo.upload.ok[1h:10ms])").unwrap();
    assert!(instant(&uploads(), &expr, 5000, Options::default(), &budget).is_err());
    let budget = Budget::new(1000, 1 << 20);
    let expr = parse("sum_over_time(vector(1)[100y:1ms])").unwrap();
    assert!(instant(&uploads(), &expr, 5000, Options::default(), &budget).is_err());
}

#[test]
fn the_deepest_query_is_evaluated_within_a_threads_stack() {
    let budget = Budget::new(100_000, 1 << 30);
    for query in [
        format!("photo.upload.ok{}", " + photo.upload.ok".repeat(hmsops_promql::DEPTH_MAX - 5)),
        format!("{}photo.upload.ok{}", "sum(".repeat(60), ")".repeat(60)),
    ] {
        let expr = parse(&query).unwrap();
        assert!(instant(&uploads(), &expr, 5000, Options::default(), &budget).is_ok());
    }
}

#[test]
fn far_times_and_lengths_are_answered_or_refused() {
    let year_2200 = 7_258_118_400_000;
    for at in [0, -1, year_2200, i64::MIN / 2, i64::MAX / 2] {
        for query in [
            "photo.upload.ok offset 290y",
            "photo.upload.ok offset -290y",
            "photo.upload.ok @ 9e15",
            "rate(photo.upload.ok[290y])",
            "sum_over_time(photo.upload.ok[1h:1m] @ -9e15)",
            "year(vector(time()))",
            "hour(vector(-1e300))",
            "predict_linear(photo.upload.ok[290y], 1e300)",
        ] {
            let budget = Budget::new(100_000, 1 << 24);
            let expr = parse(query).unwrap();
            let _ = instant(&uploads(), &expr, at, Options::default(), &budget);
        }
    }
}
