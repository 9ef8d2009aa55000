//! People: log-ins by each way, sessions, fresh proofs, four eyes, the break-glass.

use std::io::BufRead as _;
use std::process::{Child, Command as Program, Stdio};

use hmsops_control::Event;
use hmsops_model::person::{FourEyes, Role};
use http::header::HeaderMap;

use super::auth::sha256;
use super::*;

const GOOD: &str = "correct horse battery staple";

impl Site {
    async fn account(&self, name: &str, roles: &[&str]) {
        let body = json!({"roles": roles, "password": GOOD, "reason": "test"});
        let (status, answer) = self.ask(Method::PUT, &format!("/hms/v1/accounts/{name}"), Some(body)).await;
        assert_eq!(status, 200, "{answer}");
    }

    /// Logs a program in; what it sends from then on.
    async fn logged_in(&self, name: &str) -> String {
        let (status, answer) = self.try_password(name, GOOD).await;
        assert_eq!(status, 201, "{answer}");
        answer["text"].as_str().unwrap().to_owned()
    }

    async fn try_password(&self, name: &str, password: &str) -> (StatusCode, Value) {
        let body = json!({"name": name, "password": password}).to_string();
        let request = bare(Method::POST, "/login/password").header("content-type", "application/json");
        read(self.send(request.body(Body::from(body)).unwrap()).await).await
    }

    /// With a log-in or token.
    async fn by(&self, text: &str, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
        let request = bare(method, path)
            .header("authorization", format!("Bearer {text}"))
            .header("content-type", "application/json");
        read(self.send(request.body(Body::from(body.to_string())).unwrap()).await).await
    }

    /// As a browser's form sends it.
    async fn form(&self, path: &str, cookie: &str, origin: &str, body: &str) -> Response<Body> {
        let request = bare(Method::POST, path)
            .header(HOST, "tower:3000")
            .header(ORIGIN, origin)
            .header(COOKIE, cookie)
            .header("accept", "text/html")
            .header("content-type", "application/x-www-form-urlencoded");
        self.send(request.body(Body::from(body.to_owned())).unwrap()).await
    }

    async fn page(&self, path: &str, cookie: &str) -> Response<Body> {
        let request = bare(Method::GET, path).header(COOKIE, cookie).header("accept", "text/html");
        self.send(request.body(Body::empty()).unwrap()).await
    }
}

/// The session's cookie of an answer, `name=value`.
fn session_of(headers: &HeaderMap) -> Option<String> {
    let lines = headers.get_all(SET_COOKIE).iter().filter_map(|line| line.to_str().ok());
    let line = lines.into_iter().find(|line| line.starts_with("hms_session="))?;
    assert!(line.contains("HttpOnly") && line.contains("SameSite=Strict"), "{line}");
    line.split(';').next().map(str::to_owned)
}

#[tokio::test]
async fn a_password_logs_in_and_what_is_said_of_a_wrong_one_tells_nothing() {
    let site = Site::new(false);
    site.account("ann", &["operator"]).await;
    let (status, wrong) = site.try_password("ann", "wrong horse battery staple").await;
    assert_eq!(status, 401);
    let (_, unknown) = site.try_password("nobody", GOOD).await;
    assert_eq!(wrong["detail"], unknown["detail"], "which names there are is not told");
    let ann = site.logged_in("ann").await;
    let (status, sessions) = site.by(&ann, Method::GET, "/hms/v1/sessions", json!({})).await;
    assert_eq!((status.as_u16(), &sessions["items"][0]["own"]), (200, &json!(true)), "{sessions}");
    assert_eq!(sessions["items"][0]["subject"], "ann");
    let (status, _) = site.by(&ann, Method::GET, "/hms/v1/tokens", json!({})).await;
    assert_eq!(status, 403, "an operator makes no tokens");
    let (_, audit) = site.get("/hms/v1/audit?limit=50").await;
    let text = audit.to_string();
    assert!(text.contains("session.opened") && !text.contains(&ann) && !text.contains("horse"), "{text}");
    // Another password ends what the old one had opened.
    site.account("ann", &["viewer"]).await;
    assert_eq!(site.by(&ann, Method::GET, "/hms/v1/sessions", json!({})).await.0, 401);
    for _ in 0..5 {
        site.try_password("ann", "wrong horse battery staple").await;
    }
    let (status, answer) = site.try_password("ann", GOOD).await;
    assert_eq!(status, 429, "{answer}");
}

#[tokio::test]
async fn a_browser_is_logged_in_by_its_own_page_only_and_gets_a_new_cookie() {
    let site = Site::new(false);
    site.account("ann", &["operator"]).await;
    let filled = "name=ann&password=correct+horse+battery+staple&next=%2Freleases";
    let foreign = site.form("/login/password", "", "https://evil.example", filled).await;
    assert_eq!(foreign.status(), 403, "nobody is logged in from a page of somebody else's");
    let planted = format!("hms_session={}", token::session([7; 32]));
    let answer = site.form("/login/password", &planted, "http://tower:3000", filled).await;
    assert_eq!((answer.status().as_u16(), &answer.headers()[LOCATION]), (303, &"/releases".parse().unwrap()));
    let own = session_of(answer.headers()).unwrap();
    assert_ne!(own, planted, "what somebody put into the browser before is worth nothing");
    assert_eq!(site.page("/", &planted).await.status(), 401);
    assert_eq!(site.page("/", &own).await.status(), 200);
    assert_eq!(site.page("/sessions", &own).await.status(), 200);
    let away = site
        .form("/login/password", "", "http://tower:3000", &filled.replace("%2Freleases", "%2F%2Fevil"))
        .await;
    assert_eq!(away.headers()[LOCATION], "/");
    let foreign = site.form("/logout", &own, "https://evil.example", "").await;
    assert_eq!(foreign.status(), 403);
    assert_eq!(site.form("/logout", &own, "http://tower:3000", "").await.status(), 303);
    assert_eq!(site.page("/", &own).await.status(), 401, "the cookie is worth nothing any more");
}

#[tokio::test]
async fn everybody_ends_their_own_log_ins_and_admins_everybodys() {
    let site = Site::new(false);
    for (name, roles) in [("ann", &["operator"]), ("bob", &["operator"]), ("root", &["admin"])] {
        site.account(name, roles).await;
    }
    let (ann, bob, root) =
        (site.logged_in("ann").await, site.logged_in("bob").await, site.logged_in("root").await);
    let list = site.by(&bob, Method::GET, "/hms/v1/sessions", json!({})).await.1;
    assert_eq!(list["items"].as_array().unwrap().len(), 1, "bob sees his own");
    let id = list["items"][0]["id"].as_str().unwrap().to_owned();
    let path = format!("/hms/v1/sessions/{id}/end");
    assert_eq!(site.by(&ann, Method::POST, &path, json!({})).await.0, 404);
    assert_eq!(site.by(&bob, Method::GET, "/hms/v1/services", json!({})).await.0, 200);
    assert_eq!(site.by(&root, Method::POST, &path, json!({"reason": "left"})).await.0, 200);
    assert_eq!(site.by(&bob, Method::GET, "/hms/v1/services", json!({})).await.0, 401);
    let list = site.by(&root, Method::GET, "/hms/v1/sessions", json!({})).await.1;
    assert_eq!(list["items"].as_array().unwrap().len(), 3);
    assert!(list["items"].to_string().contains("left"));
}

/// The matrix of routes and roles, from the very table of routes.
#[tokio::test]
async fn each_route_lets_in_the_roles_that_have_its_scope_and_no_other() {
    let site = Site::new(false);
    let mut people = Vec::new();
    for role in Role::ALL {
        site.account(role.name(), &[role.name()]).await;
        people.push((role, site.logged_in(role.name()).await));
    }
    let mut kept_out = 0;
    for route in table().all() {
        // Ends the very log-in that asks.
        let Access::Needs(needed) = route.access else { continue };
        if route.path == "/logout" {
            continue;
        }
        let path = ["{id}", "{name}", "{file}", "{title}", "{nonce}"]
            .iter()
            .fold(route.path.to_owned(), |path, part| path.replace(part, "none-1"));
        for (role, text) in &people {
            let request = bare(route.method.clone(), &path)
                .header("authorization", format!("Bearer {text}"))
                .header("content-type", "application/json");
            let status = site.send(request.body(Body::from("?")).unwrap()).await.status();
            let refused = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
            assert_eq!(refused, !role.gives(needed), "{} {path} as {role}: {status}", route.method);
            kept_out += usize::from(refused);
        }
    }
    assert!(kept_out > 100, "{kept_out}");
}

#[tokio::test]
async fn four_eyes_are_two_people_by_whatever_they_come() {
    let site = Site::new(false).with_forms().await;
    site.context.engine.submit(Event::FourEyes(vec![FourEyes::Undeny])).await.unwrap();
    for (name, roles) in [("ann", ["admin"]), ("bob", ["approver"])] {
        site.account(name, &roles).await;
    }
    let ann = site.logged_in("ann").await;
    let deploy = json!({"name": "canary.yaml", "text": CANARY});
    let (status, answer) = site.by(&ann, Method::POST, "/hms/v1/deploy", deploy).await;
    assert_eq!(status, 201, "{answer}");
    let id = answer["id"].as_str().or_else(|| answer["release"].as_str()).unwrap_or("r-1").to_owned();
    let (snapshot, release) = (site.context.engine.snapshot(), id.parse().unwrap());
    let who = snapshot.state.releases[&release].by.clone();
    assert!(who.actor.starts_with("person:p-"), "{who:?}");
    let denied = |by: String| {
        let (site, id) = (&site, id.clone());
        async move {
            site.by(&by, Method::POST, &format!("/hms/v1/releases/{id}/undeny"), json!({"reason": "fixed"}))
                .await
        }
    };
    // What one person's two tokens say is that person's.
    let mine = json!({"kind": "pat", "scopes": ["deploy:promote"], "owner": "bob", "reason": "test"});
    let (status, token) = site.by(&ann, Method::POST, "/hms/v1/tokens", mine).await;
    assert_eq!(status, 201, "{token}");
    let abort =
        site.by(&ann, Method::POST, &format!("/hms/v1/releases/{id}/abort"), json!({"reason": "bad"})).await;
    assert_eq!(abort.0, 200, "{}", abort.1);
    // A person's own abort denies nothing: the question is put to the decision itself by what it answers.
    let state = site.context.engine.snapshot();
    let by_token = hmsops_control::Who {
        actor: format!("token:{} bob", token["token"]["id"].as_str().unwrap()),
        source: "api".into(),
    };
    assert_eq!(
        hmsops_control::people::principal(&state.state, &by_token),
        hmsops_control::people::principal(&state.state, &who),
        "the token is hers, not its owner's"
    );
    assert_ne!(
        hmsops_control::people::principal(
            &state.state,
            &hmsops_control::Who { actor: "admin".into(), source: "api".into() }
        ),
        None
    );
    assert_eq!(denied(ann).await.0, 409);
}

#[tokio::test]
async fn a_broken_glass_is_loud_ends_and_waits_for_another_person() {
    let site = Site::new(false).with_forms().await;
    for (name, roles) in [("ann", ["oncall"]), ("bob", ["approver"])] {
        site.account(name, &roles).await;
    }
    let (ann, bob) = (site.logged_in("ann").await, site.logged_in("bob").await);
    let deploy = || json!({"name": "canary.yaml", "text": CANARY});
    assert_eq!(site.by(&ann, Method::POST, "/hms/v1/deploy", deploy()).await.0, 403);
    let take = |body: Value| site.by(&ann, Method::POST, "/hms/v1/breakglass", body);
    assert_eq!(take(json!({"reason": ""})).await.0, 400, "it takes a reason");
    assert_eq!(take(json!({"reason": "fire", "for_ms": 3_600_001})).await.0, 409, "and ends");
    let by_admin = site.post("/hms/v1/breakglass", json!({"reason": "x"})).await;
    assert_eq!(by_admin.0, 409, "{}", by_admin.1);
    let (status, glass) = take(json!({"reason": "the data centre burns"})).await;
    assert_eq!((status.as_u16(), &glass["state"]), (201, &json!("in-force")), "{glass}");
    assert_eq!(site.by(&ann, Method::POST, "/hms/v1/deploy", deploy()).await.0, 201);
    assert_eq!(
        site.by(&ann, Method::GET, "/hms/v1/tokens", json!({})).await.0,
        403,
        "not the keys of the house"
    );
    let cookie = format!("hms_session={ann}");
    let body = site.page("/", &cookie).await.into_body().collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&body).contains("the data centre burns"), "everybody sees it");
    let review = "/hms/v1/breakglass/g-1/review";
    let said = || json!({"reason": "all fine"});
    let own = site.by(&ann, Method::POST, review, said()).await;
    assert_eq!(own.0, 409, "nobody looks at what they did themselves: {}", own.1);
    assert_eq!(site.by(&ann, Method::POST, "/hms/v1/breakglass/g-1/end", json!({})).await.0, 200);
    assert_eq!(site.by(&ann, Method::POST, "/hms/v1/deploy", deploy()).await.0, 403, "the rights are gone");
    let (_, list) = site.by(&bob, Method::GET, "/hms/v1/breakglass", json!({})).await;
    assert_eq!(list["items"][0]["state"], "to-review", "{list}");
    assert_eq!(site.by(&bob, Method::POST, review, said()).await.0, 200);
    assert_eq!(site.page("/breakglass", &cookie).await.status(), 200);
    let (_, audit) = site.get("/hms/v1/audit?limit=100").await;
    for kind in ["breakglass.used", "breakglass.ended", "breakglass.reviewed"] {
        assert!(audit.to_string().contains(kind), "{kind}");
    }
}

/// A provider's process; ends with the test.
struct Provider {
    child: Child,
    issuer: String,
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Provider {
    fn start() -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/src/door/tests/provider.py");
        let mut child = Program::new("python3")
            .arg(script)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is there");
        let mut line = String::new();
        std::io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, issuer: line.trim().to_owned() }
    }

    fn site(&self) -> Site {
        let config = hmsops_config::tower::OidcConfig {
            issuer: self.issuer.clone(),
            client_id: "hmsops".into(),
            client_secret: None,
            callback: "http://tower:3000/login/oidc/callback".into(),
            groups_claim: "groups".into(),
            scopes: vec!["profile".into()],
            ca: None,
        };
        let oidc = Oidc::new(config, Some(hmsops_act::channel::Secret::new("s3cret")), None).unwrap();
        let mut site = Site::new(false);
        let disk: Arc<dyn Disk> = Arc::new(RealDisk::new(&site.context.data).unwrap());
        let roles = BTreeMap::from([("sre".to_owned(), vec![Role::Operator])]);
        site.context.reception = Arc::new(Reception::open(disk, Some(oidc), roles).unwrap());
        site.router = router(site.context.clone());
        site
    }

    /// A request to the provider itself, as a browser or the test sends it.
    async fn curl(&self, args: &[&str]) -> String {
        let done = tokio::process::Command::new("curl").args(["-s"]).args(args).output().await.unwrap();
        String::from_utf8_lossy(&done.stdout).into_owned()
    }

    async fn set(&self, what: Value) {
        self.curl(&["-d", &what.to_string(), &format!("{}/set", self.issuer)]).await;
    }
}

/// Goes to the provider and comes back; the answer of the tower. `cookie`: what the browser holds.
async fn round(provider: &Provider, site: &Site, cookie: &str) -> Response<Body> {
    let begun = site.page("/login/oidc?next=/releases", cookie).await;
    assert_eq!(begun.status(), 303);
    let to = begun.headers()[LOCATION].to_str().unwrap().to_owned();
    assert!(to.contains("code_challenge_method=S256") && to.contains("nonce="), "{to}");
    let line = begun.headers()[SET_COOKIE].to_str().unwrap();
    assert!(line.contains("HttpOnly") && line.contains("SameSite=Lax"), "{line}");
    let away = line.split(';').next().unwrap().to_owned();
    let back = provider.curl(&["-o", "/dev/null", "-w", "%{redirect_url}", &to]).await;
    let path = back.strip_prefix("http://tower:3000").unwrap().to_owned();
    site.page(&path, &format!("{cookie}; {away}")).await
}

#[tokio::test]
async fn a_provider_logs_in_with_roles_by_groups() {
    let provider = Provider::start();
    let site = provider.site();
    let answer = round(&provider, &site, "").await;
    assert_eq!(answer.status(), 200);
    let own = session_of(answer.headers()).unwrap();
    assert_eq!(site.page("/", &own).await.status(), 200);
    let text = own.strip_prefix("hms_session=").unwrap();
    let (_, list) = site.by(text, Method::GET, "/hms/v1/sessions", json!({})).await;
    let first = &list["items"][0];
    assert_eq!((&first["subject"], &first["roles"]), (&json!("u-1"), &json!(["operator"])), "{list}");
    assert_eq!(first["issuer"], json!(provider.issuer));
    // To show it again the provider has to ask, and it stays the same log-in with another secret.
    let again = round(&provider, &site, &own).await;
    assert_eq!(again.status(), 200);
    let fresh = session_of(again.headers()).unwrap();
    assert_ne!(fresh, own);
    assert_eq!(site.page("/", &own).await.status(), 401, "the old secret is worth nothing");
    let (_, list) = site
        .by(fresh.strip_prefix("hms_session=").unwrap(), Method::GET, "/hms/v1/sessions", json!({}))
        .await;
    assert_eq!(list["items"].as_array().unwrap().len(), 1, "{list}");
    // The provider's keys change.
    provider.set(json!({"key": 2})).await;
    assert_eq!(round(&provider, &site, "").await.status(), 200);
}

#[tokio::test]
async fn what_a_provider_gets_wrong_lets_nobody_in() {
    let provider = Provider::start();
    let site = provider.site();
    let now = site.context.clock.now().wall.0 / 1000;
    for claims in [
        json!({"aud": "other"}),
        json!({"iss": "https://evil.example"}),
        json!({"nonce": "x"}),
        json!({"nonce": null}),
        json!({"exp": now - 3600}),
        json!({"iat": now + 3600}),
        json!({"sub": null}),
        json!({"groups": ["guests"]}),
        json!({"groups": null}),
    ] {
        provider.set(json!({"claims": claims})).await;
        let answer = round(&provider, &site, "").await;
        assert_eq!(answer.status(), 403, "{claims}");
        assert!(session_of(answer.headers()).is_none());
    }
    for (head, status) in [(json!({"alg": "none"}), 403), (json!({"alg": "RS256", "sign_with": 9}), 403)] {
        let mut set = head.clone();
        set["claims"] = json!({});
        provider.set(set).await;
        assert_eq!(round(&provider, &site, "").await.status().as_u16(), status, "{head}");
    }
    // Another browser's answer, an answer twice, an answer that nobody asked for.
    provider.set(json!({"sign_with": 1})).await;
    let begun = site.page("/login/oidc", "").await;
    let to = begun.headers()[LOCATION].to_str().unwrap().to_owned();
    let own = begun.headers()[SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
    let back = provider.curl(&["-o", "/dev/null", "-w", "%{redirect_url}", &to]).await;
    let path = back.strip_prefix("http://tower:3000").unwrap().to_owned();
    assert_eq!(site.page(&path, "hms_oidc=other").await.status(), 403);
    assert_eq!(site.page(&path, "").await.status(), 403);
    assert_eq!(site.page(&path, &own).await.status(), 200, "and whoever it was is not kept out by it");
    assert_eq!(site.page(&path, &own).await.status(), 403, "once");
    assert_eq!(site.page("/login/oidc/callback?state=x&code=y", &own).await.status(), 403);
}

#[tokio::test]
async fn what_a_group_is_here_is_what_it_is_at_once() {
    let provider = Provider::start();
    let site = provider.site();
    let own = session_of(round(&provider, &site, "").await.headers()).unwrap();
    let context = &site.context;
    let keep = super::super::people::keep(
        context.engine.clone(),
        context.auth.clone(),
        context.reception.clone(),
        context.clock,
    );
    let keep = tokio::spawn(keep);
    let roles = |role| BTreeMap::from([("sre".to_owned(), vec![role]), ("x".to_owned(), vec![Role::Viewer])]);
    context.reception.set_roles(roles(Role::Operator));
    assert_eq!(site.page("/", &own).await.status(), 200, "for this group nothing has changed");
    context.reception.set_roles(roles(Role::Viewer));
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    while site.page("/", &own).await.status() != 401 {
        assert!(tokio::time::Instant::now() < deadline, "the log-in goes on with what it gave");
        tokio::task::yield_now().await;
    }
    let next = session_of(round(&provider, &site, "").await.headers()).unwrap();
    let text = next.strip_prefix("hms_session=").unwrap();
    let (_, list) = site.by(text, Method::GET, "/hms/v1/sessions", json!({})).await;
    assert_eq!(list["items"][0]["roles"], json!(["viewer"]), "{list}");
    keep.abort();
}

#[tokio::test]
async fn a_flood_of_begun_log_ins_harms_nobody_else() {
    let provider = Provider::start();
    let site = provider.site();
    let begun = site.page("/login/oidc?next=/releases", "").await;
    let to = begun.headers()[LOCATION].to_str().unwrap().to_owned();
    let own = begun.headers()[SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
    for _ in 0..2000 {
        assert_eq!(site.page("/login/oidc", "").await.status(), 303);
    }
    let back = provider.curl(&["-o", "/dev/null", "-w", "%{redirect_url}", &to]).await;
    let path = back.strip_prefix("http://tower:3000").unwrap().to_owned();
    assert_eq!(site.page(&path, &own).await.status(), 200);
}

#[tokio::test]
async fn a_page_that_renews_itself_keeps_no_log_in_alive() {
    use hmsops_model::{Millis, person::SESSION_IDLE};
    let site = Site::new(false);
    site.account("ann", &["operator"]).await;
    let ann = site.logged_in("ann").await;
    let id = "ses-1".parse().unwrap();
    let activity = site.context.auth.activity();
    let visit = |fetch: &'static [(&'static str, &'static str)]| {
        let cookie = format!("hms_session={ann}");
        let request = bare(Method::GET, "/").header(COOKIE, cookie).header("accept", "text/html");
        let request = fetch.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        site.send(request.body(Body::empty()).unwrap())
    };
    // Used last a minute ago.
    let before = Millis(site.context.clock.now().steady.0.saturating_sub(60_000));
    let is_idle = || !activity.idle(&[id], before + SESSION_IDLE).is_empty();
    activity.begin(id, before);
    let renewal: &[(&str, &str)] = &[("sec-fetch-mode", "navigate"), ("sec-fetch-site", "same-origin")];
    assert_eq!(visit(renewal).await.status(), 200);
    assert_eq!(visit(&[("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty")]).await.status(), 200);
    assert!(is_idle(), "nobody was there");
    assert_eq!(visit(&[("sec-fetch-mode", "navigate"), ("sec-fetch-user", "?1")]).await.status(), 200);
    assert!(!is_idle(), "somebody was");
}

#[tokio::test]
async fn a_token_does_not_approve_whoever_made_it() {
    let site = Site::new(false).with_forms().await;
    site.account("root", &["admin"]).await;
    let root = site.logged_in("root").await;
    for scope in ["deploy:approve", "tickets:approve", "breakglass:use"] {
        let wanted = json!({"kind": "pat", "scopes": [scope], "owner": "root", "reason": "test"});
        let (status, answer) = site.by(&root, Method::POST, "/hms/v1/tokens", wanted).await;
        assert_eq!(status, 409, "{answer}");
        assert!(answer["detail"].as_str().unwrap().contains("cannot have"), "{answer}");
    }
    let held = CANARY.replace("strategy:", "irreversible: true\nstrategy:");
    let deploy = json!({"name": "canary.yaml", "text": held});
    let (status, answer) = site.by(&root, Method::POST, "/hms/v1/deploy", deploy).await;
    assert_eq!(status, 201, "{answer}");
    let wanted =
        json!({"kind": "pat", "scopes": ["deploy:promote", "state:read"], "owner": "root", "reason": "test"});
    let (_, token) = site.by(&root, Method::POST, "/hms/v1/tokens", wanted).await;
    let token = token["text"].as_str().unwrap();
    let promote = |by: String| {
        let site = &site;
        async move { site.by(&by, Method::POST, "/hms/v1/releases/r-1/promote", json!({"reason": "x"})).await }
    };
    let (status, answer) = promote(token.to_owned()).await;
    assert_eq!(status, 403, "{answer}");
    assert!(answer["hint"].as_str().unwrap().contains("hmsops login"), "{answer}");
    assert_ne!(promote(root.clone()).await.0, 403, "the person does");
    let (_, list) = site.by(token, Method::GET, "/hms/v1/approvals", json!({})).await;
    assert!(list["items"].as_array().unwrap().iter().all(|one| one["yours"] == false), "{list}");
}

#[tokio::test]
async fn who_has_to_log_in_goes_on_where_they_wanted_to() {
    let site = Site::new(false);
    let answer = site.page("/releases?still", "").await;
    assert_eq!(answer.status(), 401);
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&body).contains("Log in."));
    site.account("ann", &["oncall"]).await;
    let answer = site.page("/audit?control=IR-4", "").await.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8_lossy(&answer).into_owned();
    assert!(text.contains("value=\"/audit?control=IR-4\""), "{text}");
    let cookie = format!("hms_session={}", site.logged_in("ann").await);
    for path in ["/approvals", "/sessions", "/breakglass"] {
        assert_eq!(site.page(path, &cookie).await.status(), 200, "{path}");
    }
    assert_eq!(site.page("/people", &cookie).await.status(), 403);
}

#[tokio::test]
async fn a_program_acts_as_whoever_says_yes_in_a_browser() {
    use base64::Engine as _;
    let provider = Provider::start();
    let site = provider.site();
    let verifier = "v".repeat(43);
    let challenge = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(sha256(&verifier));
    let send = |path: &'static str, body: Value| {
        let request = bare(Method::POST, path).header("content-type", "application/json");
        let request = request.body(Body::from(body.to_string())).unwrap();
        async { read(site.send(request).await).await }
    };
    let named = json!({"challenge": challenge, "name": "<b>ann</b>@laptop"});
    assert_eq!(send("/login/program", json!({"challenge": "short"})).await.0, 400);
    let (status, begun) = send("/login/program", named.clone()).await;
    assert_eq!(status, 201, "{begun}");
    let code = begun["code"].as_str().unwrap().to_owned();
    let fetch = |code: &str, verifier: &str| {
        send("/login/program/fetch", json!({"code": code, "verifier": verifier}))
    };
    assert_eq!(fetch(&code, &verifier).await.0, 202, "nobody has said anything");
    let page = format!("/sessions/new?code={code}");
    assert_eq!(site.page(&page, "").await.status(), 401);
    let own = session_of(round(&provider, &site, "").await.headers()).unwrap();
    let stale = site.page(&page, &own).await;
    let again = stale.headers()[LOCATION].to_str().unwrap().to_owned();
    assert!(
        again.starts_with("/login/again?next=%2Fsessions%2Fnew%3Fcode"),
        "{again}: the provider did not ask"
    );
    let own = session_of(round(&provider, &site, &own).await.headers()).unwrap();
    let asks = site.page(&page, &own).await.into_body().collect().await.unwrap().to_bytes();
    let asks = String::from_utf8_lossy(&asks).into_owned();
    assert!(asks.contains(&code) && asks.contains("&lt;b&gt;ann") && !asks.contains("<b>ann"), "{asks}");
    let yes = format!("code={}&answer=yes", code.to_lowercase());
    let foreign = site.form("/sessions/new", &own, "https://evil.example", &yes).await;
    assert_eq!(foreign.status(), 403, "no other site says it in her place");
    assert_eq!(fetch(&code, &verifier).await.0, 202);
    assert_eq!(site.form("/sessions/new", &own, "http://tower:3000", &yes).await.status(), 200);
    assert_eq!(site.form("/sessions/new", &own, "http://tower:3000", &yes).await.status(), 404, "once");
    assert_eq!(fetch(&code, &"w".repeat(43)).await.0, 404, "the code alone is not enough");
    let (status, answer) = fetch(&code, &verifier).await;
    assert_eq!(status, 201, "{answer}");
    assert_eq!(fetch(&code, &verifier).await.0, 404, "once");
    let text = answer["text"].as_str().unwrap();
    let (_, list) = site.by(text, Method::GET, "/hms/v1/sessions", json!({})).await;
    let (new, first) = (&list["items"][0], &list["items"][1]);
    assert_eq!((&new["person"], &new["roles"]), (&first["person"], &first["roles"]), "{list}");
    assert_eq!(
        (&new["own"], &new["proven_at"]),
        (&json!(true), &first["proven_at"]),
        "no fresher than it was"
    );
    // A no is one, and so is the end of the log-in that said yes.
    for end in ["no", "yes"] {
        let (_, begun) = send("/login/program", named.clone()).await;
        let code = begun["code"].as_str().unwrap().to_owned();
        let answer = format!("code={code}&answer={end}");
        assert_eq!(site.form("/sessions/new", &own, "http://tower:3000", &answer).await.status(), 200);
        if end == "yes" {
            assert_eq!(site.form("/logout", &own, "http://tower:3000", "").await.status(), 303);
        }
        assert_eq!(fetch(&code, &verifier).await.0, 403, "{end}");
    }
    // The admin token is nobody in a browser.
    let (_, begun) = send("/login/program", named).await;
    let body = json!({"code": begun["code"], "answer": "yes"});
    assert_eq!(site.post("/sessions/new", body).await.0, 409);
}

/// What was allowed when the head came is not what is allowed when the body is there.
#[tokio::test]
async fn a_log_in_that_ends_while_its_body_comes_does_nothing() {
    let site = Site::new(false);
    site.account("root", &["admin"]).await;
    let root = site.logged_in("root").await;
    let (mut sender, body) = http_body_util::channel::Channel::<bytes::Bytes, std::io::Error>::new(1);
    let request = bare(Method::POST, "/hms/v1/tokens")
        .header("authorization", format!("Bearer {root}"))
        .header("content-type", "application/json")
        .body(Body::new(body))
        .unwrap();
    let answer = tokio::spawn(site.router.clone().oneshot(request));
    let wish = json!({"kind": "pat", "owner": "root", "scopes": ["state:read"], "life_ms": 3_600_000, "reason": "x"});
    let text = bytes::Bytes::from(wish.to_string());
    // The second part is taken when the first was read, which is after the head was let in.
    sender.send_data(text.slice(..5)).await.unwrap();
    sender.send_data(text.slice(5..10)).await.unwrap();
    let (status, _) = site.ask(Method::DELETE, "/hms/v1/accounts/root?reason=stolen", None).await;
    assert_eq!(status, 200);
    sender.send_data(text.slice(10..)).await.unwrap();
    drop(sender);
    assert_eq!(answer.await.unwrap().unwrap().status(), 401);
    let (_, tokens) = site.get("/hms/v1/tokens").await;
    assert!(!tokens.to_string().contains("\"root\""), "{tokens}");
}

/// What outlasts a log-in asks who is there: one that was left open makes no tokens and no accounts.
#[tokio::test]
async fn a_log_in_that_was_left_open_makes_nothing_that_lasts() {
    let site = Site::new(false);
    let open = hmsops_control::people::PeopleWish::Open {
        sha256: hmsops_model::Digest::from_sha256([7; 32]),
        identity: hmsops_model::Identity { issuer: "https://id".into(), subject: "u-1".into() },
        name: "Ann".into(),
        roles: vec![Role::Admin],
        groups: Vec::new(),
        proof: hmsops_control::people::Proof::Oidc,
        // The provider did not ask her to show it again.
        proven_at: Some(hmsops_model::UnixMillis(0)),
        until: None,
        from: None,
    };
    let command = hmsops_control::event::Command::People { wish: Box::new(open) };
    let by = hmsops_control::Who { actor: "log-in".into(), source: "person".into() };
    let event = Event::Command { command, by, reason: String::new() };
    assert!(site.context.engine.submit(event).await.unwrap().refused.is_none());
    let snapshot = site.context.engine.snapshot();
    let session = snapshot.state.people.sessions.values().next().unwrap();
    let caller = crate::door::caller::Caller::person(session, false);
    let now = site.context.clock.now().wall;
    assert_eq!(caller.is_fresh(now).unwrap_err().status(), 403);
    assert_eq!(caller.needs_fresh(now).unwrap_err().status(), 403);
}
