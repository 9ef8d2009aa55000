//! The lab's folder: images, repository, settings, and the file a shell reads to know the lab.
//!
//! ```text
//! STATE/images/csac-portal/TAG   builds of the portal
//! STATE/images/dmv-photo/TAG     builds of the photo service
//! STATE/repo                     what the tower watches: dev/cd/…, ops/policies/…
//! STATE/data                     the tower's own
//! STATE/hmsops.yaml  tower.log   its settings and what it says
//! STATE/lab.json                 where everything is, for `hmsops lab env`
//! STATE/env                      shell exports: PATH HMSOPS_SERVER HMSOPS_TOKEN HMSOPS_ENDPOINT HMSOPS_LAB_STATE
//! STATE/pid  stop                the lab's process; made to end it
//! ```

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::Command;

use super::settings::Settings;
use super::text_of;
use crate::failure::{Failure, Trying as _};
use crate::{checkout, json};

/// The version of the portal that is good, and the one before it.
const GOOD_TAGS: [&str; 2] = ["1.7.2", "1.7.3"];
/// The version of the photo service that is proven, and yesterday's with its fault: it works until uploads fail.
const PHOTO_TAGS: [(&str, &str); 2] = [("1.3.9", "none"), ("1.4.0", "leak")];
/// Files of the lab that its repository takes as they are.
const FILES: [&str; 4] =
    ["dev/cd/canary.yaml", "dev/cd/canary-25.yaml", "dev/cd/photo.yaml", "ops/policies/rollback.yaml"];

/// Makes the folder ready for a tower; what an earlier lab left there goes, unless it is to be kept.
pub(crate) fn lay_out(settings: &Settings) -> Result<(), Failure> {
    let state = &settings.state;
    if let Some(pid) = owner(state) {
        return Err(Failure::new(format!("a lab runs in `{}` already (pid {pid})", state.display()))
            .hint("cargo xtask lab down, or another --state and --port-base"));
    }
    for part in ["images", "repo", "data"] {
        let folder = state.join(part);
        if folder.exists() && !settings.is_kept {
            std::fs::remove_dir_all(&folder).trying(format!("remove `{}`", folder.display()))?;
        }
    }
    make_folder(&state.join("repo/dev/cd"))?;
    make_folder(&state.join("repo/ops/policies"))?;
    make_folder(&state.join("data"))?;
    write(&state.join("pid"), &std::process::id().to_string())?;
    write(&state.join("tower.log"), "")?;
    let lab = checkout::root().join("lab");
    for file in FILES {
        copy(&lab.join(file), &state.join("repo").join(file), &[])?;
    }
    let (portal, photo) = (state.join("images/csac-portal"), state.join("images/dmv-photo"));
    copy(
        &lab.join("dev/cd/services.yaml"),
        &state.join("repo/dev/cd/services.yaml"),
        &[("/srv/csac-portal", &text_of(&portal)), ("/srv/dmv-photo", &text_of(&photo))],
    )?;
    let gateways = [settings.gateway.to_string(), settings.photo_gateway.to_string()];
    let replaced = [("127.0.0.1:8080", gateways[0].as_str()), ("127.0.0.1:8081", gateways[1].as_str())];
    copy(&lab.join("hmsops.yaml"), &state.join("hmsops.yaml"), &replaced)?;
    let portals = GOOD_TAGS.map(|tag| ("scripts/build_portal.sh", tag, "none", portal.join(tag)));
    let photos = PHOTO_TAGS.map(|(tag, fault)| ("scripts/build_photo.sh", tag, fault, photo.join(tag)));
    for (script, tag, fault, folder) in portals.into_iter().chain(photos) {
        if !folder.exists() {
            checkout::run(Command::new(lab.join(script)).arg(tag).arg(folder).arg(fault))?;
        }
    }
    Ok(())
}

/// Writes the file that `hmsops lab env` reads: where tower and gateways are, and the lab's folders.
pub(crate) fn write_json(settings: &Settings) -> Result<(), Failure> {
    let members = [
        ("server", format!("http://{}", settings.tower)),
        ("endpoint", settings.grpc.to_string()),
        ("gateway", format!("http://{}", settings.gateway)),
        ("photo_gateway", format!("http://{}", settings.photo_gateway)),
        ("data", text_of(&settings.state.join("data"))),
        ("repo", text_of(&settings.state.join("repo"))),
    ];
    let members = members.map(|(name, value)| format!("  \"{name}\": {}", json::quoted(&value)));
    write(&settings.state.join("lab.json"), &format!("{{\n{}\n}}\n", members.join(",\n")))
}

/// Writes the file that a shell reads to know the lab; it holds the admin token and is the owner's alone.
pub(crate) fn write_env(settings: &Settings, program: &Path, token: &str) -> Result<(), Failure> {
    let folder = text_of(program.parent().unwrap_or(Path::new(".")));
    let state = text_of(&settings.state);
    let text = format!(
        "# The running lab, for a shell: eval \"$(hmsops lab env)\"\n\
         export PATH={}:\"$PATH\"\n\
         export HMSOPS_SERVER={}\n\
         export HMSOPS_TOKEN={}\n\
         export HMSOPS_ENDPOINT={}\n\
         export HMSOPS_LAB_STATE={}\n\
         # The files of the chapter are found from the lab's repository:\n\
         # cd {}\n",
        quoted(&folder),
        quoted(&format!("http://{}", settings.tower)),
        quoted(token),
        quoted(&settings.grpc.to_string()),
        quoted(&state),
        quoted(&format!("{state}/repo")),
    );
    let path = settings.state.join("env");
    let _ = std::fs::remove_file(&path);
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(&path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).trying(format!("write `{}`", path.display()))
}

/// The process that runs the lab of that folder, if it is alive.
pub(crate) fn owner(state: &Path) -> Option<u32> {
    let pid: u32 = std::fs::read_to_string(state.join("pid")).ok()?.trim().parse().ok()?;
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let is_lab = line.split(|byte| *byte == 0).any(|arg| arg == b"lab");
    (is_lab && pid != std::process::id()).then_some(pid)
}

/// Says that no process runs the lab any more.
pub(crate) fn disown(state: &Path) {
    for name in ["pid", "env", "lab.json", "stop"] {
        let _ = std::fs::remove_file(state.join(name));
    }
}

/// Copies a file with some texts replaced; each must be there.
fn copy(from: &Path, to: &Path, replaced: &[(&str, &str)]) -> Result<(), Failure> {
    let mut text = std::fs::read_to_string(from).trying(format!("read `{}`", from.display()))?;
    for (old, new) in replaced {
        if !text.contains(old) {
            return Err(Failure::new(format!("`{}` does not contain `{old}` any more", from.display()))
                .hint("the lab replaces it by its own; adapt xtask/src/lab/ground.rs"));
        }
        text = text.replace(old, new);
    }
    write(to, &text)
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).trying(format!("write `{}`", path.display()))
}

fn make_folder(path: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(path).trying(format!("make `{}`", path.display()))
}

/// As one word of a POSIX shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// A folder below the build folder that is removed when the test ends.
    struct Folder(PathBuf);

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn laid_out(name: &str) -> (Folder, Settings) {
        let folder = std::env::temp_dir().join(format!("hmsops-lab-{name}-{}", std::process::id()));
        let state = text_of(&folder);
        let settings =
            Settings::read(&["--port-base".into(), "4000".into(), "--state".into(), state]).unwrap();
        lay_out(&settings).unwrap();
        (Folder(folder), settings)
    }

    #[test]
    fn the_folder_holds_what_a_tower_needs() {
        let (folder, _) = laid_out("ground");
        let read = |name: &str| std::fs::read_to_string(folder.0.join(name)).unwrap();
        let images = text_of(&folder.0.join("images/csac-portal"));
        assert!(read("repo/dev/cd/services.yaml").contains(&format!("{{dir: \"{images}/{{tag}}\"}}")));
        assert!(read("hmsops.yaml").contains("\"127.0.0.1:4001\""));
        let photos = text_of(&folder.0.join("images/dmv-photo"));
        assert!(read("repo/dev/cd/services.yaml").contains(&format!("{{dir: \"{photos}/{{tag}}\"}}")));
        assert!(read("hmsops.yaml").contains("\"127.0.0.1:4002\""));
        for tag in GOOD_TAGS {
            assert!(read(&format!("images/csac-portal/{tag}/build.json")).contains("\"fault\": \"none\""));
        }
        for (tag, fault) in PHOTO_TAGS {
            let build = read(&format!("images/dmv-photo/{tag}/build.json"));
            assert!(build.contains(&format!("\"fault\": \"{fault}\"")), "{build}");
        }
    }

    #[test]
    fn the_canary_file_is_the_chapters_byte_for_byte() {
        let text = std::fs::read_to_string(checkout::root().join("lab/dev/cd/canary.yaml")).unwrap();
        let lines = [
            "# file: dev/cd/canary.yaml",
            "service: csac-portal",
            "image: csac-portal:1.8.0",
            "strategy:",
            "  type: canary",
            "  steps:",
            "    - weight: 1      # 1 % traffic, 5 min",
            "    - weight: 25     # 25 % traffic, 5 min",
            "    - weight: 100    # full if healthy",
            "healthChecks:",
            "  - path: /api/v1/health",
            "    threshold: 3 fails/60 s",
            "",
        ];
        assert_eq!(text, lines.join("\n"));
    }

    /// What people read in the chapters is what they find here.
    #[test]
    fn the_other_files_of_the_chapters_are_theirs_byte_for_byte() {
        let policy = "# file: ops/policies/rollback.yaml\ndetect:\n  metric: auth_fail_rate\n  when:  > 5 % for 2 min\n\
                      action: rollback\nnotify: oncall@csac.gov\n";
        let exporter = "# file: portal/metrics.py\nfrom prometheus_client import Counter, start_http_server\n\n\
                        auth_fail = Counter(\"auth_fail_total\", \"Failed log-ins\")\ndef record_login(ok: bool):\n    \
                        if not ok:\n        auth_fail.inc()\n\nif __name__ == \"__main__\":\n    \
                        start_http_server(9100)   # /metrics\n";
        let upload = "# dmv_photo.py  (excerpt)\nfrom hms_ops import Metric\n\ndef upload_photo(blob):\n    \
                      ok = _save(blob)          # pretend work\n    Metric.emit(\"photo.upload.ok\", 1 if ok else 0)\n    \
                      return ok\n";
        let rule = "# heal_rule.py   (≤ 20 lines)\nfrom hms_ops import Alert, Heal\n\nAlert.create(\n    \
                    name    = \"photo_error_spike\",\n    expr    = \"rate(photo.upload.ok[1m]) < 0.7\",\n    \
                    for_sec = 60,\n    on_fire = Heal(script=\"rollback dmv-photo --to=prev\")\n)\n";
        for (file, text) in [
            ("ops/policies/rollback.yaml", policy),
            ("portal/metrics.py", exporter),
            ("dmv_photo.py", upload),
            ("heal_rule.py", rule),
        ] {
            let found = std::fs::read_to_string(checkout::root().join("lab").join(file)).unwrap();
            assert_eq!(found, text, "{file}");
        }
    }

    /// A program reads where everything is, also below a folder with a strange name.
    #[test]
    fn the_json_file_says_where_everything_is() {
        let (folder, settings) = laid_out("a \"quoted\" one");
        write_json(&settings).unwrap();
        let text = std::fs::read_to_string(folder.0.join("lab.json")).unwrap();
        let lab = json::Json::parse(&text).unwrap();
        assert_eq!(lab.text_at("photo_gateway"), "http://127.0.0.1:4002");
        assert_eq!(lab.text_at("data"), text_of(&folder.0.join("data")));
    }

    #[test]
    fn a_shell_reads_the_env_file_and_nobody_else_may() {
        use std::os::unix::fs::PermissionsExt as _;

        let (folder, settings) = laid_out("env");
        write_env(&settings, Path::new("/b in/it's/hmsops"), "hms_admin_x").unwrap();
        let env = folder.0.join("env");
        assert_eq!(std::fs::metadata(&env).unwrap().permissions().mode() & 0o777, 0o600);
        let script = ". \"$0\"; printf '%s|%s|%s' \"${PATH%%:*}\" \"$HMSOPS_SERVER\" \"$HMSOPS_TOKEN\"";
        let output = Command::new("sh").args(["-c", script]).arg(&env).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(said, "/b in/it's|http://127.0.0.1:4000|hms_admin_x");
    }
}
