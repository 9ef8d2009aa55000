use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use super::*;

/// Serves HTTP on a free port; `answer` gets method, path and cookie of each request.
fn serve(answer: fn(&str, &str, &str) -> Option<u16>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || converse(stream.unwrap(), answer));
        }
    });
    address
}

fn converse(mut stream: TcpStream, answer: fn(&str, &str, &str) -> Option<u16>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let mut head = Vec::new();
        let mut line = String::new();
        while reader.read_line(&mut line).is_ok_and(|n| n > 0) && line != "\r\n" {
            head.push(std::mem::take(&mut line));
        }
        let Some(first) = head.first() else { return };
        let header =
            |name: &str| head.iter().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
        let length = header("Content-Length:").parse().unwrap_or(0);
        reader.read_exact(&mut vec![0; length]).unwrap();
        let words: Vec<&str> = first.split(' ').collect();
        match answer(words[0], words[1], header("Cookie:")) {
            Some(status) => {
                let served_by = "portal/1.7.3 (pid 7)";
                write!(
                    stream,
                    "HTTP/1.1 {status} X\r\nContent-Length: 2\r\nX-Served-By: {served_by}\r\n\r\nok"
                )
                .unwrap();
            }
            // Never answered: held until the client gives up.
            None => _ = reader.read(&mut [0]),
        }
    }
}

/// Runs a load until so many requests are sent.
fn run_until(plan: Plan, sent: u64) -> (Tally, Duration) {
    let load = Load::start(plan).unwrap();
    while load.tally().sent < sent {
        std::thread::yield_now();
    }
    let elapsed = load.elapsed();
    (load.stop(), elapsed)
}

#[test]
fn every_request_is_sent_in_time_and_counted_once() {
    let plan = Plan::new(serve(|_, _, _| Some(200)), 1000.0, 1);
    let (tally, elapsed) = run_until(plan, 1000);
    assert_eq!((tally.ok, tally.failed(), tally.unsent), (tally.sent, 0, 0));
    assert_eq!(tally.served_by, [("portal/1.7.3 (pid 7)".to_owned(), tally.sent)].into());
    // 1 000 Poisson arrivals at 1 000 a second take a second, give or take four standard deviations; a busy machine
    // may be late, and never early.
    assert!(elapsed.as_secs_f64() > 1.0 - 4.0 / 1000_f64.sqrt(), "{elapsed:?}");
    assert!(tally.line_since(&Tally::default()).ends_with(" · 0 failed · 1.7.3 100.0 %"));
}

#[test]
fn the_mix_is_seven_two_one_and_each_user_has_a_cookie() {
    let server = serve(|method, path, cookie| {
        let client = cookie.strip_prefix("session=client-").and_then(|client| client.parse::<u32>().ok());
        assert!(client.is_some_and(|client| client < 2000), "{cookie}");
        Some(match (method, path) {
            ("GET", "/") => 201,
            ("GET", "/ideas") => 404,
            ("POST", "/login") => 500,
            other => panic!("{other:?}"),
        })
    });
    let (tally, _) = run_until(Plan::new(server, 2000.0, 2), 2000);
    let share = |count: u64| count as f64 / tally.sent as f64;
    // Four standard errors of a share of 2 000 draws.
    for (count, expected) in [(tally.ok, 0.7), (tally.idempotent.count, 0.2), (tally.other.count, 0.1)] {
        assert!((share(count) - expected).abs() < 0.045, "{count} of {}", tally.sent);
    }
    assert_eq!(tally.idempotent.kinds.keys().collect::<Vec<_>>(), ["answered 404"]);
}

#[test]
fn a_request_that_waits_holds_up_no_other() {
    let server = serve(|method, _, _| (method == "GET").then_some(200));
    let timeout = Duration::from_millis(300);
    let (tally, _) = run_until(Plan { timeout, ..Plan::new(server, 1000.0, 3) }, 600);
    assert_eq!(tally.ok + tally.other.count, tally.sent);
    assert_eq!(tally.other.kinds.keys().collect::<Vec<_>>(), ["no answer in time"]);
    assert!(tally.other.count > 20, "{tally}");
    assert!(tally.latency(0.5).unwrap() < timeout / 2, "{tally}");
    assert!(tally.latency(0.99).unwrap() >= timeout, "{tally}");
}

#[test]
fn what_cannot_be_sent_is_counted_and_not_hidden() {
    let server = serve(|_, _, _| None);
    let plan = Plan { timeout: Duration::from_millis(300), workers_max: 3, ..Plan::new(server, 1000.0, 4) };
    let load = Load::start(plan).unwrap();
    while load.tally().unsent < 50 {
        std::thread::yield_now();
    }
    let tally = load.stop();
    assert_eq!(tally.ok, 0);
    assert_eq!(tally.failed(), tally.sent);
}

#[test]
fn a_server_that_is_not_there_is_a_failure_of_each_request() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (tally, _) = run_until(Plan::new(gone, 500.0, 5), 50);
    assert_eq!(tally.failed(), tally.sent);
    assert_eq!(tally.idempotent.kinds.keys().collect::<Vec<_>>(), ["connection refused"]);
}
