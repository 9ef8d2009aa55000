use std::sync::LazyLock;

use hmsops_control::headline::{Outlook, plain};
use hmsops_control::incident::RESOLVED_HEADING as RESOLVED;
use hmsops_control::people::Proof;
use hmsops_control::transition::{HoldReason, Transition};
use hmsops_model::{Millis, ReleaseId};
use hmsops_wire::api::Verified;

use super::scene::{BEGIN, Scene, look, name, scenes};
use super::*;

/// All pages of one look, by file name.
fn pages(scene: &Scene, look: &Look<'_>) -> Vec<(String, String)> {
    let mut pages = vec![
        ("home".to_owned(), home(look)),
        ("releases".to_owned(), releases(look)),
        ("status".to_owned(), status(look)),
        ("people".to_owned(), people(look)),
        ("breakglass".to_owned(), glasses(look)),
    ];
    let mut newest = scene.entries.clone();
    newest.reverse();
    pages.push((
        "audit".to_owned(),
        audit(
            look,
            AuditPage {
                entries: &newest,
                older: Some(3),
                newest: true,
                filter: &AuditFilter::default(),
                refused: None,
            },
        ),
    ));
    pages.extend(locks(scene, look));
    pages.extend(doors(look));
    pages.extend([
        ("alerts".to_owned(), alerts(look)),
        ("tickets".to_owned(), tickets(look)),
        ("notices".to_owned(), notices(look)),
    ]);
    let signals = &look.view.state.signals;
    for id in signals.alerts.keys() {
        let of = |entry: &&hmsops_ledger::Entry| entry.subject.starts_with("rule/");
        let lines: Vec<_> = scene.entries.iter().filter(of).cloned().collect();
        pages.push((format!("alert-{id}"), alert(look, *id, &lines).unwrap()));
    }
    for id in signals.tickets.keys() {
        pages.push((format!("ticket-{id}"), ticket(look, *id, &scene.entries).unwrap()));
    }
    for rule in signals.rules.keys() {
        pages.push((format!("silence-{rule}"), deed(look, &Deed::Silence(rule.clone()), None).unwrap()));
    }
    for id in look.view.state.releases.keys() {
        let of = Some(id.to_string());
        let lines: Vec<_> = scene.entries.iter().filter(|entry| entry.release == of).cloned().collect();
        pages.push((format!("release-{id}"), release(look, *id, &lines, None).unwrap()));
        for verb in Verb::ALL {
            pages.extend(action(look, *id, verb, None).map(|page| (format!("{}-{id}", verb.as_str()), page)));
        }
    }
    for service_name in look.view.state.services.keys().take(2) {
        pages.push((format!("service-{service_name}"), service(look, service_name, &[]).unwrap()));
    }
    pages.push(("dash-csac".to_owned(), dash(look, "csac", &[])));
    pages.push(("dashes".to_owned(), dashes(look)));
    pages
}

fn name_of(session: Option<&hmsops_control::people::Session>) -> &str {
    session.map_or("ann@laptop", |session| &session.name)
}

/// Pages of log-ins and of what waits for a word.
fn doors(look: &Look<'_>) -> Vec<(String, String)> {
    let state = &look.view.state;
    let sessions: Vec<_> = state.people.sessions.values().cloned().collect();
    let newest = sessions.last();
    let own: Vec<_> = newest.into_iter().cloned().collect();
    let id = newest.map(|session| session.id);
    let rows = SessionRows { sessions: &sessions, own: id, all: true };
    let mut pages = vec![
        ("sessions".to_owned(), super::sessions(look, &rows)),
        (
            "sessions-own".to_owned(),
            super::sessions(look, &SessionRows { sessions: &own, own: id, all: false }),
        ),
    ];
    let who = newest.map_or_else(hmsops_control::Who::tower, hmsops_control::people::Session::who);
    let asked: Vec<Asked<'_>> = hmsops_control::people::approvals(state, &look.view.evidence)
        .into_iter()
        .map(|approval| Asked {
            approval,
            refused: approval.may(state, look.now, &who).err().map(|refusal| refusal.message),
        })
        .collect();
    pages.push(("approvals".to_owned(), approvals(look, &asked)));
    let asks = ProgramAsks { code: "WDJB-MJHT", name: name_of(newest), from: Some("10.4.1.3") };
    pages.extend([
        ("program".to_owned(), program("ann", None, Some("no program waits with this code"))),
        ("program-asks".to_owned(), program("ann", Some(asks), None)),
        ("program-yes".to_owned(), program_answered(true)),
        ("program-no".to_owned(), program_answered(false)),
    ]);
    let ways = |password, provider: &str| LoginWays {
        password,
        provider: Some(provider.to_owned()).filter(|host| !host.is_empty()),
    };
    let name = name_of(newest);
    let wrong = "wrong: there is no such account, or its password is another";
    for (page, ways, proof, refused) in [
        ("login", ways(true, "id.csac.gov"), None, None),
        ("login-first", ways(false, ""), None, Some("that link was used already")),
        ("login-wrong", ways(true, ""), None, Some(wrong)),
        ("login-again", ways(true, "id.csac.gov"), Some(Proof::Oidc), None),
        ("login-again-password", ways(true, "id.csac.gov"), Some(Proof::Password), Some(wrong)),
        ("login-again-link", ways(true, "id.csac.gov"), Some(Proof::Link), None),
    ] {
        let again = proof.map(|proof| Again { name, proof });
        pages.push((page.to_owned(), login_form(&ways, "/releases/r-1/promote", again, refused)));
    }
    pages
}

/// Pages of tokens and of the ledger.
fn locks(scene: &Scene, look: &Look<'_>) -> Vec<(String, String)> {
    let access = &look.view.state.access;
    let rows = access.tokens.values().map(|token| TokenRow {
        token,
        used: token.used,
        findings: crate::door::token_findings(token, token.used, look.view.now.wall),
    });
    let wish = TokenWish {
        kind: "sa".into(),
        owner: "CI of the portal".into(),
        scopes: vec!["state:read".into()],
        expires: "90d".into(),
        ..TokenWish::default()
    };
    let why =
        "k-1 cannot give what it does not have; no more scopes, services, networks or time than its own";
    let mut pages = vec![
        ("tokens".to_owned(), tokens(look, rows.collect())),
        ("token-new".to_owned(), token_new(look, &wish, Some(why))),
    ];
    for token in access.tokens.values() {
        let text = "hms_sa_0a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5p6q7r8s9t0uvABCDEF";
        pages.push((format!("token-made-{}", token.id), token_made(look, token, text)));
        let made = access.made_with(token.id);
        pages.extend(
            token_revoke(look, token, &made, None).map(|page| (format!("token-revoke-{}", token.id), page)),
        );
        let typed = ("1d", "", "");
        pages.extend(
            token_rotate(look, token, typed, None).map(|page| (format!("token-rotate-{}", token.id), page)),
        );
    }
    let filter = AuditFilter { kind: "release".into(), control: "IR-4".into(), ..AuditFilter::default() };
    let refused = "`IR4` is no control of NIST SP 800-53; write `IR-4`, or `IR-4(1)` for an enhancement";
    for (at, refused) in [("audit-none", None), ("audit-refused", Some(refused))] {
        let none = AuditPage { entries: &[], older: None, newest: true, filter: &filter, refused };
        pages.push((at.to_owned(), audit(look, none)));
    }
    pages.extend(scene.entries.last().map(|entry| {
        ("audit-entry".to_owned(), audit_entry(look, entry, "aGVsbG8gd29ybGQgaGVsbG8gd29ybGQgaGVsbG8gd28="))
    }));
    for first_bad in [None, Some("entry 17: it is not what its hash says".to_owned())] {
        let name = if first_bad.is_some() { "audit-broken" } else { "audit-check" };
        let found = Verified {
            whole: first_bad.is_none(),
            entries: 1_204,
            root: "aGVsbG8gd29ybGQgaGVsbG8gd29ybGQgaGVsbG8gd28=".into(),
            checkpoint_size: Some(1_200),
            torn_bytes: 0,
            first_bad,
        };
        pages.push((name.to_owned(), audit_check(look, &found)));
    }
    pages
}

fn scene(wanted: &str) -> Scene {
    static SCENES: LazyLock<Vec<(&str, Scene)>> = LazyLock::new(scenes);
    SCENES.iter().find(|(known, _)| *known == wanted).unwrap().1.clone()
}

fn headline(scene: &Scene, ms: i64) -> String {
    let view = scene.snapshot();
    let outlook: Outlook<'_> = look(&view, ms).outlook();
    plain(&outlook.headline())
}

/// What a page says between its tags, with tied spaces as plain ones.
fn words(page: &str) -> String {
    let texts = page.split('<').filter_map(|part| part.split_once('>')).map(|(_, text)| text);
    texts.collect::<String>().replace(['\u{a0}', '\u{202f}'], " ")
}

/// With `HMSOPS_PAGES_DIR` set, all scenes are written there as files to look at, each with its style sheet.
#[test]
#[expect(clippy::disallowed_methods, reason = "pages for a person's eyes, in a folder that they name")]
fn pages_can_be_looked_at() {
    let Some(dir) = std::env::var_os("HMSOPS_PAGES_DIR").map(std::path::PathBuf::from) else { return };
    for (scene_name, scene) in scenes() {
        let view = scene.snapshot();
        let look = look(&view, 400);
        for (page_name, page) in pages(&scene, &look) {
            let alone =
                page.replace(&frame::sheet().into_markup(), &format!("<style>{}</style>", style::CSS));
            std::fs::write(dir.join(format!("{scene_name}-{page_name}.html")), alone).unwrap();
        }
        std::fs::write(dir.join(format!("{scene_name}.atom")), status_atom(&look, "http://localhost:3000"))
            .unwrap();
        if let Some(badge) = badge_svg(&look, &name("csac-portal")) {
            std::fs::write(dir.join(format!("{scene_name}.svg")), badge).unwrap();
        }
    }
}

#[test]
fn the_first_sentence_is_the_most_urgent_one() {
    for (wanted, said) in [
        ("empty", "Nothing runs here yet."),
        ("healthy", "All 3 services are fine."),
        ("watched", "csac-portal 1.8.0 has 1 % of traffic and is under watch."),
        ("failing", "csac-portal 1.8.0 is being taken back."),
        ("back", "csac-portal 1.8.0 was taken back 1.9 s after its first bad answer."),
        ("held", "csac-portal 1.8.0 is halted at 1 %: /api/v1/health failed 3 probes."),
        ("silent", "Gateway public is silent: nothing is known of 3 services."),
        ("many", "The ledger takes nothing, so nothing advances."),
        (
            "signals",
            "Take-Over Required: dmv-photo (t-1). photo_error_spike: rollback dmv-photo --to=prev exited with status 1.",
        ),
    ] {
        assert_eq!(headline(&scene(wanted), 100), said, "{wanted}");
        assert!(words(&home(&look(&scene(wanted).snapshot(), 100))).contains(said), "{wanted}");
    }
    assert_eq!(headline(&scene("healthy"), 12_000), "Nothing is known of now: tower last heard 12 s ago.");
}

/// A service's tile goes red with its canary's bad answers, and green when it has been taken back.
#[test]
fn a_tile_goes_red_and_green() {
    let tile = |scene: &Scene| {
        let page = home(&look(&scene.snapshot(), 100));
        let tile = page
            .split("<li class=\"tile card ")
            .skip(1)
            .find(|part| part.contains("/dash/csac-portal"))
            .unwrap();
        tile.split('"').next().unwrap().to_owned()
    };
    let classes = ["healthy", "watched", "failing", "back", "silent"].map(|wanted| tile(&scene(wanted)));
    assert_eq!(classes, ["ok", "warn", "bad", "ok", "unknown"]);
    let mut scene = scene("watched");
    for _ in 0..2 {
        scene.pass(1000);
        scene.gateway();
        scene.second("csac-portal", (198, 0), (2, 2));
    }
    scene.pass(1000);
    assert_eq!(tile(&scene), "bad", "before any verdict");
}

/// Unknown is never drawn green: neither a silent service nor a snapshot that is old.
#[test]
fn what_is_not_known_is_not_green() {
    let silent = scene("silent").snapshot();
    let calm = scene("healthy").snapshot();
    for (view, ms, since) in
        [(&silent, 100, "no data since 14:01:13 UTC"), (&calm, 9000, "tower last heard 9 s ago")]
    {
        let page = home(&look(view, ms));
        assert!(page.contains(since) && !page.contains("sign ok") && !page.contains("card ok"), "{since}");
        let public = status(&look(view, ms));
        assert!(public.contains("We have no data at the moment") && !public.contains("sign ok"));
        assert!(badge_svg(&look(view, ms), &name("csac-portal")).unwrap().contains("unknown"));
        assert_eq!(status_json(&look(view, ms))["services"][0]["state"], "unknown");
    }
}

/// No page holds a script, an inline style or an event handler; each has one first heading and a language.
#[test]
fn every_page_obeys_the_policy_and_can_be_read_aloud() {
    for (scene_name, scene) in scenes() {
        let view = scene.snapshot();
        for (page_name, page) in pages(&scene, &look(&view, 100)) {
            let at = format!("{scene_name} {page_name}");
            // The live parts, where they are built, are the one script, and it is a file of ours.
            let own =
                style::LIVE_PATHS.as_ref().map(|(js, _)| format!("<script defer src=\"{js}\"></script>"));
            let page = own.map_or(page.clone(), |own| page.replacen(&own, "", 1));
            for forbidden in
                ["<script", "<style", " style=", " onclick=", "javascript:", "http://", "NaN", "inf"]
            {
                let markup = page.replace("http://www.w3.org", "").replace("info", "");
                assert!(!markup.contains(forbidden), "{at}: {forbidden}");
            }
            assert_eq!(page.matches("<h1").count(), 1, "{at}");
            assert_eq!(page.matches("<main").count(), 1, "{at}");
            assert!(page.starts_with("<!doctype html>") && page.contains("<html lang=\"en\">"), "{at}");
            for svg in page.split("<svg").skip(1).filter(|svg| !svg.starts_with(" width=\"100%\"")) {
                let head = svg.split('>').next().unwrap();
                assert!(head.contains("aria-hidden") || head.contains("aria-label"), "{at}: {head}");
            }
        }
    }
}

#[test]
fn whatever_others_write_stays_text() {
    let hostile = "<img src=x onerror=alert(1)>\"'&\u{202e}";
    let mut scene = scene("watched");
    let id = ReleaseId(1);
    scene.hold(id, HoldReason::Halted { path: hostile.into(), fails: 3 });
    let mut spec = scene.state.services[&name("csac-portal")].spec.clone();
    (spec.owner, spec.system) = (Some(hostile.into()), hostile.into());
    let by = hmsops_control::Who { actor: hostile.into(), source: hostile.into() };
    scene.apply(
        hostile,
        "service.declared",
        &[hostile],
        Transition::ServiceDeclared { spec: Box::new(spec), by: by.clone(), left: None },
    );
    scene.apply(
        hostile,
        "x",
        &[],
        Transition::Refused { what: hostile.into(), subject: hostile.into(), why: hostile.into(), by },
    );
    super::scene_locks::hostile(&mut scene, hostile);
    super::scene_people::hostile(&mut scene, hostile);
    scene.incident("csac-portal", Some(id), 100);
    let incident = scene.state.incidents.values_mut().next_back().unwrap();
    incident.updates.push((incident.since, hostile.into()));
    scene.ledger_failed = Some(hostile.into());
    let view = scene.snapshot();
    let look = look(&view, 100);
    let mut all: Vec<String> = pages(&scene, &look).into_iter().map(|(_, page)| page).collect();
    all.extend([
        status_atom(&look, hostile),
        login_form(
            &LoginWays { password: true, provider: Some(hostile.into()) },
            hostile,
            Some(Again { name: hostile, proof: Proof::Oidc }),
            Some(hostile),
        ),
        action(&look, id, Verb::Abort, Some(hostile)).unwrap(),
    ]);
    for page in &all {
        assert!(
            !page.contains("<img") && !page.contains('\u{202e}') && !page.contains("=x onerror=alert(1)>\"")
        );
    }
    assert!(all.iter().filter(|page| page.contains("&lt;img src=x onerror")).count() >= 5);
}

#[test]
fn a_release_page_says_what_happened_and_shows_the_evidence() {
    let scene = scene("back");
    let view = scene.snapshot();
    let look = look(&view, 100);
    let page = release(&look, ReleaseId(1), &scene.entries, None).unwrap();
    let said = words(&page);
    for expected in [
        "1.8.0 was taken back 1.9 s after its first bad answer.",
        "failures hit 1.8.0, which had 1 % of users.",
        "needed 1 000",
        "1 in 1 000",
        "3failures that users saw",
        "the canary has 1 % of traffic",
        "no gateway sends the canary anything any more",
        "CM-5, SI-7",
        "taken back here",
        "Lift the denial",
    ] {
        assert!(said.contains(expected), "{expected}");
    }
    assert!(release(&look, ReleaseId(9), &[], None).is_none());
    // Its course is lost after a restart: said, not drawn as zero.
    let mut restarted = scene.snapshot();
    restarted.evidence.releases.clear();
    let page = release(&super::scene::look(&restarted, 100), ReleaseId(1), &[], None).unwrap();
    assert!(
        page.contains("no longer at hand")
            && page.contains("could not be read")
            && !page.contains("class=\"chart\"")
    );
}

#[test]
fn actions_fit_the_moment_and_ask_for_a_reason() {
    let offered = |wanted: &str| {
        let view = scene(wanted).snapshot();
        let look = look(&view, 100);
        let fits = Verb::ALL.into_iter().filter(|verb| action(&look, ReleaseId(1), *verb, None).is_some());
        fits.map(Verb::as_str).collect::<Vec<_>>()
    };
    assert_eq!(offered("watched"), ["promote", "pause", "abort"]);
    assert_eq!(offered("held"), ["promote", "resume", "abort"]);
    assert_eq!(offered("back"), ["undeny"]);
    let view = scene("watched").snapshot();
    let page = action(&look(&view, 100), ReleaseId(1), Verb::Abort, None).unwrap();
    assert!(
        page.contains("method=\"post\" action=\"/releases/r-1/abort\"") && page.contains("name=\"reason\"")
    );
    assert!(
        page.contains(" required") && !page.contains("http-equiv=\"refresh\""),
        "what is typed must not be lost"
    );
    let back = scene("back").snapshot();
    let refused = action(&look(&back, 100), ReleaseId(1), Verb::Pause, Some("r-1 has ended")).unwrap();
    assert!(refused.contains("Not done: r-1 has ended"));
    assert_eq!("abort".parse(), Ok(Verb::Abort));
    assert!("deploy".parse::<Verb>().is_err());
}

#[test]
fn pages_renew_themselves_faster_while_a_release_is_out() {
    let renewed = |wanted: &str, live| {
        let view = scene(wanted).snapshot();
        let page = home(&Look { live, ..look(&view, 100) });
        page.split("http-equiv=\"refresh\" content=\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next())
            .map(str::to_owned)
    };
    assert_eq!(renewed("watched", true).as_deref(), Some("2"));
    assert_eq!(renewed("healthy", true).as_deref(), Some("10"));
    assert_eq!(renewed("watched", false), None);
}

/// The chapter's words appear by themselves when a release that hurt users is off, and for a day.
#[test]
fn the_status_page_says_resolved_for_a_day() {
    let said = |scene: &Scene, ms| words(&status(&look(&scene.snapshot(), ms)));
    let failing = said(&scene("failing"), 100);
    assert!(failing.contains("Service Degradation") && !failing.contains(RESOLVED), "{failing}");
    let mut back = scene("back");
    assert!(said(&back, 100).contains(RESOLVED));
    assert!(
        said(&back, 100)
            .contains("Some requests to csac-portal failed from 14:02:18 to 14:02:20 UTC. They work again.")
    );
    back.pass(3_600_000 * 23);
    back.good(&["csac-portal", "dmv-photo", "tax-renewals"], 3);
    assert!(
        said(&back, 100).contains("failed on 29 November from 14:02:18 to 14:02:20 UTC. They work again.")
    );
    back.pass(3_600_000);
    back.good(&["csac-portal", "dmv-photo", "tax-renewals"], 3);
    let calm = said(&back, 100);
    assert!(
        calm.contains("All services work") && calm.contains("Service Degradation Resolved: csac-portal"),
        "{calm}"
    );
}

#[test]
fn citizens_see_no_host_version_path_or_error() {
    for (scene_name, scene) in scenes() {
        let view = scene.snapshot();
        let look = look(&view, 100);
        let said = words(&status(&look)) + &status_json(&look).to_string() + &status_atom(&look, "");
        for secret in
            ["1.8.0", "1.7.3", "/api/v1", "/srv/", "127.0.0.1", "oncall@", "answered 500", "gateway", "disk"]
        {
            assert!(!said.contains(secret), "{scene_name}: {secret}");
        }
    }
}

#[test]
fn days_before_a_service_was_seen_are_unknown_and_a_short_incident_marks_its_day() {
    use super::history::{Day, availability, days, per_cent};
    let scene = scene("back");
    let service = &scene.state.services[&name("csac-portal")];
    let days = days(&scene.state, service, scene.now.wall);
    assert_eq!(days.len(), 90);
    assert_eq!(days.iter().filter(|day| **day == Day::Unknown).count(), 80);
    assert!(matches!(days.last(), Some(Day::Incident(spent)) if (1000..4000).contains(spent)));
    let (value, span) = availability(&scene.state, service, scene.now.wall).unwrap();
    assert!(value < 100.0 && per_cent(value) == "99.99 %" && span > 9 * 86_400_000);
    let calm = &scene.state.services[&name("dmv-photo")];
    assert_eq!(
        availability(&scene.state, calm, scene.now.wall).map(|(value, _)| per_cent(value)).unwrap(),
        "100 %"
    );
    let never = self::scene("many");
    let zoning = &never.state.services[&name("zoning")];
    assert_eq!(availability(&never.state, zoning, UnixMillis(BEGIN)), None);
}

/// An entry of the feed keeps its id for good, and `updated` moves when its incident is resolved.
#[test]
fn the_feed_keeps_ids_and_moves_updated() {
    let part = |feed: &str, tag: &str| -> Vec<String> {
        let open = format!("<{tag}>");
        let parts = feed.split(&open).skip(1);
        parts.map(|rest| rest.split("</").next().unwrap().to_owned()).collect()
    };
    let mut scene = scene("failing");
    let before = status_atom(&look(&scene.snapshot(), 100), "https://status.csac.gov");
    scene.pass(5000);
    scene.resolved("csac-portal");
    let after = status_atom(&look(&scene.snapshot(), 100), "https://status.csac.gov");
    let later = status_atom(&look(&scene.snapshot(), 60_000), "https://status.csac.gov");
    assert_eq!((part(&before, "id"), part(&after, "id").len()), (part(&after, "id"), 2));
    assert!(
        part(&after, "id")
            .iter()
            .all(|id| id.len() == 45 && id.starts_with("urn:uuid:") && id.as_bytes()[23] == b'8')
    );
    assert!(
        part(&before, "updated").iter().zip(part(&after, "updated")).all(|(before, after)| *before < after)
    );
    assert_eq!(part(&after, "updated"), part(&later, "updated"), "asking for the feed changes nothing");
    assert_eq!(part(&after, "title")[1], "Service Degradation Resolved: csac-portal");
}

/// The file that another host serves needs nothing beside it.
#[test]
fn the_status_page_works_alone() {
    let view = scene("back").snapshot();
    let page = status_static(&look(&view, 100));
    assert!(page.contains("<style>") && !page.contains("rel=\"stylesheet\"") && page.contains(RESOLVED));
    assert!(!page.contains("<script"));
}

/// Whoever serves the file may send no headers: it names its own style sheet by hash, and lets nothing else in.
#[test]
fn the_status_page_that_works_alone_brings_its_policy() {
    use base64::Engine as _;
    use sha2::Digest as _;

    let view = scene("back").snapshot();
    let page = status_static(&look(&view, 100));
    let (before, rest) = page.split_once("<style>").unwrap();
    let (sheet, _) = rest.split_once("</style>").unwrap();
    let hash = base64::engine::general_purpose::STANDARD.encode(sha2::Sha256::digest(sheet));
    assert!(before.contains("http-equiv=\"content-security-policy\""), "{before}");
    assert!(before.contains("content=\"default-src &#39;none&#39;"), "{before}");
    assert!(before.contains(&format!("style-src &#39;sha256-{hash}&#39;")), "{before}");
    assert!(!page.contains(" style=\""), "an attribute would not be let in");
}

#[test]
fn a_tower_of_a_thousand_services_has_pages_of_bounded_size() {
    let mut scene = Scene::empty();
    for i in 0..1000 {
        scene.stable(&format!("service-{i}"), "1.0.0");
    }
    scene.pass(Millis::from_secs(60).0 as i64);
    let view = scene.snapshot();
    let page = home(&look(&view, 100));
    assert!(words(&page).contains("1000 services") && page.len() < 2_000_000, "{}", page.len());
}

/// Chapter 20: what fires stands first, with its value, its heal and who has it; what cannot see is not fine.
#[test]
fn alerts_say_what_fires_by_need_and_what_is_done() {
    let scene = scene("signals");
    let view = scene.snapshot();
    let look = look(&view, 100);
    let page = alerts(&look);
    let said = words(&page);
    for expected in [
        "3 alerts fire. First: photo_error_spike fired 42 s ago: 0.42; a person has to take over: t-1.",
        "fired, take-over",
        "rollback csac-portal --to=prev runs",
        "Holds for 2 s of 1 min: 0.9.",
        "No data since 14:0",
        "Silenced until",
        "its heal is held too (--keep-heal); release detectors stay on",
        "query failed: unknown function `rat`",
        "Nothing is healed",
    ] {
        let found = said.contains(expected) || words(&home(&look)).contains(expected);
        assert!(found, "{expected} is missing in {said}");
    }
    let at = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text}"));
    assert!(at("id=\"a-1\"") < at("id=\"a-2\"") && at("id=\"a-2\"") < at("id=\"a-3\""), "by need");
    assert!(at("id=\"a-3\"") < at("id=\"a-4\""), "what is silenced comes last");
    assert!(said.contains("share") && said.contains("(this one holds)"), "both readings stand there");
    let calm = words(&alerts(&super::scene::look(&self::scene("empty").snapshot(), 100)));
    assert!(calm.contains("No alert rule is declared yet.") && calm.contains("hmsops alert create"));
}

#[test]
fn a_ticket_shows_what_was_tried_and_what_it_printed() {
    let scene = scene("signals");
    let view = scene.snapshot();
    let look = look(&view, 100);
    let id = hmsops_model::TicketId(1);
    let page = words(&ticket(&look, id, &scene.entries).unwrap());
    assert!(
        page.contains("Take-Over Required: dmv-photo.") && page.contains("no proven version to go back to")
    );
    assert!(page.contains("Close it…"), "{page}");
    let alert = words(&alert(&look, hmsops_model::AlertId(1), &scene.entries).unwrap());
    assert!(alert.contains("exited with status 1") && alert.contains("no proven version to go back to"));
    assert!(super::alert(&look, hmsops_model::AlertId(99), &[]).is_none());
    assert!(super::ticket(&look, hmsops_model::TicketId(99), &[]).is_none());
}

#[test]
fn notices_that_were_given_up_come_first() {
    let scene = scene("signals");
    let view = scene.snapshot();
    let page = notices(&look(&view, 100));
    let said = words(&page);
    assert!(said.contains("1 notice was given up, 1 waits."), "{said}");
    let at = |text: &str| page.find(text).unwrap();
    assert!(at("given up</span>") < at("waiting</span>") && at("waiting</span>") < at("delivered</span>"));
    assert!(page.contains("/notices/n-2/retry") && !page.contains("/notices/n-1/retry"));
}

#[test]
fn deeds_fit_the_moment_and_ask_for_a_reason() {
    let scene = scene("signals");
    let view = scene.snapshot();
    let look = look(&view, 100);
    let rule = |text: &str| hmsops_model::RuleName::new(text).unwrap();
    let fits = |known: Deed| deed(&look, &known, None);
    let page = fits(Deed::Silence(rule("photo_error_spike"))).unwrap();
    for expected in [
        "method=\"post\" action=\"/rules/photo_error_spike/silence\"",
        "name=\"reason\"",
        "name=\"for\"",
        "name=\"keep_heal\"",
    ] {
        assert!(page.contains(expected), "{expected}");
    }
    assert!(!page.contains("http-equiv=\"refresh\""), "what is typed must not be lost");
    assert!(fits(Deed::PauseHeals).is_none() && fits(Deed::ResumeHeals).is_some(), "healing is paused");
    assert!(fits(Deed::Heal(rule("photo_error_spike"))).is_none());
    assert!(fits(Deed::Ack(hmsops_model::AlertId(3))).is_none(), "what does not fire is in nobody's hand");
    assert!(fits(Deed::CloseTicket(hmsops_model::TicketId(1))).is_some());
    assert!(fits(Deed::RetryNotice(hmsops_model::NoticeId(1))).is_none(), "it arrived");
    let refused = deed(&look, &Deed::PauseHeals, Some("it is <b>not</b>")).unwrap();
    assert!(refused.contains("Not done: it is &lt;b&gt;not&lt;/b&gt;"));
    assert_eq!(Deed::Silence(rule("a b %ü")).path(), "/rules/a%20b%20%25%C3%BC/silence");
}

/// A person is asked for what only a person can say, and told what ends a hold.
#[test]
fn a_hold_says_what_ends_it_and_its_form_asks_for_what_it_takes() {
    let page_of = |wanted: &str| {
        let view = scene(wanted).snapshot();
        words(&release(&look(&view, 100), ReleaseId(1), &[], None).unwrap())
    };
    let form_of = |wanted: &str, verb| {
        let view = scene(wanted).snapshot();
        action(&look(&view, 100), ReleaseId(1), verb, None)
    };
    for (wanted, ends, button) in [
        ("frozen", "goes on by itself when the freeze is over", "Go on in the freeze…"),
        ("irreversible", "nothing takes it back by itself", "Go past the point of no return…"),
        ("no-return", "It waits for a person", "Go on although it is bad…"),
        ("inconclusive", "It waits for a person", "Let it go on…"),
        ("baking", "proven by itself", "Take it back…"),
        ("baking", "kept warm for another 29 min 58 s", "Take it back…"),
    ] {
        let page = page_of(wanted);
        assert!(page.contains(ends) && page.contains(button), "{wanted}: {page}");
    }
    let boxes = |wanted: &str| {
        let form = form_of(wanted, Verb::Promote).unwrap();
        ["override_freeze", "no_return"].map(|name| form.contains(&format!("name=\"{name}\"")))
    };
    assert_eq!(boxes("watched"), [false, false]);
    assert_eq!(boxes("frozen"), [true, false]);
    assert_eq!(boxes("irreversible"), [false, true]);
    assert!(form_of("frozen", Verb::Resume).is_none() && form_of("irreversible", Verb::Resume).is_none());
    assert!(form_of("baking", Verb::Promote).is_none());
    for (verb, said) in [
        (Verb::Promote, "Together with it goes on: dmv-photo 2.12.0."),
        (Verb::Abort, "Together with it goes back: dmv-photo 2.12.0."),
    ] {
        assert!(form_of("group", verb).unwrap().contains(said), "{said}");
    }
}
