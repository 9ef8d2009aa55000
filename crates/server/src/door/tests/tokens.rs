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
    for scope in Scope::ALL {
        // Kind `pat` may have any.
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
    assert!(let_in > 50 && kept_out > 50 * (Scope::ALL.len() - 2), "{let_in} {kept_out}");
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
