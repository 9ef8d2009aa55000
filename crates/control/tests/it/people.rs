//! What people do to each other: a broken glass is told of, and what waits for a word names whose.

use hmsops_control::event::Command;
use hmsops_control::people::{Matter, PeopleWish, Proof, approvals};
use hmsops_control::signal::notice::{About, Occasion};
use hmsops_control::{Event, Who};
use hmsops_model::person::{FourEyes, Identity, Role};
use hmsops_model::release::{Inconclusive, ReleaseSpec};
use hmsops_model::service::ServiceSpec;
use hmsops_model::{Digest, GlassId, Millis, ReleaseId, Scope, Weight};

use super::story::{Story, release, service};

fn person(n: u8) -> Who {
    Who { actor: format!("person:p-{n} Sam"), source: "person".into() }
}

/// Two people of one name, and a service with an owner.
fn two() -> Story {
    let mut story = Story::of(vec![ServiceSpec { owner: Some("oncall@csac.gov".into()), ..service() }]);
    story.pass(Millis::from_secs(20));
    for (n, subject) in [(1, "u-1"), (2, "u-2")] {
        let wish = PeopleWish::Open {
            sha256: Digest::from_sha256([n; 32]),
            identity: Identity { issuer: "https://id".into(), subject: subject.into() },
            name: "Sam".into(),
            roles: vec![Role::Oncall],
            groups: vec!["sre".into()],
            proof: Proof::Oidc,
            proven_at: None,
            until: None,
            from: None,
        };
        story.command(Command::People { wish: Box::new(wish) }).unwrap();
    }
    story
}

fn wish(story: &mut Story, by: u8, wish: PeopleWish) {
    let command = Command::People { wish: Box::new(wish) };
    story.event(Event::Command { command, by: person(by), reason: "the data centre burns".into() }).unwrap();
}

/// Who was told what of the glass, in order.
fn told(story: &Story) -> Vec<(String, Occasion)> {
    let notices = story.state.signals.notices.values();
    let of_glass = notices.filter(|notice| notice.about == About::Glass(GlassId(1)));
    of_glass.map(|notice| (notice.receiver.clone(), notice.occasion)).collect()
}

/// Time goes by in one leap, as for a tower that nobody speaks with.
fn leap(story: &mut Story, span: Millis) {
    story.now.wall.0 += span.0 as i64;
    story.now.steady = story.now.steady + span;
    for _ in 0..3 {
        story.event(Event::Wake).unwrap();
    }
}

#[test]
fn a_broken_glass_is_told_of_at_its_beginning_its_end_and_each_day_until_somebody_has_looked() {
    let mut story = two();
    story.event(Event::Watchers(vec!["security@csac.gov".into()])).unwrap();
    wish(&mut story, 1, PeopleWish::BreakGlass { span: Millis::from_mins(15) });
    story.event(Event::Wake).unwrap();
    let security = |occasion| ("security@csac.gov".to_owned(), occasion);
    assert_eq!(told(&story), [security(Occasion::GlassBroken)], "at once");
    let first = story.state.signals.notices.values().next_back().unwrap();
    assert!(first.text.contains("the data centre burns") && first.text.contains("15 min"), "{first:?}");
    leap(&mut story, Millis::from_mins(14));
    assert_eq!(told(&story).len(), 1);
    leap(&mut story, Millis::from_mins(1));
    assert_eq!(told(&story)[1..], [security(Occasion::GlassEnded)]);
    leap(&mut story, Millis::from_mins(60 * 23));
    assert_eq!(told(&story).len(), 2);
    leap(&mut story, Millis::from_mins(60));
    assert_eq!(told(&story)[2..], [security(Occasion::GlassWaits)], "a day later");
    leap(&mut story, Millis::from_mins(60 * 24));
    assert_eq!(told(&story).len(), 4, "and each day");
    // The settings may name another, who learns that it waits, and not what was news days ago.
    story.event(Event::Watchers(vec!["chief@csac.gov".into()])).unwrap();
    story.event(Event::Wake).unwrap();
    assert_eq!(told(&story)[4..], [("chief@csac.gov".to_owned(), Occasion::GlassWaits)]);
    wish(&mut story, 2, PeopleWish::ReviewGlass { glass: GlassId(1) });
    leap(&mut story, Millis::from_mins(60 * 48));
    assert_eq!(told(&story).len(), 5, "it was looked at");
}

#[test]
fn where_the_settings_name_nobody_the_owners_of_services_are_told_and_an_early_end_is_one() {
    let mut story = two();
    wish(&mut story, 1, PeopleWish::BreakGlass { span: Millis::from_mins(60) });
    wish(&mut story, 1, PeopleWish::EndGlass { glass: GlassId(1) });
    leap(&mut story, Millis::from_secs(1));
    let owner = |occasion| ("oncall@csac.gov".to_owned(), occasion);
    assert_eq!(told(&story), [owner(Occasion::GlassBroken), owner(Occasion::GlassEnded)]);
    // What was told outlives a snapshot.
    let kept = serde_json::to_string(&story.state).unwrap();
    assert_eq!(serde_json::from_str::<hmsops_control::State>(&kept).unwrap().people, story.state.people);
}

#[test]
fn what_waits_for_a_word_names_whose_wish_it_is_and_who_may_say_yes() {
    let mut story = two();
    story.event(Event::FourEyes(vec![FourEyes::Irreversible])).unwrap();
    assert!(approvals(&story.state, &story.evidence).is_empty());
    wish(&mut story, 2, PeopleWish::BreakGlass { span: Millis::from_mins(1) });
    story.pass(Millis::from_secs(90));
    let spec = ReleaseSpec {
        irreversible: Some(Weight::from_bp(0).unwrap()),
        inconclusive: Inconclusive::Ask,
        ..release("1.8.0")
    };
    let asked = Event::Deploy { spec: Box::new(spec), digest: None, salt: 7, first: false, by: person(1) };
    story.event(asked).unwrap();
    story.pass(Millis::from_mins(1));
    let all = approvals(&story.state, &story.evidence);
    let matters: Vec<Matter> = all.iter().map(|approval| approval.matter).collect();
    assert_eq!(matters, [Matter::Glass(GlassId(1)), Matter::NoReturn(ReleaseId(1))], "the longest first");
    assert!(all.iter().all(|approval| approval.waits() && approval.by_other));
    let may = |n: usize, by: &Who| all[n].may(&story.state, story.now.wall, by).is_ok();
    assert!(may(0, &person(1)) && !may(0, &person(2)), "nobody looks at what they did themselves");
    assert!(!may(1, &person(1)) && may(1, &person(2)), "nor lets go what they asked for");
    assert!(!may(1, &Who::tower()) && !may(0, &Who::tower()), "and no program does");
    let roles: Vec<Role> = all[1].matter.roles().collect();
    assert!(roles.contains(&Role::Approver) && !roles.contains(&Role::Oncall), "{roles:?}");
    assert_eq!(all[1].matter.scope(), Scope::DEPLOY_PROMOTE);
    // Where nobody asks for two people, one's own word will do.
    story.event(Event::FourEyes(Vec::new())).unwrap();
    let all = approvals(&story.state, &story.evidence);
    assert!(all[1].may(&story.state, story.now.wall, &person(1)).is_ok());
}
