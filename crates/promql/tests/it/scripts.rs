//! The runner sees what is wrong: each of these evals must fail.

use hmsops_promql::script::run;

const SERIES: &str =
    "load 1m\n  a{x=\"1\"} 1+1x10\n  a{x=\"2\"} 2+2x10\n  h {{schema:0 sum:1 count:1 buckets:[1]}}x10\n\n";

#[test]
fn what_comes_out_otherwise_than_expected_fails() {
    for eval in [
        "eval instant at 5m a{x=\"1\"}\n  a{x=\"1\"} 7",
        "eval instant at 5m a{x=\"1\"}",
        "eval instant at 5m a{x=\"3\"}\n  a{x=\"3\"} 1",
        "eval instant at 5m a{x=\"1\"}\n  {x=\"1\"} 6",
        "eval instant at 5m 1 + 1\n  3",
        "eval instant at 5m a{x=\"1\"}\n  6",
        "eval instant at 5m a{x=\"1\"}\n  expect fail\n  a{x=\"1\"} 6",
        "eval instant at 5m a{x=\"1\"}\n  expect warn\n  a{x=\"1\"} 6",
        "eval instant at 5m a{x=\"1\"}\n  expect info\n  a{x=\"1\"} 6",
        "eval instant at 5m quantile(2, a{x=\"1\"})\n  expect no_warn\n  {} Inf",
        "eval instant at 5m quantile(2, a{x=\"1\"})\n  expect warn msg: something else\n  {} Inf",
        "eval instant at 5m sort(a)\n  expect ordered\n  a{x=\"2\"} 12\n  a{x=\"1\"} 6",
        "eval range from 0 to 2m step 1m a{x=\"1\"}\n  a{x=\"1\"} 1 2",
        "eval range from 0 to 2m step 1m a{x=\"1\"}\n  a{x=\"1\"} 1 2 4",
        "eval range from 0 to 2m step 1m a{x=\"1\"}\n  a{x=\"1\"} 1 2 3 4",
        "eval instant at 5m h\n  h {{schema:0 sum:1 count:2 buckets:[2]}}",
        "eval instant at 5m h\n  h {{schema:0 sum:1 count:1 buckets:[1] counter_reset_hint:gauge}}",
        "eval instant at 5m h\n  h 1",
        "eval instant at 5m no_function(a)",
        "eval instant at 5m a{x=\"1\"}\n  expect something\n  a{x=\"1\"} 6",
        "eval_loudly instant at 5m a",
        "eval sideways at 5m a",
    ] {
        let verdicts = run(&format!("{SERIES}{eval}\n"));
        assert!(verdicts.len() == 1 && verdicts[0].failure.is_some(), "{eval}");
    }
}

#[test]
fn what_comes_out_as_expected_passes() {
    for eval in [
        "eval instant at 5m a{x=\"1\"}\n  a{x=\"1\"} 6",
        "eval instant at 5m 1 + 1\n  2",
        "eval instant at 5m sum(a)\n  {} 18",
        "eval range from 0 to 2m step 1m a{x=\"1\"}\n  a{x=\"1\"} 1 2 3",
        "eval instant at 5m sort_desc(a)\n  expect ordered\n  a{x=\"2\"} 12\n  a{x=\"1\"} 6",
        "eval instant at 5m 2m:x{y=\"z\"}\n  expect fail",
        "eval instant at 5m quantile(2, a{x=\"1\"})\n  expect warn regex: got 2\n  {} Inf",
        "eval instant at 5m \"a\"\n  expect string \"a\"",
        "eval instant at 5m a{x=\"1\"}[2m]\n  expect range vector from 4m to 5m step 1m\n  a{x=\"1\"} 5 6",
    ] {
        let verdicts = run(&format!("{SERIES}{eval}\n"));
        let is_parse_failure = eval.contains("2m:x");
        assert!(verdicts.len() == 1 && verdicts[0].failure.is_none() != is_parse_failure, "{verdicts:?}");
    }
}

#[test]
fn a_load_that_is_not_understood_fails_what_follows() {
    for load in ["load 1m\n  a 1 2 nonsense\n", "load soon\n  a 1\n", "load 1m\n  a{ 1\n"] {
        assert!(run(&format!("{load}\neval instant at 0 1\n  1\n"))[0].failure.is_some(), "{load}");
    }
}

#[test]
fn our_own_scripts_pass_whole() {
    for text in [include_str!("../../testdata/operators.test"), include_str!("../../testdata/names.test")] {
        let failed: Vec<_> = run(text).into_iter().filter(|verdict| verdict.failure.is_some()).collect();
        assert!(failed.is_empty(), "{failed:#?}");
    }
}
