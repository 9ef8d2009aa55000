//! A gateway's settings and its program change under users who notice nothing.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::kit::{self, SHOP, Site};
use super::load::Load;
use super::nginx::{self, Build};

/// Limits change by SIGHUP: in force at once, without a connection or an answer lost; a file with a mistake changes
/// nothing.
#[test]
fn settings_are_read_again_and_no_request_fails() {
    let site = Site::shop();
    let (gateway, load) = (site.gateway, Load::start(site.gateway, 200));
    let process = site.gateway_pid();
    let set = |limits: &str| {
        nginx::put(
            &site.path("hmsops.yaml"),
            &format!("gateways: {{public: {{listen: \"{gateway}\"{limits}}}}}\n"),
        );
        site.hang_up();
    };
    let long = |n: usize| {
        let asked = super::http::post(gateway, "/", &[], &vec![b'x'; n]);
        asked.map(|answer| answer.status).unwrap_or_default()
    };
    for bytes in [1, 2, 4, 8] {
        set(&format!(", limits: {{body_max: {bytes} KiB}}"));
        let fits = (bytes << 10) - 1;
        site.wait("the new limit holds", 20, |_| (long(fits) != 413 && long(fits + 2) == 413).then_some(()));
    }
    set(", limits: {body_max: many}");
    site.wait("the mistake is told", 20, |site| {
        site.log().contains("settings: nothing is changed").then_some(())
    });
    assert_eq!(long(9 << 10), 413, "what was in force is still");
    let before = load.tally().sent;
    site.wait("users are served meanwhile", 20, |_| (load.tally().sent > before + 100).then_some(()));
    let tally = load.stop();
    assert_eq!((tally.failed, site.gateway_pid()), (0, process), "{:?}", tally.failures);
}

/// A program like ours that says another version of itself when a gateway greets its tower. The version stands in
/// the program as text; another of the same length takes its place.
fn of_another_version(site: &Site) -> PathBuf {
    let ours = env!("CARGO_PKG_VERSION");
    let theirs: String = ours.chars().map(|c| if c == '.' { '.' } else { '9' }).collect();
    let mut program = std::fs::read(env!("CARGO_BIN_EXE_hmsops")).unwrap();
    let mut places = 0;
    for at in 0..program.len() - ours.len() {
        if &program[at..at + ours.len()] == ours.as_bytes() {
            program[at..at + ours.len()].copy_from_slice(theirs.as_bytes());
            places += 1;
        }
    }
    assert!(places > 0, "{ours} does not stand in the program");
    let path = site.path("older/hmsops");
    put(&path, &program);
    path
}

#[expect(clippy::disallowed_methods, reason = "a test lays out what a person would have installed")]
fn put(path: &Path, program: &[u8]) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, program).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// A tower that is started anew with another version finds the gateway of the version before, replaces it by one of its
/// own, and no user notices.
#[test]
fn a_gateway_of_another_version_is_replaced_and_no_request_fails() {
    let mut site = Site::lay_out(SHOP);
    site.build("1.0", Build::GOOD);
    let older = of_another_version(&site);
    let mut command = Command::new(&older);
    let like = site.serve(&[]);
    command.args(like.get_args()).env_clear().current_dir(site.path("")).stdin(Stdio::null());
    command.envs(like.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut tower = command.spawn().unwrap();
    site.wait("1.0 is served", 30, |site| site.get("/").filter(|answer| answer.version() == Some("1.0")));
    let load = Load::start(site.gateway, 200);
    let before = site.gateway_pid();
    kit::send(tower.id(), rustix::process::Signal::TERM);
    tower.wait().unwrap();
    site.start();
    site.wait("the one before has ended", 60, |_| (!kit::runs(u64::from(before))).then_some(()));
    let after = site.gateway_pid();
    assert_ne!(after, before);
    assert!(site.log().contains("takes over"), "{}", site.log());
    let asked = load.tally().sent;
    site.wait("users are served meanwhile", 20, |_| (load.tally().sent > asked + 200).then_some(()));
    // What is deployed now goes through the one that took over.
    site.build("1.1", Build::GOOD);
    let file = site.release_file("1.1", "[{weight: 50}, {weight: 100}]", "1 s");
    site.done(&["deploy", "-f", &file]);
    site.wait("users have 1.1", 30, |_| (load.tally().of("1.1") > 20).then_some(()));
    let tally = load.stop();
    assert_eq!(tally.failed, 0, "{:?}", tally.failures);
}
