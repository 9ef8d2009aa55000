use std::collections::BTreeMap;
use std::time::Duration;

use hmsops_act::heal::{HealDriver, HealOrder, HealOutcome};
use tokio::time::timeout;

use crate::world::{PATIENCE, SHIM, World, eventually, kill, runs};

const LONG: Duration = Duration::from_hours(1);

/// A heal's world: its folder is the version's, so scripts leave their notes there.
struct Heals {
    world: World,
    driver: HealDriver,
}

impl Heals {
    fn new() -> Self {
        let world = World::new();
        let driver = HealDriver::new(world.root().join("heals"), SHIM.into());
        Self { world, driver }
    }

    /// As after a restart of the tower.
    fn another_driver(&self) -> HealDriver {
        HealDriver::new(self.world.root().join("heals"), SHIM.into())
    }

    fn order(&self, id: &str, script: &str, time_limit: Duration) -> HealOrder {
        HealOrder {
            id: id.into(),
            name: "restart dmv-photo".into(),
            argv: ["sh", "-c", script].map(str::to_owned).to_vec(),
            dir: self.world.image(),
            env: BTreeMap::new(),
            time_limit,
            grace: Duration::from_millis(200),
            output_bytes_max: HealOrder::OUTPUT_BYTES_DEFAULT,
        }
    }

    async fn run(&self, order: &HealOrder) -> HealOutcome {
        timeout(PATIENCE, self.driver.run(order)).await.expect("it ends in time").unwrap()
    }

    async fn shell(&self, id: &str, script: &str) -> HealOutcome {
        self.run(&self.order(id, script, LONG)).await
    }

    fn folder(&self, id: &str) -> std::path::PathBuf {
        self.world.root().join("heals").join(id)
    }

    fn state(&self, id: &str) -> Option<serde_json::Value> {
        serde_json::from_slice(&std::fs::read(self.folder(id).join("state.json")).ok()?).ok()
    }

    /// The pid of its shim once it runs.
    async fn shim_pid(&self, id: &str) -> u32 {
        let running = || self.state(id).filter(|state| state["phase"] == "running");
        let pid = eventually(running).await["shim"]["pid"].as_u64();
        u32::try_from(pid.unwrap()).unwrap()
    }

    async fn pids(&self, names: &[&str]) -> Vec<u32> {
        let mut pids = Vec::new();
        for name in names {
            pids.push(self.world.written(name).await.trim().parse().unwrap());
        }
        pids
    }
}

fn output(outcome: &HealOutcome) -> &str {
    match outcome {
        HealOutcome::Exited { output, .. }
        | HealOutcome::Signalled { output, .. }
        | HealOutcome::TimedOut { output, .. }
        | HealOutcome::Unseen { output } => output,
        HealOutcome::CannotStart { reason } => panic!("{reason}"),
    }
}

fn exited(outcome: &HealOutcome, expected: i32) {
    assert!(matches!(outcome, HealOutcome::Exited { code, .. } if *code == expected), "{outcome:?}");
}

#[tokio::test]
async fn a_heal_gets_what_its_order_says_and_nothing_of_the_tower_s() {
    let heals = Heals::new();
    let mut order = heals.order("h-1", "env; pwd; cat; echo bad >&2; exit 3", LONG);
    order.env.insert("HMS_SERVICE".into(), "dmv-photo".into());
    let outcome = heals.run(&order).await;
    exited(&outcome, 3);
    let text = output(&outcome);
    let folder = heals.world.image().display().to_string();
    for line in ["HMS_SERVICE=dmv-photo", "bad", &folder] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
    // Cargo sets many variables for this test, which stands for a tower with tokens in its environment. The last
    // four are the shell's own.
    let known = ["PATH", "HOME", "LANG", "TZ", "HMS_SERVICE", "HMS_RUN_DIR", "PWD", "OLDPWD", "SHLVL", "_"];
    let names = text.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name);
    assert_eq!(names.filter(|name| !known.contains(name)).collect::<Vec<_>>(), Vec::<&str>::new());
}

#[tokio::test]
async fn a_heal_that_was_run_before_is_not_run_again_and_tells_the_same() {
    let heals = Heals::new();
    let script = "echo run >> runs; echo done; exit 4";
    let order = heals.order("h-1", script, LONG);
    let another = heals.another_driver();
    let (a, b, c) = tokio::join!(heals.driver.run(&order), heals.driver.run(&order), another.run(&order));
    let first = a.unwrap();
    exited(&first, 4);
    assert_eq!(output(&first), "done\n");
    assert_eq!([b.unwrap(), c.unwrap(), heals.run(&order).await], [first.clone(), first.clone(), first]);
    assert_eq!(heals.world.written("runs").await, "run\n");
}

#[tokio::test]
async fn a_tower_that_comes_back_waits_for_the_heal_that_its_predecessor_started() {
    let heals = Heals::new();
    let script = "echo run >> runs; until [ -e go ]; do :; done; echo done";
    let order = heals.order("h-1", script, LONG);
    tokio::select! {
        outcome = heals.driver.run(&order) => panic!("{outcome:?}"),
        _ = heals.world.written("runs") => {}
    }
    let another = heals.another_driver();
    assert!(!another.forget("h-1").await.unwrap(), "it still runs");
    let run = tokio::spawn(async move { another.run(&order).await });
    std::fs::File::create(heals.world.image().join("go")).unwrap();
    let outcome = timeout(PATIENCE, run).await.unwrap().unwrap().unwrap();
    exited(&outcome, 0);
    assert_eq!(output(&outcome), "done\n");
    assert_eq!(heals.world.written("runs").await, "run\n");
}

/// One in the group that ignores SIGTERM, one in a session of its own, and one that has also lost its parents and
/// its environment. All hold the pipes.
const FAMILY: &str = r#"trap '' TERM
    (trap '' TERM; echo $$ > group.tmp; sh -c 'echo $PPID > group'; while :; do sleep 1000; done) &
    setsid sh -c 'trap "" TERM; echo $$ > session; while :; do sleep 1000; done' &
    (setsid env -i "PATH=$PATH" sh -c '(trap "" TERM; sh -c "echo \$PPID > orphan"; while :; do sleep 1000; done) &' &)
    until [ -s group ] && [ -s session ] && [ -s orphan ]; do :; done
    echo started
"#;

#[tokio::test]
async fn a_heal_that_ignores_sigterm_ends_at_its_time_limit_with_all_it_has_started() {
    let heals = Heals::new();
    let script = format!("{FAMILY} while :; do sleep 1000; done");
    let outcome = heals.run(&heals.order("h-1", &script, Duration::from_secs(1))).await;
    let HealOutcome::TimedOut { output, took, left_behind } = &outcome else { panic!("{outcome:?}") };
    assert_eq!((output.as_str(), left_behind), ("started\n", &false));
    assert!(*took >= Duration::from_millis(1200) && *took < Duration::from_secs(5), "{took:?}");
    for pid in heals.pids(&["group", "session", "orphan"]).await {
        assert!(!runs(pid), "{pid} is left");
    }
    assert_eq!(heals.run(&heals.order("h-1", &script, LONG)).await, outcome, "and that is remembered");
}

#[tokio::test]
async fn a_heal_that_ends_by_itself_leaves_nothing_behind() {
    let heals = Heals::new();
    let outcome = heals.shell("h-1", &format!("{FAMILY} exit 5")).await;
    exited(&outcome, 5);
    assert_eq!(output(&outcome), "started\n");
    for pid in heals.pids(&["group", "session", "orphan"]).await {
        assert!(!runs(pid), "{pid} is left");
    }
}

#[tokio::test]
async fn a_heal_that_forks_without_end_is_ended() {
    let heals = Heals::new();
    let script =
        "trap '' TERM; while :; do setsid sh -c 'sleep 1000' & echo $! >> pids; read x < /proc/loadavg; done";
    let outcome = heals.run(&heals.order("h-1", script, Duration::from_millis(500))).await;
    assert!(matches!(outcome, HealOutcome::TimedOut { left_behind: false, .. }), "{outcome:?}");
    let pids = std::fs::read_to_string(heals.world.image().join("pids")).unwrap();
    let left: Vec<&str> = pids.lines().filter(|pid| pid.parse().is_ok_and(runs)).collect();
    assert_eq!((left, pids.is_empty()), (vec![], false));
}

#[tokio::test]
async fn a_gigabyte_of_output_is_taken_and_its_ends_are_kept() {
    let heals = Heals::new();
    let script = "echo first; yes healing | head -c 1G; echo; echo last";
    let order = heals.order("h-1", script, LONG);
    let outcome = timeout(Duration::from_mins(2), heals.driver.run(&order)).await.unwrap().unwrap();
    exited(&outcome, 0);
    let text = output(&outcome);
    assert!(text.starts_with("first\nhealing\n") && text.ends_with("\nlast\n"), "{text}");
    let kept = usize::try_from(order.output_bytes_max).unwrap();
    assert!(text.len() < kept + 100 && text.len() > kept - 100, "{} bytes", text.len());
    let missing = text.lines().find_map(|line| line.strip_prefix('[')?.strip_suffix(" bytes left out]"));
    // 1 GiB, the three lines of ours, and the end of the line that `head` has cut.
    let printed = (1 << 30) + "first\n\nlast\n".len();
    let marker = format!("[{} bytes left out]\n", missing.unwrap());
    assert_eq!(missing.unwrap().parse::<usize>().unwrap() + text.len() - marker.len(), printed);
    let files = std::fs::read_dir(heals.folder("h-1")).unwrap();
    let bytes: u64 = files.map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes < 128 << 10, "{bytes} bytes");
}

#[tokio::test]
async fn output_without_end_ends_at_the_time_limit() {
    let heals = Heals::new();
    let outcome = heals.run(&heals.order("h-1", "yes; true", Duration::from_millis(500))).await;
    let HealOutcome::TimedOut { output, left_behind: false, .. } = &outcome else { panic!("{outcome:?}") };
    assert!(output.starts_with("y\ny\n") && output.contains(" bytes left out]\n"));
}

#[tokio::test]
async fn a_tower_that_comes_back_does_not_grant_the_time_again() {
    let heals = Heals::new();
    let script = "echo run >> runs; while :; do sleep 1000; done";
    let order = heals.order("h-1", script, Duration::from_millis(700));
    tokio::select! {
        outcome = heals.driver.run(&order) => panic!("{outcome:?}"),
        _ = heals.world.written("runs") => {}
    }
    // What is true of a heal was decided at its start.
    let outcome = timeout(PATIENCE, heals.another_driver().run(&heals.order("h-1", script, LONG))).await;
    let outcome = outcome.unwrap().unwrap();
    assert!(
        matches!(outcome, HealOutcome::TimedOut { took, .. } if took < Duration::from_secs(5)),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn the_time_limit_holds_without_a_tower() {
    let heals = Heals::new();
    let script = "echo $$ > own; while :; do sleep 1000; done";
    let order = heals.order("h-1", script, Duration::from_millis(500));
    tokio::select! {
        outcome = heals.driver.run(&order) => panic!("{outcome:?}"),
        _ = heals.world.written("own") => {}
    }
    let own = heals.pids(&["own"]).await[0];
    eventually(|| (!runs(own)).then_some(())).await;
    let outcome = heals.run(&order).await;
    assert!(matches!(outcome, HealOutcome::TimedOut { left_behind: false, .. }), "{outcome:?}");
}

#[tokio::test]
async fn the_time_limit_holds_without_a_shim() {
    let heals = Heals::new();
    let script = "trap '' TERM; setsid sh -c 'echo $$ > session; sleep 1000' & echo $$ > own; while :; do sleep 1000; done";
    let order = heals.order("h-1", script, Duration::from_secs(2));
    let run = heals.run(&order);
    let killed = async {
        kill(heals.shim_pid("h-1").await, "KILL");
        heals.pids(&["own", "session"]).await
    };
    let (outcome, pids) = tokio::join!(run, killed);
    let HealOutcome::TimedOut { took, left_behind: false, .. } = outcome else { panic!("{outcome:?}") };
    assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(8), "{took:?}");
    assert!(!pids.into_iter().any(runs));
    assert_eq!(heals.run(&order).await, outcome, "it is remembered why");
}

#[tokio::test]
async fn a_shim_that_does_nothing_does_not_keep_a_heal_alive() {
    let heals = Heals::new();
    let script = format!("{FAMILY} echo $$ > own; while :; do sleep 1000; done");
    let order = heals.order("h-1", &script, Duration::from_secs(1));
    let stopped = async {
        kill(heals.shim_pid("h-1").await, "STOP");
        heals.pids(&["own", "group", "session", "orphan"]).await
    };
    let (outcome, pids) = tokio::join!(heals.run(&order), stopped);
    assert!(matches!(outcome, HealOutcome::TimedOut { left_behind: false, .. }), "{outcome:?}");
    // A process whose parent is stopped stays as a zombie, which does not run.
    eventually(|| (!pids.iter().any(|pid| runs(*pid))).then_some(())).await;
}

#[tokio::test]
async fn a_heal_whose_shim_was_killed_may_end_unseen() {
    let heals = Heals::new();
    let script = "echo begun; setsid sleep 1000 & echo $! > rest; until [ -e go ]; do :; done";
    let order = heals.order("h-1", script, LONG);
    let killed = async {
        let rest = heals.pids(&["rest"]).await;
        kill(heals.shim_pid("h-1").await, "KILL");
        std::fs::File::create(heals.world.image().join("go")).unwrap();
        rest
    };
    let (outcome, rest) = tokio::join!(heals.run(&order), killed);
    assert!(matches!(outcome, HealOutcome::Unseen { .. }), "{outcome:?}");
    assert!(!runs(rest[0]), "what it left is ended all the same");
}

#[tokio::test]
async fn a_heal_that_perhaps_was_started_is_not_started_again() {
    let heals = Heals::new();
    let order = heals.order("h-1", "echo $$ >> runs; while :; do sleep 1000; done", LONG);
    tokio::select! {
        outcome = heals.driver.run(&order) => panic!("{outcome:?}"),
        _ = heals.world.written("runs") => {}
    }
    let own = heals.pids(&["runs"]).await[0];
    let shim = heals.shim_pid("h-1").await;
    kill(shim, "KILL");
    eventually(|| (!runs(shim)).then_some(())).await;
    // What is on the disk when a shim dies after starting the heal and before writing that down.
    let mut state = heals.state("h-1").unwrap();
    state["service"] = serde_json::Value::Null;
    state["phase"] = "starting".into();
    let mut file = std::fs::File::create(heals.folder("h-1").join("state.json")).unwrap();
    std::io::Write::write_all(&mut file, state.to_string().as_bytes()).unwrap();
    assert_eq!(heals.run(&order).await, HealOutcome::Unseen { output: String::new() });
    assert!(!runs(own));
    assert_eq!(heals.world.written("runs").await, format!("{own}\n"));
}

#[tokio::test]
async fn signals_and_what_cannot_start_are_told_apart() {
    let heals = Heals::new();
    let outcome = heals.shell("h-1", "echo bye; kill -s SEGV $$").await;
    assert!(matches!(outcome, HealOutcome::Signalled { signal: 11, .. }), "{outcome:?}");
    let mut order = heals.order("h-2", "", LONG);
    order.argv = vec!["./heal.sh".into()];
    let dir = heals.world.image().display().to_string();
    let reason = format!("cannot start heal `h-2` (restart dmv-photo): ./heal.sh: no such file in {dir}");
    assert_eq!(heals.run(&order).await, HealOutcome::CannotStart { reason });
    order.id = "h-3".into();
    order.dir = "/no/such/folder".into();
    let reason = "cannot start heal `h-3` (restart dmv-photo): folder /no/such/folder is missing".to_owned();
    assert_eq!(heals.run(&order).await, HealOutcome::CannotStart { reason });
    order.id = "../h-3".into();
    let reason = "`../h-3` is not a heal id: expected something like `h-7`".to_owned();
    assert_eq!(heals.run(&order).await, HealOutcome::CannotStart { reason });
    order.id = "h-4".into();
    order.argv = Vec::new();
    let reason = "cannot start heal `h-4` (restart dmv-photo): its command is empty".to_owned();
    assert_eq!(heals.run(&order).await, HealOutcome::CannotStart { reason });
}

#[tokio::test]
async fn an_ended_heal_can_be_forgotten_and_its_number_is_no_other_s_before() {
    let heals = Heals::new();
    exited(&heals.shell("h-1", "echo one").await, 0);
    assert_eq!(heals.driver.output("h-1", 100).await.unwrap(), "one\n");
    let mut other = heals.order("h-1", "echo two", LONG);
    other.name = "rollback dmv-photo".into();
    let error = heals.driver.run(&other).await.unwrap_err().to_string();
    assert!(error.contains("belongs to heal `h-1` (restart dmv-photo); remove it"), "{error}");
    assert!(heals.driver.forget("h-1").await.unwrap());
    assert!(!heals.folder("h-1").exists());
    assert!(heals.driver.forget("h-1").await.unwrap(), "forgetting twice is the same as once");
    assert_eq!(heals.driver.output("h-1", 100).await.unwrap(), "");
    assert_eq!(output(&heals.run(&other).await), "two\n");
}
