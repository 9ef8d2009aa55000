//! People at the command line: how somebody logs in by their provider, and what becomes of it.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::kit::{SHOPLESS, Said, Site};

/// A provider's process, the one of the doors' tests; it ends with the test.
struct Provider {
    child: Child,
    issuer: String,
}

impl Provider {
    fn start() -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../server/src/door/tests/provider.py");
        let mut command = Command::new("python3");
        command.args(["-B", script]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("python3 is there");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, issuer: line.trim().to_owned() }
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn settings(site: &Site, provider: &Provider, role: &str) {
    site.configure(&format!(
        "people:\n  oidc: {{issuer: \"{}\", client_id: hmsops, client_secret: \"file:oidc.secret\", \
         callback: \"http://{}/login/oidc/callback\"}}\n  roles: {{sre: {role}}}\n",
        provider.issuer, site.at
    ));
}

/// A command as somebody types it who knows nothing but where the tower is.
fn from_afar(site: &Site, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hmsops"));
    command.args(args).env_clear().env("HOME", site.path("work")).env("USER", "ann");
    command.current_dir(site.path("work")).stdin(Stdio::null());
    command
}

fn said(mut command: Command) -> Said {
    command.output().unwrap().into()
}

/// What a browser that follows where it is led gets, with its own cookies.
fn browse(site: &Site, args: &[&str]) -> Said {
    let mut command = Command::new("curl");
    let jar = site.path("work/jar");
    command.args(["-s", "-L", "--max-time", "20", "-H", "accept: text/html", "-c"]).arg(&jar);
    command.arg("-b").arg(&jar).args(args).stdin(Stdio::null());
    said(command)
}

#[test]
fn somebody_logs_the_command_line_in_by_their_provider_and_loses_what_the_settings_take() {
    let provider = Provider::start();
    let mut site = Site::lay_out(SHOPLESS);
    site.put_secret("oidc.secret", "s3cret\n");
    settings(&site, &provider, "operator");
    site.start();
    let server = format!("http://{}", site.at);
    let mut command = from_afar(&site, &["login", "--server", &server]);
    let mut login = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(login.stdout.take().unwrap());
    let mut code = String::new();
    out.read_line(&mut code).unwrap();
    let code = code.trim();
    assert_eq!(code.len(), 9, "{code}");
    // The browser wants to the page, is led to log in, and is logged in by the provider.
    let page = format!("{server}/sessions/new");
    let asked = browse(&site, &[&page]).out;
    assert!(asked.contains("/login/oidc?next=%2Fsessions%2Fnew"), "{asked}");
    let back = browse(&site, &[&format!("{server}/login/oidc?next=%2Fsessions%2Fnew")]).out;
    assert!(back.contains("0;url=/sessions/new"), "{back}");
    // The provider only remembered her, and such a word takes that it asks.
    let again = browse(&site, &[&format!("{page}?code={code}")]).out;
    let next = format!("/login/oidc?next=%2Fsessions%2Fnew%3Fcode%3D{code}");
    assert!(again.contains("show again who you are") && again.contains(&next), "{again}");
    let back = browse(&site, &[&format!("{server}{next}")]).out;
    assert!(back.contains(&format!("0;url=/sessions/new?code={code}")), "{back}");
    let asks = browse(&site, &[&format!("{page}?code={code}")]).out;
    assert!(asks.contains("ann@") && asks.contains(code) && asks.contains("127.0.0.1"), "{asks}");
    assert!(login.try_wait().unwrap().is_none(), "it waits for the person's word");
    let form = format!("code={code}&answer=yes");
    let origin = format!("origin: {server}");
    let answered = browse(&site, &["-H", &origin, "-d", &form, &page]).out;
    assert!(answered.contains("The program goes on as you."), "{answered}");
    let ended: Said = login.wait_with_output().unwrap().into();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.err.contains("/sessions/new") && !ended.err.contains("hms_ses_"), "{ended:?}");
    // From then on what is done is done by her.
    let own = said(from_afar(&site, &["session", "list", "--json"]));
    let list: Value = serde_json::from_str(&own.out).unwrap_or_else(|_| panic!("{own:?}"));
    let mine = list["items"].as_array().unwrap().iter().find(|one| one["own"] == true).unwrap();
    assert_eq!((&mine["subject"], &mine["roles"][0]), (&"u-1".into(), &"operator".into()), "{list}");
    let lists = |site: &Site| said(from_afar(site, &["service", "list"]));
    assert_eq!(lists(&site).code, Some(0));
    // The settings give her group something else: all that it had opened ends.
    settings(&site, &provider, "viewer");
    site.hang_up();
    site.wait("the log-in has ended", 20, |site| (lists(site).code == Some(4)).then_some(()));
    let refused = lists(&site);
    assert!(refused.err.contains("has ended") && refused.err.contains("hmsops login"), "{refused:?}");
}
