use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use hmsops_act::process::{ProcessDriver, StartSpec, Started, Status, run_folder};
use hmsops_act::shim::Exit;
use hmsops_model::{Millis, Secret};
use tokio::time::timeout;

use crate::world::{PATIENCE, SHIM, World, eventually, instance, kill, running_pid, runs};

#[tokio::test]
async fn a_service_gets_its_ports_and_environment_and_nothing_of_the_tower_s() {
    let world = World::new();
    let mut spec =
        world.spec(1, &["sh", "-c", "{ echo $0 $1; env; pwd; } > it.tmp; mv it.tmp it; exec sleep 1000"]);
    spec.run.extend(["--port={port}".to_owned(), "{port:metrics}".to_owned()]);
    spec.env.insert("UPSTREAM".into(), "http://127.0.0.1:{port}/".into());
    let started = world.start(spec).await.unwrap();
    assert!(!started.adopted);
    let text = world.written("it").await;
    let (http, metrics) = (started.ports["http"], started.ports["metrics"]);
    assert_ne!(http, metrics);
    for line in [
        &format!("--port={http} {metrics}"),
        &format!("PORT={http}"),
        &format!("METRICS_PORT={metrics}"),
        &format!("UPSTREAM=http://127.0.0.1:{http}/"),
        "HMS_SERVICE=csac-portal",
        "HMS_VERSION=1.8.0",
        &world.image().display().to_string(),
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
    // Cargo sets many variables for this test, which stands for a tower with tokens in its environment. The last
    // four are the shell's own.
    let known =
        ["PATH", "HOME", "LANG", "TZ", "PORT", "METRICS_PORT", "UPSTREAM", "PWD", "OLDPWD", "SHLVL", "_"];
    let names = text.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name);
    let passed_on: Vec<&str> = names
        .filter(|name| !known.contains(name) && !name.starts_with("HMS_") && !name.starts_with("--"))
        .collect();
    assert_eq!(passed_on, Vec::<&str>::new());
    assert_eq!(world.stop(1).await, Some(Exit::Signal(15)));
    assert!(!runs(started.pid));
    assert_eq!(world.stop(1).await, Some(Exit::Signal(15)), "stopping twice is the same as once");
    assert_eq!(world.stop(99).await, None, "and what never ran is stopped");
}

/// A secret is in the environment of its service, as it is, and lies on no disk.
#[tokio::test]
async fn a_secret_reaches_its_service_and_no_file() {
    let world = World::new();
    let secrets = [("DB_PASSWORD".to_owned(), Secret::new("hunter2-{port}"))].into();
    let script = "echo ${#DB_PASSWORD} $(env | grep -c HMSOPS_SECRET) > it; exec sleep 1000";
    let started = world.start(StartSpec { secrets, ..world.shell(1, script) }).await.unwrap();
    assert_eq!(world.written("it").await, "14 0\n");
    let mut files = 0;
    for entry in std::fs::read_dir(world.run_folder(1)).unwrap().flatten() {
        let bytes = std::fs::read(entry.path()).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&bytes).contains("hunter2"), "{entry:?}");
        files += 1;
    }
    assert!(files > 2, "{files}");
    world.stop(1).await;
    assert!(!runs(started.pid));
}

#[tokio::test]
async fn starting_twice_in_a_row_and_at_once_runs_one_process() {
    let world = World::new();
    let script = "echo started >> starts; exec sleep 1000";
    let another = world.another_driver();
    let (a, b, c) = tokio::join!(
        world.start(world.shell(1, script)),
        world.start(world.shell(1, script)),
        another.start(world.shell(1, script)),
    );
    let d = world.start(world.shell(1, script)).await.unwrap();
    let pids = [a.unwrap().pid, b.unwrap().pid, c.unwrap().pid, d.pid];
    assert_eq!(pids, [d.pid; 4]);
    assert!(d.adopted);
    // It has begun before it is told to stop, and nothing of another one comes after.
    assert_eq!(world.written("starts").await, "started\n");
    world.stop(1).await;
    assert_eq!(world.written("starts").await, "started\n");
}

#[tokio::test]
async fn a_new_driver_adopts_what_an_old_one_started() {
    let world = World::new();
    let started = world.start(world.shell(1, "exec sleep 1000")).await.unwrap();
    world
        .start(world.shell(2, "exit 3"))
        .await
        .map_or_else(|error| assert!(error.to_string().ends_with("`i-2` exited with code 3")), drop);
    assert_eq!(world.ended(2).await, Status::Exited(Exit::Code(3)));
    let driver = world.another_driver();
    let adopted = driver.adopt_all().await.unwrap();
    assert_eq!(adopted.unreadable, Vec::<String>::new());
    let found: Vec<_> = adopted.instances.iter().map(|(instance, status)| (instance.id.0, status)).collect();
    let running = Status::Running { pid: started.pid, ports: started.ports.clone() };
    assert_eq!(found, [(1, &running), (2, &Status::Exited(Exit::Code(3)))]);
    let again = driver.start(world.shell(1, "exec sleep 1000")).await.unwrap();
    assert_eq!(again, Started { adopted: true, ..started });
    assert_eq!(driver.stop(&instance(1)).await.unwrap(), Some(Exit::Signal(15)));
}

#[tokio::test]
async fn a_shim_survives_what_ends_its_tower() {
    let world = World::new();
    let started = world.start(world.shell(1, "exec sleep 1000")).await.unwrap();
    let shim = world.shim_pid(1);
    for signal in ["TERM", "INT", "HUP", "QUIT"] {
        kill(shim, signal);
    }
    // It answers after all of them, so it has got them.
    assert_eq!(running_pid(&world.driver.status(&instance(1)).await.unwrap()), started.pid);
    assert!(runs(shim));
    let stat = std::fs::read_to_string(format!("/proc/{shim}/stat")).unwrap();
    let session = stat.rsplit_once(") ").unwrap().1.split(' ').nth(3).unwrap().to_owned();
    assert_eq!(session, shim.to_string(), "no terminal of the tower's reaches it");
    assert_eq!(world.stop(1).await, Some(Exit::Signal(15)), "signals are not ignored in the service");
    eventually(|| (!runs(shim)).then_some(())).await;
}

#[tokio::test]
async fn what_ran_and_ended_is_not_started_again_under_its_id() {
    let world = World::new();
    let _ = world.start(world.shell(1, "echo run >> runs; echo no database >&2; exit 7")).await;
    assert_eq!(world.ended(1).await, Status::Exited(Exit::Code(7)));
    let error = world.start(world.shell(1, "echo run >> runs; exit 7")).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot start csac-portal 1.8.0: `i-1` exited with code 7");
    assert_eq!(world.written("runs").await, "run\n");
    assert_eq!(world.driver.tail(&instance(1), 1000).await.unwrap(), "no database\n");
}

#[tokio::test]
async fn a_service_that_ignores_sigterm_is_killed_with_all_its_descendants() {
    let world = World::new();
    // One in the group, one in a group and session of its own whose parent has gone.
    let script = "trap '' TERM
        (trap '' TERM; sleep 1000 & echo $! > inside; wait) &
        (setsid sh -c 'trap \"\" TERM; echo $$ > outside; while :; do sleep 1000; done' &)
        while :; do sleep 1000; done";
    let mut spec = world.shell(1, script);
    // Nothing ends before its grace is over, so a shorter one makes a quicker test and nothing else.
    spec.stop_grace = Millis(100);
    let started = world.start(spec).await.unwrap();
    let pids: Vec<u32> = [world.written("inside").await, world.written("outside").await]
        .iter()
        .map(|text| text.trim().parse().unwrap())
        .collect();
    assert!(pids.iter().all(|pid| runs(*pid)));
    assert_eq!(world.stop(1).await, Some(Exit::Signal(9)));
    assert!(!runs(started.pid) && !pids.iter().any(|pid| runs(*pid)));
}

#[tokio::test]
async fn a_grandchild_that_holds_the_output_does_not_hang_us_and_is_ended() {
    let world = World::new();
    let script = "setsid sh -c 'trap \"\" TERM; echo $$ > grandchild; while :; do sleep 1000; done' &
        while [ ! -s grandchild ]; do :; done; echo bye; exit 4";
    let _ = world.start(world.shell(1, script)).await;
    assert_eq!(world.ended(1).await, Status::Exited(Exit::Code(4)));
    assert_eq!(world.driver.tail(&instance(1), 100).await.unwrap(), "bye\n");
    let grandchild = world.written("grandchild").await.trim().parse().unwrap();
    assert_eq!(world.stop(1).await, Some(Exit::Code(4)));
    assert!(!runs(grandchild));
}

#[tokio::test]
async fn a_service_that_prints_a_gigabyte_neither_waits_nor_fills_the_disk() {
    let world = World::new();
    let script = "echo first; head -c 1000000000 /dev/zero | tr '\\0' 'x'; echo; echo last; exit 0";
    let _ = world.start(world.shell(1, script)).await;
    let status = timeout(Duration::from_mins(2), world.driver.watch(&instance(1))).await.unwrap().unwrap();
    assert_eq!(status, Status::Exited(Exit::Code(0)));
    let sizes = std::fs::read_dir(world.run_folder(1)).unwrap();
    let bytes: u64 = sizes.map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes < 4 << 20, "{bytes} bytes");
    let head = std::fs::read(world.run_folder(1).join("out.head.log")).unwrap();
    assert!(head.starts_with(b"first\n"));
    assert_eq!(world.driver.tail(&instance(1), 10).await.unwrap(), "last\n");
}

#[tokio::test]
async fn what_cannot_be_started_is_said_in_one_line() {
    let world = World::new();
    let put = |name: &str, text: &str, mode: u32| {
        std::io::Write::write_all(
            &mut std::fs::File::create(world.image().join(name)).unwrap(),
            text.as_bytes(),
        )
        .unwrap();
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(world.image().join(name), mode).unwrap();
    };
    put("plain", "text", 0o644);
    put("text", "text", 0o755);
    put("script", "#!/no/such/interpreter\n", 0o755);
    let mut id = 0;
    for (program, expected) in [
        ("./portal", "./portal: no such file in DIR"),
        ("no-such-command", "no-such-command: no such command in PATH"),
        ("./plain", "./plain: not executable in DIR; use chmod +x"),
        ("./text", "./text: neither a program for this machine nor a script with a #! line"),
        ("./script", "./script: the interpreter that its first line names is missing"),
        ("a\0b", "`a\\0b` contains a zero byte"),
        ("{port:admin}", "`{port:admin}` asks for port `admin`, its ports are: `http`, `metrics`"),
    ] {
        id += 1;
        let error = world.start(world.spec(id, &[program])).await.unwrap_err().to_string();
        let dir = world.image().display().to_string();
        assert_eq!(error.replace(&dir, "DIR"), format!("cannot start csac-portal 1.8.0: {expected}"));
    }
    let again = world.start(world.spec(1, &["./portal"])).await.unwrap_err().to_string();
    assert!(
        again.ends_with("no such file in ".to_owned().as_str()) || again.contains("./portal: no such file")
    );
    let failed = world.driver.status(&instance(1)).await.unwrap();
    assert!(matches!(failed, Status::Failed(_)) && failed.is_final());
}

#[tokio::test]
async fn a_missing_version_folder_names_those_that_are_there() {
    let world = World::new();
    std::fs::create_dir(world.folder.path().join("srv/1.7.3")).unwrap();
    let mut spec = world.shell(1, "exec sleep 1000");
    spec.image_dir = world.folder.path().join("srv/1.9.0");
    let error = world.start(spec).await.unwrap_err().to_string();
    let srv = world.folder.path().join("srv").display().to_string();
    assert_eq!(
        error.replace(&srv, "/srv"),
        "cannot start csac-portal 1.8.0: version folder `/srv/1.9.0` is missing; there are 1.7.3, 1.8.0"
    );
    assert_eq!(world.driver.status(&instance(1)).await.unwrap(), Status::Absent);
}

#[tokio::test]
async fn a_fixed_port_that_is_taken_names_its_holder() {
    let world = World::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut spec = world.shell(1, "exec sleep 1000");
    spec.ports.insert("http".into(), Some(port));
    let error = world.start(spec.clone()).await.unwrap_err().to_string();
    let start = format!(
        "cannot start csac-portal 1.8.0: 127.0.0.1:{port} (port `http`) is taken by pid {} (",
        std::process::id()
    );
    assert!(error.starts_with(&start) && error.ends_with("); use `http: auto`"), "{error}");
    drop(listener);
    let started = world.start(spec).await.expect("the same id may be tried again: nothing had been started");
    assert_eq!(started.ports["http"], port);
    world.stop(1).await;
}

#[tokio::test]
async fn no_port_is_given_to_two_instances_that_live() {
    let world = World::new();
    let starts = (0..8).map(|id| world.start(world.shell(id, "exec sleep 1000")));
    let mut given = Vec::new();
    for start in starts {
        given.extend(start.await.unwrap().ports.into_values());
    }
    let distinct: std::collections::BTreeSet<u16> = given.iter().copied().collect();
    assert_eq!(distinct.len(), 16, "{given:?}");
    for id in 0..8 {
        world.stop(id).await;
    }
}

#[tokio::test]
async fn a_service_whose_shim_was_killed_is_still_known_and_can_be_stopped() {
    let world = World::new();
    let script = "(trap '' TERM; sleep 1000 & echo $! > inside; wait) & exec sleep 1000";
    let started = world.start(world.shell(1, script)).await.unwrap();
    let inside = world.written("inside").await.trim().parse().unwrap();
    let shim = world.shim_pid(1);
    kill(shim, "KILL");
    eventually(|| (!runs(shim)).then_some(())).await;
    assert_eq!(running_pid(&world.driver.status(&instance(1)).await.unwrap()), started.pid);
    let again = world.start(world.shell(1, script)).await.unwrap();
    assert_eq!((again.pid, again.adopted), (started.pid, true));
    assert_eq!(world.stop(1).await, Some(Exit::Unseen));
    assert!(!runs(started.pid) && !runs(inside));
    assert_eq!(world.ended(1).await, Status::Exited(Exit::Unseen));
}

#[tokio::test]
async fn the_end_of_a_service_is_seen_without_its_shim_too() {
    let world = World::new();
    let started = world.start(world.shell(1, "exec sleep 1000")).await.unwrap();
    kill(world.shim_pid(1), "KILL");
    let watched = world.another_driver();
    let watch = tokio::spawn(async move { watched.watch(&instance(1)).await.unwrap() });
    kill(started.pid, "KILL");
    assert_eq!(timeout(PATIENCE, watch).await.unwrap().unwrap(), Status::Exited(Exit::Unseen));
}

#[tokio::test]
async fn a_disk_that_refuses_the_state_hinders_neither_stopping_nor_knowing() {
    let world = World::new();
    let started = world.start(world.shell(1, "exec sleep 1000")).await.unwrap();
    let shim = world.shim_pid(1);
    // A folder in the way of the file that replaces the state: no write of it succeeds, as on a full disk.
    let in_the_way = world.run_folder(1).join("state.json.tmp");
    std::fs::create_dir(&in_the_way).unwrap();
    assert_eq!(world.stop(1).await, Some(Exit::Signal(15)));
    assert!(!runs(started.pid));
    assert_eq!(world.state(1)["phase"], "running", "the disk still has the old state");
    let known = world.driver.status(&instance(1)).await.unwrap();
    assert_eq!(known, Status::Exited(Exit::Signal(15)));
    std::fs::remove_dir(&in_the_way).unwrap();
    eventually(|| (!runs(shim)).then_some(())).await;
    assert_eq!(world.state(1)["phase"], "exited", "it was written before the shim went");
}

#[tokio::test]
async fn watchers_that_go_away_leave_nothing_behind_in_the_shim() {
    let world = World::new();
    let started = world.start(world.shell(1, "exec sleep 1000")).await.unwrap();
    let shim = world.shim_pid(1);
    let threads = || std::fs::read_dir(format!("/proc/{shim}/task")).unwrap().count();
    let before = threads();
    for _ in 0..5 {
        let watches: Vec<_> = (0..20)
            .map(|_| {
                let driver = world.another_driver();
                tokio::spawn(async move { driver.watch(&instance(1)).await })
            })
            .collect();
        eventually(|| (threads() >= before + 20).then_some(())).await;
        watches.iter().for_each(tokio::task::JoinHandle::abort);
        eventually(|| (threads() <= before).then_some(())).await;
    }
    assert_eq!(world.stop(1).await, Some(Exit::Signal(15)), "through the shim");
    assert!(!runs(started.pid));
}

#[tokio::test]
async fn a_tower_killed_between_telling_and_starting_starts_it_later() {
    let world = World::new();
    // The spec of another id, moved: what a tower leaves that was killed before its shim ran.
    world.start(world.shell(1, "exec sleep 1000")).await.unwrap();
    world.stop(1).await;
    for id in [2, 3] {
        std::fs::create_dir_all(world.run_folder(id)).unwrap();
        let text = std::fs::read_to_string(world.run_folder(1).join("spec.json")).unwrap();
        let text = text.replace("\"i-1\"", &format!("\"i-{id}\""));
        let mut file = std::fs::File::create(world.run_folder(id).join("spec.json")).unwrap();
        std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    }
    assert_eq!(world.driver.status(&instance(2)).await.unwrap(), Status::Starting);
    let started = world.start(world.shell(2, "exec sleep 1000")).await.unwrap();
    assert!(!started.adopted && runs(started.pid));
    world.stop(2).await;
    // Or it is stopped instead: then a shim that comes late must not start it.
    assert_eq!(world.stop(3).await, None);
    let late = tokio::process::Command::new(SHIM).arg("shim").arg("--dir").arg(world.run_folder(3)).status();
    assert!(timeout(PATIENCE, late).await.unwrap().unwrap().success());
    let status = world.driver.status(&instance(3)).await.unwrap();
    assert_eq!(status, Status::Failed("it was stopped before it was started".into()));
}

#[tokio::test]
async fn a_shim_killed_before_it_noted_the_pid_leaves_no_second_process() {
    let world = World::new();
    let first = world.start(world.shell(1, "echo run >> runs; exec sleep 1000")).await.unwrap();
    let shim = world.shim_pid(1);
    kill(shim, "KILL");
    eventually(|| (!runs(shim)).then_some(())).await;
    // What is on the disk when a shim dies after starting the service and before writing that down.
    let mut state = world.state(1);
    state["service"] = serde_json::Value::Null;
    state["phase"] = "starting".into();
    let mut file = std::fs::File::create(world.run_folder(1).join("state.json")).unwrap();
    std::io::Write::write_all(&mut file, state.to_string().as_bytes()).unwrap();
    let second = world.start(world.shell(1, "echo run >> runs; exec sleep 1000")).await.unwrap();
    assert_ne!(first.pid, second.pid);
    assert!(!runs(first.pid) && runs(second.pid));
    world.stop(1).await;
}

#[tokio::test]
async fn a_run_folder_with_a_very_long_path_works() {
    let mut world = World::new();
    let long = world.folder.path().join("x".repeat(100)).join("run");
    world.driver = ProcessDriver::new(long.clone(), SHIM.into());
    let started = world.start(world.shell(1, "exec sleep 1000")).await.unwrap();
    let shim = run_folder(&long, &instance(1));
    let mode = std::fs::metadata(shim.join("shim.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(std::fs::metadata(&shim).unwrap().permissions().mode() & 0o777, 0o700);
    // Through the socket: a stop by hand would not know how it ended.
    assert_eq!(world.stop(1).await, Some(Exit::Signal(15)));
    assert!(!runs(started.pid));
}

#[tokio::test]
async fn folders_of_the_last_ten_that_ended_are_kept_and_those_that_live() {
    let world = World::new();
    world.start(world.shell(1, "exec sleep 1000")).await.unwrap();
    for id in 2..=14 {
        let _ = world.start(world.shell(id, "exit 0")).await;
        world.ended(id).await;
        world.stop(id).await;
        let shim = world.shim_pid(id);
        eventually(|| (!runs(shim)).then_some(())).await;
    }
    let service = instance(1).service;
    assert_eq!(world.driver.forget(&service).await.unwrap(), 3);
    let kept: Vec<u64> = (1..=14).filter(|id| world.run_folder(*id).exists()).collect();
    assert_eq!(kept, [1, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]);
    assert_eq!(world.driver.forget(&service).await.unwrap(), 0);
    world.stop(1).await;
}

#[tokio::test]
async fn a_damaged_folder_is_reported_and_left_alone() {
    let world = World::new();
    world.start(world.shell(1, "exec sleep 1000")).await.unwrap();
    world.stop(1).await;
    let folder: &Path = &world.run_folder(2);
    std::fs::create_dir_all(folder).unwrap();
    let mut file = std::fs::File::create(folder.join("spec.json")).unwrap();
    std::io::Write::write_all(&mut file, b"{\"format\":1,").unwrap();
    let adopted = world.driver.adopt_all().await.unwrap();
    assert_eq!(adopted.instances.len(), 1);
    assert_eq!(adopted.unreadable.len(), 1);
    assert!(adopted.unreadable[0].contains("spec.json"), "{:?}", adopted.unreadable);
    let error = world.start(world.shell(3, "exec sleep 1000")).await;
    assert!(error.is_ok(), "others start all the same");
    world.stop(3).await;
}
