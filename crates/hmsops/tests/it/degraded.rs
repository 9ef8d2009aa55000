//! A disk that takes nothing any more under a tower that runs: full, and read-only. And the page that says what still
//! works names tests that exist.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::http;
use super::kit::{SHOP, Said, Site, is};
use super::load::Load;
use super::nginx::{self, Build};

/// Good until there is a file `bad` in the work folder.
const TURNS: Build =
    Build { users: "if (-f @WORK@/bad) { return 500 sorry; } return 200 hello;", ..Build::GOOD };

/// Room for the spill, the ledger and some metrics.
const BYTES: u64 = 96 << 20;

/// A file system of a tower's own. Dropped, it is taken away from under those who still use it.
struct Volume {
    at: PathBuf,
}

impl Volume {
    /// Puts one in the place of the data folder. `None`: nobody here may mount, which is said.
    fn mount(site: &Site) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            // LIMIT: one line of a test.
            let _unheard = writeln!(std::io::stderr(), "skipped: only root can mount a file system");
            return None;
        }
        let (at, image) = (site.path("data"), site.path("image"));
        fs::create_dir_all(&at).unwrap();
        File::create(&image).unwrap().set_len(BYTES).unwrap();
        run(Command::new("mkfs.ext4").arg("-q").arg("-F").arg(&image));
        run(Command::new("mount").args(["-o", "loop,errors=remount-ro"]).arg(&image).arg(&at));
        fs::remove_dir(at.join("lost+found")).unwrap();
        Some(Self { at })
    }

    /// Takes all the room there is.
    fn fill(&self) {
        let mut file = File::create(self.at.join("filler")).unwrap();
        let block = vec![1_u8; 1 << 16];
        for len in [block.len(), 4096, 1] {
            while file.write_all(&block[..len]).is_ok() {}
        }
        file.sync_all().unwrap();
    }

    fn make_room(&self) {
        fs::remove_file(self.at.join("filler")).unwrap();
    }

    /// As the kernel does when it meets an error of the file system: from now on it takes no writes, also of those who
    /// have files open.
    fn make_read_only(&self) {
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        let own = mounts.lines().find(|line| line.split(' ').nth(1) == self.at.to_str()).unwrap();
        let device = own.split(' ').next().unwrap().rsplit('/').next().unwrap();
        nginx::put(&Path::new("/sys/fs/ext4").join(device).join("trigger_fs_error"), "1");
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _gone = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

fn run(command: &mut Command) {
    let said = Said::from(command.output().unwrap());
    assert_eq!(said.code, Some(0), "{command:?}: {said:?}");
}

/// A shop whose 1.1 has a quarter of its users, and would have more in a few seconds. Answers the text of a token, too.
fn site_with_canary() -> Option<(Site, Volume, String)> {
    let mut site = Site::lay_out(SHOP);
    let volume = Volume::mount(&site)?;
    site.open_shop();
    let made = site.json(&["token", "create", "--scope", "state:read", "--reason", "a test"]);
    site.build("1.1", TURNS);
    let steps = "[{weight: 25, for: 6s}, {weight: 50, for: 6s}, {weight: 100}]";
    site.done(&["deploy", "-f", &site.release_file("1.1", steps, "2s")]);
    site.wait_for_weight("r-1", 2500);
    site.wait("the tower's own metrics", 30, |site| {
        site.done(&["query", "hmsops_services"]).contains('1').then_some(())
    });
    Some((site, volume, made["text"].as_str().unwrap().to_owned()))
}

/// The status of an answer to who shows this token.
fn status(site: &Site, token: &str) -> u16 {
    http::get(site.at, "/hms/v1/services", &[format!("authorization: Bearer {token}")]).unwrap().status
}

/// What holds while the disk takes nothing, whatever is the matter with it.
fn check_degraded(site: &Site, token: &str) {
    site.wait("the tower says that it records nothing", 30, |site| {
        http::get(site.at, "/-/ready", &[]).ok().filter(|answer| answer.status == 503)
    });
    // The last block of a file may have had room for a line or two.
    let weight = |site: &Site| site.json(&["release", "show", "r-1"])["weight_bp"].clone();
    let before = weight(site);
    let refused = site.run(&["release", "promote", "r-1", "--reason", "a test"]);
    assert_ne!(refused.code, Some(0), "{refused:?}");
    assert_eq!(weight(site), before, "nothing advances");
    assert!(before.as_u64().is_some_and(|weight| weight < 10_000), "{before}");
    let refused = site.run(&["token", "create", "--scope", "state:read", "--reason", "a test"]);
    assert_ne!(refused.code, Some(0), "{refused:?}");
    let said = site.run(&["doctor"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.out.contains("recording: the ledger takes nothing"), "{said:?}");
    assert!(site.done(&["query", "hmsops_services"]).contains('1'), "what was stored is read");
    let admin = [format!("authorization: Bearer {}", site.token()), "accept: text/html".to_owned()];
    let page = http::get(site.at, "/", &admin).unwrap();
    assert!(page.status == 200 && page.body.contains("The ledger takes nothing"), "{page:?}");

    assert_eq!(status(site, token), 200);
    site.run(&["token", "revoke", "k-1", "--reason", "lost"]);
    assert_eq!(status(site, token), 401, "a token that is revoked lets nobody in");

    nginx::put(&site.path("work/bad"), "");
    site.release("r-1", "taken back", 30, is("rolled-back"));
    let good = |site: &Site| site.get("/").filter(|answer| answer.version() == Some("1.0"));
    for _ in 0..20 {
        assert!(good(site).is_some(), "users have the old version");
    }
}

#[test]
fn on_a_full_disk_nothing_advances_and_a_bad_canary_goes() {
    let Some((site, volume, token)) = site_with_canary() else { return };
    let load = Load::start(site.gateway, 100);
    volume.fill();
    check_degraded(&site, &token);
    volume.make_room();
    site.wait("the tower records again", 60, |site| {
        http::get(site.at, "/-/ready", &[]).ok().filter(|answer| answer.status == 200)
    });
    let tally = load.stop();
    assert_eq!(tally.failed, 0, "{:?}", tally.failures);
    assert!(site.done(&["audit", "verify"]).starts_with("whole: "));
    for kind in ["release.taken-back", "token.revoked"] {
        let kept = site.json(&["audit", "list", "--kind", kind]);
        assert_eq!(kept["entries"].as_array().map(Vec::len), Some(1), "{kind}: {kept}");
    }
    assert_eq!(status(&site, &token), 401);
}

#[test]
fn on_a_read_only_disk_nothing_advances_and_a_bad_canary_goes() {
    let Some((mut site, volume, token)) = site_with_canary() else { return };
    let load = Load::start(site.gateway, 100);
    volume.make_read_only();
    check_degraded(&site, &token);
    let emitted = site.run(&["metric", "emit", "photo.upload.ok", "1"]);
    assert_ne!(emitted.code, Some(0), "what no disk has is not taken: {emitted:?}");
    let tally = load.stop();
    assert_eq!(tally.failed, 0, "{:?}", tally.failures);

    // A tower does not start there, and says why; what was recorded can be read, and users do not notice.
    site.kill_tower();
    let data = site.path("data").display().to_string();
    assert!(site.done(&["audit", "verify", "--data", &data]).starts_with("whole: "));
    let said = site.run(&["doctor", "--data", &data]);
    assert!(said.code == Some(1) && said.out.contains("takes no writes"), "{said:?}");
    let said = Said::from(site.serve(&[]).output().unwrap());
    assert!(said.code == Some(1) && said.err.contains("Read-only file system"), "{said:?}");
    assert_eq!(site.get("/").unwrap().version(), Some("1.0"));
}

/// Every line of the page says how it is known, and what it names is a test.
#[test]
fn the_page_of_what_still_works_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = fs::read_to_string(root.join("docs/reference/degradation.md")).unwrap();
    let mut tests = BTreeSet::new();
    collect(&root.join("crates"), &mut tests);
    assert!(tests.len() > 500, "{}", tests.len());
    let rows: Vec<&str> =
        page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| What")).collect();
    assert!(rows.len() > 40, "{} lines", rows.len());
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [_, then, shown] = cells.as_slice() else { panic!("three cells: {row}") };
        assert!(!then.is_empty(), "{row}");
        let named: Vec<&str> = shown.split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "nothing shows it: {row}");
        for name in named {
            assert!(tests.contains(name), "there is no test `{name}`: {row}");
        }
    }
}

/// The names of all tests below a folder.
fn collect(dir: &Path, tests: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, tests);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let mut is_test = false;
            for line in text.lines().map(str::trim) {
                let name = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
                match name.and_then(|rest| rest.split('(').next()) {
                    Some(name) if std::mem::take(&mut is_test) => {
                        tests.insert(name.to_owned());
                    }
                    _ => {
                        is_test |= matches!(line, "#[test]" | "#[tokio::test]")
                            || line.starts_with("#[tokio::test(");
                    }
                }
            }
        }
    }
}
