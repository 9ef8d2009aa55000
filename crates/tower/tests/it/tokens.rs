//! Who is shut out is shut out at once and stays so, whatever the disk does.

use hmsops_control::Transition;
use hmsops_control::access::AccessChange;
use hmsops_model::{Scope, TokenId, TokenKind, TokenSpec};

use super::*;

fn command(world: &mut World, command: Command) -> hmsops_tower::Handled {
    let by = Who { actor: "adm\u{1b}[2Jin\u{202e}\r\n".into(), source: "test".into() };
    world.event(&Event::Command { command, by, reason: "lost".into() })
}

fn issue(world: &mut World, life: u64, granter: Option<TokenId>) -> hmsops_tower::Handled {
    let spec = TokenSpec {
        kind: TokenKind::Sa,
        owner: "ci".into(),
        scopes: vec![Scope::TOKENS_ADMIN],
        services: Vec::new(),
        networks: Vec::new(),
        expires: UnixMillis(world.now.wall.0 + life as i64),
    };
    let drawn = world.tower().state().access.last_token as u8;
    let sha256 = Digest::from_sha256([drawn; 32]);
    command(world, Command::IssueToken { sha256, spec: Box::new(spec), granter })
}

fn revoke(world: &mut World) -> hmsops_tower::Handled {
    command(world, Command::RevokeToken { token: TokenId(1), keep_made: false })
}

fn with_tokens() -> World {
    let mut world = World::new();
    issue(&mut world, 3_600_000, None);
    issue(&mut world, 1_800_000, Some(TokenId(1)));
    assert_eq!(world.tower().state().access.tokens.len(), 2);
    world
}

fn revoked(world: &World) -> usize {
    world.tower().state().access.tokens.values().filter(|token| token.revoked.is_some()).count()
}

#[test]
fn a_revocation_that_reached_only_the_spill_survives_a_kill() {
    let mut world = with_tokens();
    world.faults.fill();
    let handled = revoke(&mut world);
    assert!(handled.ledger_failed.is_some() && !handled.unkept, "the spill has it: {handled:?}");
    assert_eq!(handled.transitions.len(), 1);
    assert_eq!(revoked(&world), 2, "with what it made");
    let refused = issue(&mut world, 1000, None);
    assert!(refused.ledger_failed.is_some() && refused.transitions.is_empty(), "nobody is let in anew");
    assert!(world.entries("token.revoked").is_empty());
    world.kill();
    world.faults.heal();
    world.start();
    assert_eq!(revoked(&world), 2);
    world.pass(Millis::from_secs(2));
    world.kill();
    world.start();
    world.pass(Millis::from_secs(2));
    let entries = world.entries("token.revoked");
    assert_eq!(entries.len(), 1, "once");
    assert!(entries[0].late);
    assert_eq!(revoked(&world), 2);
}

#[test]
fn a_revocation_that_no_disk_takes_holds_and_says_that_it_could_be_lost() {
    let mut world = with_tokens();
    world.faults.fail_syncs();
    let handled = revoke(&mut world);
    assert!(handled.unkept, "{handled:?}");
    assert_eq!(revoked(&world), 2, "it holds for as long as the tower lives");
    world.faults.heal();
    world.pass(Millis::from_secs(3));
    assert_eq!(world.entries("token.revoked").len(), 1);
    world.kill();
    world.start();
    assert_eq!(revoked(&world), 2);
}

/// A fact that waits for the ledger can be given up, when ten thousand wait; a revocation is not.
#[test]
fn a_revocation_finds_its_place_among_lines_that_wait() {
    let mut world = with_tokens();
    world.faults.fill();
    for _ in 0..10_050 {
        // Refused, which is a fact of its own.
        command(&mut world, Command::RevokeToken { token: TokenId(77), keep_made: false });
    }
    assert_eq!(world.tower().backlog_len(), 10_000);
    revoke(&mut world);
    assert_eq!(world.tower().backlog_len(), 10_001);
    world.faults.heal();
    world.pass(Millis::from_secs(3));
    assert_eq!(world.tower().backlog_len(), 0);
    let reader = world.reader.as_ref().unwrap();
    let newest = reader.read(0..reader.size(), Order::NewestFirst, 10).unwrap();
    assert!(newest.iter().any(|entry| entry.kind == "token.revoked"), "{newest:?}");
}

#[test]
fn an_end_by_time_is_a_line_and_stays_when_the_clock_is_set_back() {
    let mut world = with_tokens();
    world.now.wall.0 += 1_800_000;
    world.event(&Event::Wake);
    let entries = world.entries("token.ended");
    assert_eq!(entries.len(), 1);
    assert_eq!((entries[0].subject.as_str(), entries[0].actor.as_str()), ("token/k-2", "tower"));
    world.now.wall.0 -= 1_800_000;
    world.kill();
    world.start();
    world.event(&Event::Wake);
    let now = world.now.wall;
    let tokens = &world.tower().state().access.tokens;
    assert!(tokens[&TokenId(1)].is_in_force(now) && !tokens[&TokenId(2)].is_in_force(now));
    assert_eq!(world.entries("token.ended").len(), 1, "once");
}

/// Who wants something has a name of their own making; what does not show stands in no line.
#[test]
fn names_in_the_ledger_have_no_control_characters() {
    let world = with_tokens();
    let entries = world.entries("token.issued");
    assert_eq!(entries[0].actor, "adm [2Jin   ");
    let (_, read) = hmsops_tower::decode_line(&entries[0].data).unwrap();
    let Transition::Access(AccessChange::TokenIssued { granter, .. }) = read else { panic!("{read:?}") };
    assert_eq!(granter, None);
}
