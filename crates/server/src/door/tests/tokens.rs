//! Tokens that are not the admin's: every route × every scope, services, networks, ends.

use std::net::SocketAddr;

use axum::extract::ConnectInfo;
use hmsops_model::Scope;

use super::*;

impl Site {
    /// A token as it is wanted; its number and text.
    async fn token(&self, wanted: Value) -> (String, String) {
        let mut body = json!({"reason": "test"});
        body.as_object_mut().unwrap().extend(wanted.as_object().unwrap().clone());
        let (status, answer) = self.post("/hms/v1/tokens", body).await;
        assert_eq!(status, 201, "{answer}");
        (answer["token"]["id"].as_str().unwrap().to_owned(), answer["text"].as_str().unwrap().to_owned())
    }

    /// The status of what somebody else asks for.
    async fn status(&self, token: &str, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
        let request = bare(method, path)
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json");
        read(self.send(request.body(Body::from(body.to_string())).unwrap()).await).await
    }
}

/// Must show 1: the matrix is made of the very table that the router is made of.
#[tokio::test]
async fn each_route_lets_in_who_has_its_scope_and_nobody_else() {
    let site = Site::new(false);
    let mut tokens = Vec::new();
    // What no token may have is asked of people, in the matrix of roles.
    for scope in Scope::ALL.iter().filter(|scope| hmsops_model::TokenKind::Pat.may_have(**scope)) {
        tokens.push((*scope, site.token(json!({"kind": "pat", "scopes": [scope.name()]})).await.1));
    }
    let (mut let_in, mut kept_out) = (0, 0);
    for route in table().all() {
        let Access::Needs(needed) = route.access else { continue };
        let path = route.path.replace("{id}", "none-1").replace("{name}", "none");
        let path = path.replace("{file}", "none").replace("{title}", "none").replace("{nonce}", "none");
        for (scope, token) in &tokens {
            let request =
                bare(route.method.clone(), &path).header("authorization", format!("Bearer {token}"));
            let request = request.header("content-type", "application/json");
            // No body that any route takes: who is let in changes nothing.
            let response = site.send(request.body(Body::from("?")).unwrap()).await;
            let refused = matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
            assert_eq!(
                refused,
                *scope != needed,
                "{} {path} with {scope}: {}",
                route.method,
                response.status()
            );
            if refused { kept_out += 1 } else { let_in += 1 }
        }
    }
    assert!(let_in > 50 && kept_out > 50 * (tokens.len() - 2), "{let_in} {kept_out}");
}

#[tokio::test]
async fn a_token_that_is_bound_to_a_service_reaches_nothing_else() {
    let site = Site::new(false).with_forms().await;
    let all =
        ["state:read", "deploy:request", "deploy:rollback", "services:write", "rules:write", "metrics:write"];
    let own = site.token(json!({"scopes": all, "services": ["legacy-forms"]})).await.1;
    let other = site.token(json!({"scopes": all, "services": ["csac-portal"]})).await.1;
    let get = |path: &'static str, token: &String| {
        let token = token.clone();
        let site = &site;
        async move { site.status(&token, Method::GET, path, json!({})).await.0.as_u16() }
    };
    for (path, owner, stranger) in [
        ("/hms/v1/services/legacy-forms", 200, 403),
        ("/hms/v1/services/nothing", 403, 403),
        ("/hms/v1/releases?service=legacy-forms", 200, 403),
        ("/hms/v1/releases?service=csac-portal&service=legacy-forms", 403, 403),
        ("/hms/v1/releases", 403, 403),
        ("/hms/v1/services", 403, 403),
        ("/hms/v1/releases/r-99", 403, 403),
        ("/hms/v1/stream", 403, 403),
    ] {
        assert_eq!((get(path, &own).await, get(path, &other).await), (owner, stranger), "{path}");
    }
    // What stands in the body is asked for, too.
    let deploy = json!({"name": "canary.yaml", "text": CANARY});
    let (status, answer) = site.status(&other, Method::POST, "/hms/v1/deploy", deploy.clone()).await;
    assert_eq!(status, 403, "{answer}");
    assert_ne!(site.status(&own, Method::POST, "/hms/v1/deploy", deploy).await.0, 403);
    let declared = file("services.yaml", FORMS);
    assert_eq!(site.status(&other, Method::POST, "/hms/v1/apply", declared.clone()).await.0, 403);
    assert_eq!(site.status(&own, Method::POST, "/hms/v1/apply", declared).await.0, 200);
    let rule = json!({"name": "x", "expr": "up == 0"});
    assert_eq!(
        site.status(&own, Method::POST, "/hms/v1/rules", rule).await.0,
        403,
        "it could name any service"
    );
    assert_eq!(site.status(&own, Method::DELETE, "/hms/v1/rules/x", json!({})).await.0, 403);
    for (sequence, service, own_status, other_status) in
        [(1, "legacy-forms", 200, 403), (2, "csac-portal", 403, 200)]
    {
        let metric = json!({"name": "photo.upload.ok", "time": site.context.clock.now().wall.0, "sum": 1.0, "count": 1, "min": 1.0, "max": 1.0, "last": 1.0});
        let batch = json!({
            "source": "test", "sequence": sequence, "labels": {"service": service}, "metrics": [metric],
        });
        for (token, expected) in [(&own, own_status), (&other, other_status)] {
            let (status, answer) = site.status(token, Method::POST, "/hms/v1/metrics", batch.clone()).await;
            assert_eq!(status.as_u16(), expected, "{service}: {answer}");
        }
    }
}

#[tokio::test]
async fn a_token_is_rotated_and_revoked_and_streams_end_with_it() {
    let site = Site::new(false);
    let (id, first) = site.token(json!({"scopes": ["state:read"]})).await;
    let ask = |token: String| {
        let site = &site;
        async move { site.status(&token, Method::GET, "/hms/v1/services", json!({})).await }
    };
    assert_eq!(ask(first.clone()).await.0, 200);
    let (status, next) =
        site.post(&format!("/hms/v1/tokens/{id}/rotate"), json!({"reason": "quarterly"})).await;
    assert_eq!((status, &next["token"]["follows"]), (StatusCode::CREATED, &json!(id)));
    let second = next["text"].as_str().unwrap().to_owned();
    assert_eq!((ask(first.clone()).await.0, ask(second.clone()).await.0), (StatusCode::OK, StatusCode::OK));
    let again = site.post(&format!("/hms/v1/tokens/{id}/rotate"), json!({"reason": "once more"})).await;
    assert_eq!(again.0, 409, "{}", again.1);

    let request = bare(Method::GET, "/hms/v1/stream").header("authorization", format!("Bearer {second}"));
    let mut stream = site.send(request.body(Body::empty()).unwrap()).await.into_body();
    assert!(stream.frame().await.is_some(), "it begins");
    let next_id = next["token"]["id"].as_str().unwrap().to_owned();
    let (status, _) = site.post(&format!("/hms/v1/tokens/{next_id}/revoke"), json!({"reason": "lost"})).await;
    assert_eq!(status, 200);
    let (status, problem) = ask(second.clone()).await;
    assert_eq!(
        (status, problem["detail"].as_str()),
        (StatusCode::UNAUTHORIZED, Some(&*format!("{next_id} was revoked")))
    );
    // No more than what waited for the reader comes.
    while stream.frame().await.is_some() {}
    assert_eq!(ask(first).await.0, 200, "the other goes on");

    let (_, shown) = site.get("/hms/v1/tokens").await;
    let states: Vec<&str> =
        shown["items"].as_array().unwrap().iter().map(|one| one["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["rotated", "revoked"]);
    assert!(!shown.to_string().contains(&second), "a text is shown once");
    let (_, entries) = site.get("/hms/v1/audit?kind=token").await;
    assert_eq!(entries["entries"].as_array().unwrap().len(), 3, "{entries}");
    assert!(!entries.to_string().contains(&second[8..40]));
}

#[tokio::test]
async fn nobody_gives_more_than_they_have_and_wrong_wishes_are_refused_with_their_reason() {
    let site = Site::new(false);
    let bound = json!({"scopes": ["tokens:admin", "state:read"], "life_ms": 86_400_000});
    let (id, maker) = site.token(bound).await;
    let make = |wanted: Value| {
        let (site, maker) = (&site, maker.clone());
        async move { site.status(&maker, Method::POST, "/hms/v1/tokens", wanted).await }
    };
    let day = 3_600_000;
    assert_eq!(make(json!({"scopes": ["state:read"], "life_ms": day, "reason": "x"})).await.0, 201);
    for (wanted, said) in [
        (
            json!({"scopes": ["audit:read"], "life_ms": day, "reason": "x"}),
            "cannot give what it does not have",
        ),
        (json!({"scopes": ["state:read"], "reason": "x"}), "cannot give what it does not have"),
        (json!({"scopes": ["everything"], "life_ms": day, "reason": "x"}), "is not a scope"),
        (json!({"scopes": [], "life_ms": day, "reason": "x"}), "without a scope"),
        (
            json!({"scopes": ["deploy:approve"], "life_ms": day, "reason": "x"}),
            "cannot have `deploy:approve`",
        ),
        (json!({"scopes": ["state:read"], "life_ms": 40_000_000_000_u64, "reason": "x"}), "a year"),
        (json!({"scopes": ["state:read"], "life_ms": 0, "reason": "x"}), "a year"),
        (json!({"scopes": ["state:read"], "networks": ["10.0.0.0/33"], "reason": "x"}), "network"),
        (json!({"scopes": ["state:read"], "kind": "root", "reason": "x"}), "kind of token"),
        (
            json!({"scopes": ["state:read"], "owner": "a\u{1b}[2J", "life_ms": day, "reason": "x"}),
            "control characters",
        ),
        (json!({"scopes": ["state:read"], "life_ms": day, "reason": " "}), "reason"),
    ] {
        let (status, problem) = make(wanted.clone()).await;
        assert!(status.is_client_error(), "{wanted}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(said), "{wanted}: {problem}");
    }
    // A browser that is logged in may do all: more than the token.
    let (status, answer) = site.status(&maker, Method::POST, "/hms/v1/login-links", json!({})).await;
    assert_eq!((status, answer.get("path")), (StatusCode::CONFLICT, None), "{answer}");
    let (status, _) = site.post(&format!("/hms/v1/tokens/{id}/revoke"), json!({"reason": "x"})).await;
    assert_eq!(status, 200);
    assert_eq!(make(json!({"scopes": ["state:read"], "life_ms": day, "reason": "x"})).await.0, 401);
    assert_eq!(site.post("/hms/v1/tokens/k-77/revoke", json!({"reason": "x"})).await.0, 404);
}

#[tokio::test]
async fn a_token_works_from_its_networks_only() {
    let site = Site::new(false);
    let token = site.token(json!({"scopes": ["state:read"], "networks": ["10.1.0.0/16", "::1/128"]})).await.1;
    for (peer, status) in [
        (Some("10.1.2.3:9"), 200),
        (Some("[::1]:9"), 200),
        (Some("[::ffff:10.1.2.3]:9"), 200),
        (Some("10.2.0.1:9"), 403),
        (None, 403),
    ] {
        let mut request = bare(Method::GET, "/hms/v1/services")
            .header("authorization", format!("Bearer {token}"))
            .header("x-forwarded-for", "10.1.2.3")
            .body(Body::empty())
            .unwrap();
        if let Some(peer) = peer {
            request.extensions_mut().insert(ConnectInfo(peer.parse::<SocketAddr>().unwrap()));
        }
        assert_eq!(site.send(request).await.status().as_u16(), status, "{peer:?}");
    }
}

/// `rotate` gives the same rights under a new text, and no more time than who asks has left.
#[tokio::test]
async fn a_token_that_rotates_itself_prolongs_nothing_and_takes_what_it_made_along() {
    let site = Site::new(false);
    let (id, text) = site.token(json!({"scopes": ["tokens:admin"], "life_ms": 7_200_000})).await;
    let rotate = format!("/hms/v1/tokens/{id}/rotate");
    let longer = json!({"reason": "x", "life_ms": 86_400_000});
    let (status, problem) = site.status(&text, Method::POST, &rotate, longer).await;
    assert_eq!(
        (status, problem["detail"].as_str()),
        (StatusCode::CONFLICT, Some("k-1 cannot give what it does not have"))
    );
    let (status, next) =
        site.status(&text, Method::POST, &rotate, json!({"reason": "x", "overlap_ms": 0})).await;
    assert_eq!((status, &next["token"]["made_with"]), (StatusCode::CREATED, &json!(id)));
    let before = &site.get(&format!("/hms/v1/tokens/{id}")).await.1;
    // Brought forward to now by the overlap of nothing.
    assert_eq!(before["state"], "ended");
    let (status, problem) = site.status(&text, Method::GET, "/hms/v1/tokens", json!({})).await;
    assert_eq!((status, problem["detail"].as_str()), (StatusCode::UNAUTHORIZED, Some("k-1 has ended")));
    let second = next["text"].as_str().unwrap().to_owned();
    let wanted = json!({"scopes": ["tokens:admin"], "life_ms": 1_000_000, "reason": "x"});
    let (status, made) = site.status(&second, Method::POST, "/hms/v1/tokens", wanted).await;
    assert_eq!(status, 201, "{made}");
    // Whoever revokes the first learns what goes with it.
    let (status, revoked) =
        site.post(&format!("/hms/v1/tokens/{id}/revoke"), json!({"reason": "leaked"})).await;
    assert_eq!((status, &revoked["also"]), (StatusCode::OK, &json!(["k-2", "k-3"])), "{revoked}");
    assert_eq!(revoked["token"]["state"], "revoked");
    for text in [&second, made["text"].as_str().unwrap()] {
        let (status, _) = site.status(text, Method::GET, "/hms/v1/tokens", json!({})).await;
        assert_eq!(status, 401);
    }
    let third = site.get("/hms/v1/tokens/k-3").await.1;
    assert_eq!((&third["revoked_with"], &third["made_with"]), (&json!("k-1"), &json!("k-2")));

    let (id, maker) = site.token(json!({"scopes": ["tokens:admin", "state:read"]})).await;
    let child = json!({"scopes": ["state:read"], "life_ms": 1_000_000, "reason": "x"});
    let (_, child) = site.status(&maker, Method::POST, "/hms/v1/tokens", child).await;
    let kept = json!({"reason": "it left", "keep_made": true});
    let (_, revoked) = site.post(&format!("/hms/v1/tokens/{id}/revoke"), kept).await;
    assert_eq!(revoked["also"], json!([]));
    let (status, _) =
        site.status(child["text"].as_str().unwrap(), Method::GET, "/hms/v1/services", json!({})).await;
    assert_eq!(status, 200);
}

/// Bad input of the issue: another tower's, a wrong checksum, odd texts. Nothing says more than it must.
#[tokio::test]
async fn a_token_that_is_not_one_of_ours_is_refused_whatever_it_looks_like() {
    let (site, other) = (Site::new(false), Site::new(false));
    let (_, foreign) = other.token(json!({"scopes": ["state:read"]})).await;
    let (_, own) = site.token(json!({"scopes": ["state:read"]})).await;
    let last = if own.ends_with('0') { "1" } else { "0" };
    for (text, said) in [
        (foreign, "the token is not known here"),
        (format!("{}{last}", &own[..own.len() - 1]), "mistyped or cut off"),
        (own[..own.len() - 1].to_owned(), "mistyped or cut off"),
        (format!("{own}{own}"), "mistyped or cut off"),
        (own.to_lowercase(), "mistyped or cut off"),
        ("hms_sa_".to_owned(), "mistyped or cut off"),
        (own.replacen("hms_sa_", "hms_admin_", 1), "mistyped or cut off"),
        (format!("hms_brk_{}", &own[7..]), "mistyped or cut off"),
    ] {
        let (status, problem) = site.status(&text, Method::GET, "/hms/v1/services", json!({})).await;
        assert_eq!(status, 401, "{text}");
        assert!(problem["detail"].as_str().unwrap().contains(said), "{problem}");
        assert!(text.len() < 8 || !problem.to_string().contains(&text), "{problem}");
    }
    assert_eq!(site.status(&own, Method::GET, "/hms/v1/services", json!({})).await.0, 200);
}

/// What a path names is read as the router reads it, and hints name nothing that somebody may not know of.
#[tokio::test]
async fn a_bound_token_finds_no_way_around_and_learns_of_nothing() {
    let site = Site::new(false).with_forms().await;
    let all = json!(["state:read", "deploy:request", "deploy:rollback", "deploy:promote", "services:write"]);
    let own = site.token(json!({"scopes": all, "services": ["nothing-yet"]})).await.1;
    for path in [
        "/hms/v1/services/legacy-forms",
        "/hms/v1/services/legacy%2Dforms",
        "/hms/v1/services/%6cegacy-forms",
        "/hms/v1/services/nothing-yet%2F..%2Flegacy-forms",
        "/hms/v1/services/nothing-yet/../legacy-forms",
        "/hms/v1/services//legacy-forms",
        "/hms/v1/releases?service=legacy%2Dforms",
        "/hms/v1/releases?service=nothing-yet&service=legacy-forms",
        "/hms/v1/releases?%73ervice=legacy-forms",
        "/hms/v1/releases?service=nothing-yet&%73ervice=legacy-forms",
        "/dash/legacy-forms",
    ] {
        let (status, answer) = site.status(&own, Method::GET, path, json!({})).await;
        assert!(matches!(status.as_u16(), 400 | 403 | 404), "{path}: {status} {answer}");
        let named = answer.to_string().matches("legacy").count();
        assert!(
            named == 0 || answer["instance"].as_str().unwrap_or(path).contains("legacy"),
            "{path}: {answer}"
        );
        assert!(
            answer.get("hint").is_none_or(|hint| !hint.to_string().contains("legacy")),
            "{path}: {answer}"
        );
    }
    // Bound to what there is not: it may ask for that, and is not told what there is.
    let (status, problem) = site.status(&own, Method::GET, "/hms/v1/services/nothing-yet", json!({})).await;
    assert_eq!(
        (status, problem["detail"].as_str()),
        (StatusCode::NOT_FOUND, Some("there is no service `nothing-yet`"))
    );
    assert!(problem["hint"].is_null(), "{problem}");
    let admin = site.get("/hms/v1/services/nothing-yet").await.1;
    assert_eq!(admin["hint"], "known: legacy-forms");
    // Bound by a selector that matches nothing it reaches nothing.
    let (status, _) = site.status(&own, Method::GET, "/hms/v1/services", json!({})).await;
    assert_eq!(status, 403);
}

/// What goes out together is steered by who may touch all of it.
#[tokio::test]
async fn a_token_bound_to_one_service_does_not_steer_the_fellows_of_its_release() {
    let site = Site::new(false);
    let services = "services:\n  legacy-forms: &one\n    driver: external\n    upstreams: {\"1.7.3\": [\"127.0.0.1:1\"], \"1.8.0\": [\"127.0.0.1:2\"]}\n";
    let services = services.replace(" &one", "");
    let both = format!(
        "{services}{}",
        services.trim_start_matches("services:\n").replace("legacy-forms", "new-forms")
    );
    let (status, answer) = site.post("/hms/v1/apply", file("services.yaml", &both)).await;
    assert_eq!(status, 200, "{answer}");
    for name in ["legacy-forms", "new-forms"] {
        let adopted = json!({"version": "1.7.3", "upstreams": ["127.0.0.1:1"]});
        assert_eq!(site.post(&format!("/hms/v1/services/{name}/adopt"), adopted).await.0, 200);
    }
    let files = ["legacy-forms", "new-forms"]
        .map(|name| json!({"name": format!("{name}.yaml"), "text": CANARY.replace("legacy-forms", name)}));
    let (status, begun) = site.post("/hms/v1/deploy/group", json!({"files": files})).await;
    assert_eq!(status, 201, "{begun}");
    let all = json!(["state:read", "deploy:request", "deploy:rollback", "deploy:promote"]);
    let one = site.token(json!({"scopes": all, "services": ["legacy-forms"]})).await.1;
    let both = site.token(json!({"scopes": all, "services": ["legacy-forms", "new-forms"]})).await.1;
    let id = begun["releases"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(
        site.status(&one, Method::GET, &format!("/hms/v1/releases/{id}"), json!({})).await.0,
        200,
        "it may look"
    );
    let deploy = json!({"name": "canary.yaml", "text": CANARY});
    for (path, body) in [
        (format!("/hms/v1/releases/{id}/abort"), json!({"reason": "x"})),
        (format!("/hms/v1/releases/{id}/pause"), json!({"reason": "x"})),
        (format!("/hms/v1/releases/{id}/promote"), json!({"reason": "x"})),
        ("/hms/v1/services/legacy-forms/rollback".to_owned(), json!({"reason": "x"})),
        ("/hms/v1/deploy".to_owned(), deploy),
    ] {
        let (status, problem) = site.status(&one, Method::POST, &path, body).await;
        assert_eq!(status, 403, "{path}: {problem}");
        assert!(!problem.to_string().contains("new-forms"), "{problem}");
    }
    let (status, answer) = site
        .status(&both, Method::POST, &format!("/hms/v1/releases/{id}/abort"), json!({"reason": "x"}))
        .await;
    assert_eq!(status, 200, "{answer}");
}

/// M15: what came to a door stands in the ledger, denials with their reason, and from it when a token was last used.
#[tokio::test]
async fn each_door_leaves_a_receipt_and_a_token_its_last_use() {
    let site = Site::new(false);
    let (id, text) = site.token(json!({"scopes": ["state:read"]})).await;
    for _ in 0..3 {
        assert_eq!(site.status(&text, Method::GET, "/hms/v1/services", json!({})).await.0, 200);
    }
    assert_eq!(site.status(&text, Method::GET, "/hms/v1/audit", json!({})).await.0, 403);
    let mut request =
        bare(Method::GET, "/hms/v1/nothing/\u{7}".trim_end_matches('\u{7}')).body(Body::empty()).unwrap();
    request.extensions_mut().insert(ConnectInfo("10.1.2.3:9".parse::<SocketAddr>().unwrap()));
    assert_eq!(site.send(request).await.status(), 401);
    assert_eq!(site.send(bare(Method::GET, "/status").body(Body::empty()).unwrap()).await.status(), 200);
    let fresh = site.get(&format!("/hms/v1/tokens/{id}")).await.1;
    assert_eq!(fresh["uses"], 4, "before anything is written down");

    let write = || receipts::write(&site.context.auth, &site.context.engine, site.context.clock);
    write().await;
    let (_, found) = site.get("/hms/v1/audit?kind=door").await;
    let entries = found["entries"].as_array().unwrap();
    let of = |door: &str| {
        let found: Vec<&Value> =
            entries.iter().filter(|entry| entry["subject"] == format!("door/{door}")).collect();
        assert_eq!(found.len(), 1, "{door}: {entries:?}");
        found[0].clone()
    };
    let (api, public) = (of("api"), of("public"));
    let receipt = &api["data"]["receipt"];
    // The token was made, five requests, and one look.
    assert_eq!((&receipt["requests"], &receipt["refused"]), (&json!(7), &json!(2)), "{receipt}");
    let whys: Vec<&str> =
        receipt["denials"].as_array().unwrap().iter().map(|denial| denial["why"].as_str().unwrap()).collect();
    assert_eq!(whys, ["k-1 has no scope `audit:read`", "this needs a token"]);
    assert_eq!(receipt["callers"][0]["who"], json!({"token": id}));
    assert_eq!(
        (&receipt["callers"][0]["requests"], &receipt["callers"][0]["refused"]),
        (&json!(4), &json!(1))
    );
    assert!(receipt.to_string().contains("10.1.2.3"));
    assert!(!receipt.to_string().contains("/hms/v1/nothing"), "what somebody makes up stands nowhere");
    assert!(
        api["said"]
            .as_str()
            .unwrap()
            .contains("7 requests at api by 1 token, 1 person, 1 address, 2 refused"),
        "{api}"
    );
    assert_eq!(public["data"]["receipt"]["callers"][0]["who"], "nobody");
    let controls = site.get("/hms/v1/audit?control=AC-6(9)&kind=door.receipt").await.1;
    assert_eq!(controls["entries"].as_array().unwrap().len(), 2);

    // Kept: the same, and a minute of nothing leaves nothing.
    let snapshot = site.context.engine.snapshot();
    let used = snapshot.state.access.tokens[&id.parse().unwrap()].used.unwrap();
    assert_eq!(used.count, 4);
    write().await;
    let after = site.context.engine.snapshot().ledger_size;
    write().await;
    assert_eq!(site.context.engine.snapshot().ledger_size, after, "nobody came");
    assert_eq!(site.get(&format!("/hms/v1/tokens/{id}")).await.1["uses"], 4);
}

/// A page makes, rotates and revokes a token; its text stands on one page alone.
#[tokio::test]
async fn a_person_makes_and_revokes_tokens_by_forms() {
    let site = Site::new(false);
    let link = site.context.auth.login_link(site.context.clock.now());
    let response = site.send(bare(Method::GET, &link).body(Body::empty()).unwrap()).await;
    let cookie = response.headers()[SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
    let page = |method: Method, path: &str, form: &str| {
        let request = bare(method, path)
            .header(COOKIE, &cookie)
            .header("accept", "text/html")
            .header("sec-fetch-site", "same-origin")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from(form.to_owned()))
            .unwrap();
        let site = &site;
        async move {
            let response = site.send(request).await;
            let location = response.headers().get(LOCATION).map(|to| to.to_str().unwrap().to_owned());
            let (status, text) = read(response).await;
            (status.as_u16(), location, text.as_str().unwrap_or_default().to_owned())
        }
    };
    let (status, _, text) = page(Method::GET, "/tokens", "").await;
    assert!(status == 200 && text.contains("No token was given out"), "{text}");
    let (status, _, text) = page(Method::GET, "/tokens/new", "").await;
    assert!(status == 200 && text.contains("scope.deploy:request"), "{text}");
    // Mistakes come back with what was typed.
    let (status, _, text) =
        page(Method::POST, "/tokens/new", "kind=sa&owner=team%20a&reason=CI&expires=90d").await;
    assert!(
        status == 400 && text.contains("tick what it may do") && text.contains("value=\"team a\""),
        "{text}"
    );
    let wanted = "kind=sa&scope.state%3Aread=true&scope.deploy%3Arequest=true&services=csac-portal%2C+dmv-photo&networks=&expires=90d&reason=CI";
    let (status, _, text) = page(Method::POST, "/tokens/new", wanted).await;
    assert_eq!(status, 201, "{text}");
    let at = text.find("hms_sa_").unwrap();
    let secret = text[at..at + 56].to_owned();
    assert!(token::is_well_formed(&secret), "{secret}");
    assert_eq!(site.status(&secret, Method::GET, "/hms/v1/services/dmv-photo", json!({})).await.0, 404);
    let (_, _, list) = page(Method::GET, "/tokens", "").await;
    assert!(list.contains("csac-portal, dmv-photo only") && !list.contains(&secret), "{list}");
    let (status, _, text) =
        page(Method::POST, "/tokens/k-1/rotate", "overlap=2h&expires=&reason=quarterly").await;
    assert!(status == 201 && text.contains("k-2 is made") && text.contains("k-1 goes on until"), "{text}");
    assert_eq!(page(Method::GET, "/tokens/k-1/rotate", "").await.0, 404, "it is rotated already");
    let (status, _, text) = page(Method::POST, "/tokens/k-1/revoke", "reason=").await;
    assert!(status == 400 && text.contains("a reason is needed"), "{text}");
    let (status, to, _) = page(Method::POST, "/tokens/k-1/revoke", "reason=lost").await;
    assert_eq!((status, to.as_deref()), (303, Some("/tokens#k-1")));
    assert_eq!(site.status(&secret, Method::GET, "/hms/v1/services/dmv-photo", json!({})).await.0, 401);
    // A page of somebody else's makes none.
    let foreign =
        bare(Method::POST, "/tokens/new").header(COOKIE, &cookie).header("sec-fetch-site", "cross-site");
    let foreign = foreign.header("content-type", "application/x-www-form-urlencoded");
    assert_eq!(site.send(foreign.body(Body::from(wanted)).unwrap()).await.status(), 403);
}

#[tokio::test]
async fn the_ledger_is_searched_read_and_checked_by_pages() {
    let site = Site::new(false).with_forms().await;
    let (_, secret) = site.token(json!({"scopes": ["state:read"]})).await;
    let get = |path: &str| {
        let request = bare(Method::GET, path)
            .header("authorization", format!("Bearer {}", site.token))
            .header("accept", "text/html")
            .body(Body::empty())
            .unwrap();
        let site = &site;
        async move {
            let (status, text) = read(site.send(request).await).await;
            (status.as_u16(), text.as_str().unwrap_or_default().to_owned())
        }
    };
    let (status, text) = get("/audit").await;
    assert!(status == 200 && text.contains("service.declared") && !text.contains(&secret), "{text}");
    let (status, text) = get("/audit?kind=token&control=ia-5").await;
    assert!(status == 200 && text.contains("1 of ") && text.contains("k-1 is given to admin"), "{text}");
    let (status, text) = get("/audit?kind=&service=nobody&actor=%22%3E%3Cscript%3E").await;
    assert!(status == 200 && text.contains("entries fits.") && !text.contains("\"><script"), "{text}");
    let (status, text) = get("/audit?control=everything&from=yesterday").await;
    assert!(
        status == 400 && text.contains("is no control") && text.contains("value=\"yesterday\""),
        "{text}"
    );
    let (status, text) = get("/audit/0").await;
    assert!(status == 200 && text.contains("What it holds"), "{text}");
    assert_eq!((get("/audit/99999").await.0, get("/audit/x").await.0), (404, 400));
    let (status, text) = get("/audit/check").await;
    assert!(status == 200 && text.contains("The ledger is whole"), "{text}");
    let (status, entry) = site.get("/hms/v1/audit/0").await;
    assert_eq!((status, &entry["seq"]), (StatusCode::OK, &json!(0)), "{entry}");
    assert_eq!(site.get("/hms/v1/audit/99999").await.0, 404);
}
