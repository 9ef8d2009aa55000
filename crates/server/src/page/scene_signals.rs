//! A moment of a tower with everything that rules and heals can say, for the tests.

use std::collections::BTreeMap;

use hmsops_control::event::{Evaluation, Outcome};
use hmsops_control::signal::notice::{About, Occasion};
use hmsops_control::signal::{RuleHealth, Signal};
use hmsops_control::{Event, Who};
use hmsops_model::{
    AlertId, HealAction, HealId, Labels, Millis, NoticeId, OnNoData, RuleName, RuleSpec, SilenceId, TicketId,
};

use super::scene::{Scene, admin, name};

fn rule(text: &str) -> RuleName {
    RuleName::new(text).unwrap()
}

fn rollback(service: &str) -> HealAction {
    HealAction::Rollback { service: name(service), to: None }
}

fn declare(scene: &mut Scene, known: &str, expr: &str, heal: Option<HealAction>) {
    let spec = RuleSpec {
        name: rule(known),
        service: None,
        expr: expr.into(),
        is_literal: false,
        hold: Millis::from_mins(1),
        keep_firing_for: Millis::ZERO,
        interval: Millis::from_secs(5),
        labels: BTreeMap::new(),
        annotations: [("summary".to_owned(), "Uploads fail.".to_owned())].into(),
        heal,
        on_nodata: OnNoData::Keep,
        notify: vec!["oncall@csac.gov".into()],
        expected: None,
        group: hmsops_model::RuleGroup::default(),
    };
    let readings = hmsops_config::readings(expr);
    say(scene, "rule.declared", Signal::RuleDeclared { rule: Box::new(spec), readings, by: admin() });
}

fn say(scene: &mut Scene, kind: &str, change: Signal) {
    let subject = change.subject();
    scene.apply("tower", kind, &["SI-4"], change.into());
    scene.entries.last_mut().unwrap().subject = subject;
}

fn health(scene: &mut Scene, known: &str, health: RuleHealth) {
    say(scene, "rule.health", Signal::RuleHealthChanged { rule: rule(known), health });
}

fn labels(service: &str) -> Labels {
    Labels::new([("service", service), ("pod", "upload-7f9c")])
}

fn pending(scene: &mut Scene, id: u64, known: &str, service: &str, value: &str) {
    let (service, labels) = (Some(name(service)), labels(service));
    let (alert, value) = (AlertId(id), value.to_owned());
    let change = Signal::AlertPending {
        alert,
        rule: rule(known),
        service,
        labels,
        release: None,
        value,
        annotations: [].into(),
    };
    say(scene, "alert.pending", change);
}

fn fired(scene: &mut Scene, id: u64, known: &str, service: &str, value: &str) {
    let (alert, service, value) = (AlertId(id), Some(name(service)), value.to_owned());
    say(
        scene,
        "alert.fired",
        Signal::AlertFired { alert, rule: rule(known), service, value, annotations: [].into() },
    );
}

fn notice(scene: &mut Scene, id: u64, receiver: &str, about: About, subject: &str) {
    let change = Signal::NoticeIntended {
        notice: NoticeId(id),
        receiver: receiver.into(),
        about,
        occasion: Occasion::Fired,
        subject: subject.into(),
        text: subject.into(),
        by: Who::tower(),
    };
    say(scene, "notice.intended", change);
}

/// Rules of every kind and state.
fn declare_all(scene: &mut Scene) {
    declare(scene, "photo_error_spike", "rate(photo.upload.ok[1m]) < 0.7", Some(rollback("dmv-photo")));
    declare(
        scene,
        "login_slow",
        "histogram_quantile(0.99, rate(login_seconds_bucket[1m])) > 0.5",
        Some(rollback("csac-portal")),
    );
    declare(scene, "queue_long", "queue_depth > 0.5", None);
    declare(scene, "disk_full", "disk_free_ratio < 0.1", None);
    declare(scene, "ach_stale", "time() - ach_last_file_seconds > 93600", None);
    declare(scene, "mistyped", "rat(x[1m]) > 1", None);
    health(scene, "ach_stale", RuleHealth::NoData);
    health(scene, "mistyped", RuleHealth::Error { why: "unknown function `rat`".into() });
}

/// A heal that failed, one that runs, something pending, something silenced, rules that cannot see, and notices.
pub(super) fn tell(scene: &mut Scene) {
    declare_all(scene);
    pending(scene, 1, "photo_error_spike", "dmv-photo", "0.51");
    scene.pass(60_000);
    fired(scene, 1, "photo_error_spike", "dmv-photo", "0.42");
    notice(
        scene,
        1,
        "oncall@csac.gov",
        About::Alert(AlertId(1)),
        "dmv-photo: photo_error_spike fired at 0.42",
    );
    failed_heal(scene);
    notice(scene, 2, "pager", About::Ticket(TicketId(1)), "Take-Over Required: dmv-photo (t-1)");
    let delivered = Signal::NoticeDelivered {
        notice: NoticeId(1),
        receiver: "oncall@csac.gov".into(),
        receipt: "250 2.0.0 queued as 4X1".into(),
    };
    say(scene, "notice.delivered", delivered);
    let dead =
        Signal::NoticeDead { notice: NoticeId(2), receiver: "pager".into(), why: "answered 410 Gone".into() };
    say(scene, "notice.dead", dead);
    pending(scene, 2, "login_slow", "csac-portal", "0.8");
    fired(scene, 2, "login_slow", "csac-portal", "0.9");
    let heal = Signal::HealIntended {
        heal: HealId(2),
        rule: rule("login_slow"),
        alert: Some(AlertId(2)),
        action: rollback("csac-portal"),
        by: Who::tower(),
    };
    say(scene, "heal.intended", heal);
    pending(scene, 4, "disk_full", "tax-renewals", "0.08");
    fired(scene, 4, "disk_full", "tax-renewals", "0.08");
    let silence = Signal::SilenceBegun {
        silence: SilenceId(1),
        rule: rule("disk_full"),
        span: Millis::from_mins(120),
        keep_heal: false,
        by: admin(),
        reason: "planned upgrade".into(),
    };
    say(scene, "silence.begun", silence);
    notice(scene, 3, "oncall@csac.gov", About::Alert(AlertId(2)), "csac-portal: login_slow fired at 0.9");
    let failed = Signal::NoticeFailed {
        notice: NoticeId(3),
        receiver: "oncall@csac.gov".into(),
        why: "could not connect to mail.csac.gov:587: connection refused".into(),
        due_in: Millis::from_mins(2),
    };
    say(scene, "notice.failed", failed);
    let paused = Signal::HealsPaused { by: admin(), reason: "someone works on the gateway".into() };
    say(scene, "heals.paused", paused);
    scene.good(&["csac-portal", "dmv-photo", "tax-renewals"], 40);
    pending(scene, 3, "queue_long", "tax-renewals", "0.9");
    scene.good(&["csac-portal", "dmv-photo", "tax-renewals"], 2);
    let held = Outcome::Holds(vec![(labels("dmv-photo"), 0.42)]);
    let evaluation = Evaluation {
        rule: rule("photo_error_spike"),
        expr: "rate(photo.upload.ok[1m]) < 0.7".into(),
        outcome: held,
        reading: Some("share".into()),
        texts: [].into(),
    };
    scene.see(&Event::Evaluated(Box::new(evaluation)));
}

fn failed_heal(scene: &mut Scene) {
    let (action, service) = (rollback("dmv-photo"), name("dmv-photo"));
    let intended = Signal::HealIntended {
        heal: HealId(1),
        rule: rule("photo_error_spike"),
        alert: Some(AlertId(1)),
        action,
        by: Who::tower(),
    };
    say(scene, "heal.intended", intended);
    let (exit, why) = ("exited with status 1".to_owned(), "exited with status 1".to_owned());
    let output = "hmsops: rollback dmv-photo --to=prev\nerror: `dmv-photo` has no proven version to go back to\nhint: name one: --to=VERSION".to_owned();
    let ran = Signal::HealRan {
        heal: HealId(1),
        service: service.clone(),
        success: false,
        exit,
        output: output.clone(),
    };
    say(scene, "heal.ran", ran);
    say(
        scene,
        "heal.judged",
        Signal::HealJudged { heal: HealId(1), service: service.clone(), healed: false, why },
    );
    let ticket = Signal::TicketOpened {
        ticket: TicketId(1),
        service,
        alert: Some(AlertId(1)),
        heal: Some(HealId(1)),
        title: "Take-Over Required: dmv-photo".into(),
        text: format!(
            "photo_error_spike: rollback dmv-photo --to=prev exited with status 1; it printed:\n{output}"
        ),
    };
    say(scene, "ticket.opened", ticket);
}
