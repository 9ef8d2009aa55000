//! What is wrong is said in one line with its remedy, and what runs goes on untouched.

use std::net::TcpListener;

use super::kit::{SHOP, Said, Site, free_port, runs};
use super::load::Load;
use super::nginx::{self, Build};

/// One error and one hint, nothing on standard output.
fn refused(said: &Said, code: i32, error: &str, hint: &str) {
    assert_eq!((said.code, said.out.as_str()), (Some(code), ""), "{said:?}");
    let count = |label: &str| said.err.lines().filter(|line| line.starts_with(label)).count();
    assert_eq!((count("error: "), count("hint: ")), (1, 1), "{said:?}");
    assert!(said.err.contains(error) && said.err.contains(hint), "expected {error:?} and {hint:?}: {said:?}");
}

#[test]
fn a_taken_port_names_its_holder_and_the_flag() {
    let site = Site::lay_out(SHOP);
    let holder = TcpListener::bind(site.at).unwrap();
    let said: Said = site.serve(&[]).output().unwrap().into();
    let us = std::process::id();
    refused(&said, 1, &format!("error: {} is taken by pid {us} (", site.at), "`--listen 127.0.0.1:PORT`");
    drop(holder);
}

#[test]
fn a_taken_collectors_port_names_its_holder_and_the_flag() {
    let site = Site::lay_out(SHOP);
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = holder.local_addr().unwrap().to_string();
    let said: Said = site.serve(&["--grpc-listen", &at]).output().unwrap().into();
    let us = std::process::id();
    refused(&said, 1, &format!("error: {at} is taken by pid {us} ("), "`--grpc-listen 127.0.0.1:PORT`");
}

#[test]
fn a_taken_gateway_port_is_said_and_taken_once_it_is_free() {
    let mut site = Site::lay_out(SHOP);
    site.build("1.0", Build::GOOD);
    let holder = TcpListener::bind(site.gateway).unwrap();
    site.start();
    let (at, us) = (site.gateway, std::process::id());
    let line = site.wait("the log names the holder", 10, |site| {
        site.log()
            .lines()
            .find(|line| line.contains(&format!("{at} is taken by pid {us} (")))
            .map(str::to_owned)
    });
    assert!(line.contains("ERROR gateway public: "), "{line}");
    assert_eq!(site.log().matches("is taken by").count(), 1, "it is said once: {}", site.log());
    drop(holder);
    site.wait("1.0 is served", 20, |site| site.get("/").filter(|answer| answer.version() == Some("1.0")));
}

#[test]
fn a_second_tower_on_a_data_folder_is_refused() {
    let mut site = Site::shop();
    let other = free_port().to_string();
    let said: Said = site.serve(&["--listen", &other]).output().unwrap().into();
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{said:?}");
    let tower = site.processes().into_iter().find(|process| process.role == "serve").unwrap().pid;
    assert!(
        said.err.contains(&format!("is locked by process {tower}; stop it or use another data folder")),
        "{said:?}"
    );
    // The first one goes on.
    assert_eq!(site.done(&["service", "list"]).lines().count(), 2);
    site.stop_tower();
}

/// Versions that cannot run are said on one line; stable has all users and its process throughout.
#[test]
fn a_version_that_cannot_run_leaves_stable_untouched() {
    let site = Site::shop();
    let (stable, load) = (site.stable_pid(), Load::start(site.gateway, 50));
    let file = site.release_file("1.1", "[{weight: 50}, {weight: 100}]", "1s");
    let deploy = |image: &str| site.run(&["deploy", "-f", &file, "--image", image]);

    refused(&deploy("shop:1.1"), 3, "shop/1.1` is missing; there is 1.0\n", "hint: ");

    nginx::put(&site.path("shop/1.2/README"), "the program was forgotten");
    failed_to_start(&deploy("shop:1.2"), "./run: no such file in ");

    nginx::script(&site.path("shop/1.3/run"), "#!/bin/sh\necho no settings >&2\nexit 3\n");
    // Whether it is still there when it is first looked at is chance, so its end is waited for.
    let said = site.run(&["deploy", "-f", &file, "--image", "shop:1.3", "--wait"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.out.ends_with("\nFailed to start: shop 1.3 exited with code 3.\n"), "{said:?}");

    nginx::script(&site.path("shop/1.4/run"), "#!/not/there\n");
    failed_to_start(&deploy("shop:1.4"), "./run: the interpreter that its first line names is missing");

    for id in ["r-1", "r-2", "r-3"] {
        let release = site.release(id, "its end", 10, |release| release["closed"] == true);
        assert_eq!(
            (&release["phase"], &release["canary"]["requests"]),
            (&"failed".into(), &0.into()),
            "{release}"
        );
    }
    assert_eq!(site.stable_pid(), stable);
    let tally = load.stop();
    assert_eq!((tally.failed, tally.of("1.0")), (0, tally.sent), "{:?}", tally.failures);
}

fn failed_to_start(said: &Said, why: &str) {
    assert_eq!(said.code, Some(1), "{said:?}");
    let errors: Vec<_> = said.err.lines().filter(|line| line.starts_with("error: ")).collect();
    assert!(errors.len() == 1 && errors[0].contains(why), "expected {why:?}: {said:?}");
    assert!(errors[0].starts_with("error: Failed to start: "), "{said:?}");
    assert!(said.err.contains("hint: stable goes on untouched"), "{said:?}");
}

/// Requests that cannot be: nothing begins.
#[test]
fn a_deployment_that_cannot_be_is_refused_before_anything_begins() {
    let site = Site::shop();
    site.build("1.1", Build::GOOD);
    let (stable, load) = (site.stable_pid(), Load::start(site.gateway, 50));
    let file = site.release_file("1.1", "[{weight: 50}, {weight: 100}]", "1s");
    let text = std::fs::read_to_string(&file).unwrap();
    let broken = |name: &str, from: &str, to: &str| {
        let path = site.path(name);
        assert!(text.contains(from), "{from}");
        nginx::put(&path, &text.replace(from, to));
        path.display().to_string()
    };

    let unknown = broken("unknown.yaml", "service: shop\nimage: shop:", "service: shoe\nimage: shoe:");
    refused(
        &site.run(&["deploy", "-f", &unknown]),
        3,
        "error: there is no service `shoe`\n",
        "known: shop\n",
    );
    let said = site.run(&["deploy", "-f", &file, "--image", "shoe:1.1"]);
    refused(
        &said,
        2,
        "error: the image is `shoe`, the file's is `shop`\n",
        "hint: only the tag can be another\n",
    );
    let said = site.run(&["deploy", "-f", &file, "--image", "1.0"]);
    assert_eq!((said.code, said.out.as_str()), (Some(4), ""), "{said:?}");
    assert_eq!(said.err, "error: `shop` 1.0 is what runs already\n");

    for (name, from, to, place) in [
        ("over.yaml", "weight: 50", "weight: 101", "over.yaml:5:"),
        ("key.yaml", "healthChecks", "healthCheck", "key.yaml:6:1"),
        ("fails.yaml", "3 fails/60 s", "0 fails/0 s", "fails.yaml:8:"),
    ] {
        let said = site.run(&["deploy", "-f", &broken(name, from, to)]);
        refused(&said, 2, place, "hint: ");
    }
    let gone = site.path("gone.yaml").display().to_string();
    refused(&site.run(&["deploy", "-f", &gone]), 3, "error: there is no file `", "hint: ");

    assert_eq!(site.done(&["release", "list"]).lines().count(), 1, "nothing was begun");
    assert_eq!(site.stable_pid(), stable);
    let tally = load.stop();
    assert_eq!((tally.failed, tally.of("1.0")), (0, tally.sent), "{:?}", tally.failures);
}

/// A mistake that is saved while the tower runs changes nothing, and the log says where it is.
#[test]
fn a_mistake_in_services_is_said_and_changes_nothing() {
    let site = Site::shop();
    let (stable, load) = (site.stable_pid(), Load::start(site.gateway, 50));
    let before = site.json(&["service", "show", "shop"]);
    site.declare(&SHOP.replace("    stable:", "    owner: oncall@example.org\n    stabel:"));
    let file = site.path("repo/dev/cd/services.yaml").display().to_string();
    site.wait("the log says where", 10, |site| site.log().contains(&format!("{file}:11:5: ")).then_some(()));
    site.hang_up();
    site.wait("the log says so again", 10, |site| {
        (site.log().matches("has mistakes; nothing was changed").count() >= 2).then_some(())
    });
    let after = site.json(&["service", "show", "shop"]);
    for key in ["owner", "stable", "driver", "gateway"] {
        assert_eq!(before[key], after[key], "{key}");
    }
    site.declare(&SHOP.replace("    stable:", "    owner: oncall@example.org\n    stable:"));
    site.wait("the mended file holds", 10, |site| {
        (site.api("/hms/v1/services/shop")?["owner"] == "oncall@example.org").then_some(())
    });
    assert!(site.stable_pid() == stable && runs(stable));
    let tally = load.stop();
    assert_eq!((tally.failed, tally.of("1.0")), (0, tally.sent), "{:?}", tally.failures);
}

#[test]
fn a_wrong_token_is_refused_and_a_tower_that_is_gone_is_said() {
    let mut site = Site::lay_out("services: {}\n");
    site.start();
    refused(&site.run(&["service", "list", "--token", "hms_admin_nobody"]), 4, "error: ", "hint: ");
    let rights = site.run(&["service", "list"]);
    assert_eq!(rights.code, Some(0), "{rights:?}");
    site.stop_tower();
    let at = site.at;
    refused(
        &site.run(&["service", "list"]),
        5,
        &format!("error: cannot reach the tower at http://{at}: "),
        "hint: ",
    );
}
