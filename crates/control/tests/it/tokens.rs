//! Tokens: who may give what, what ends with what, and what stays true whatever the clock says.

use hmsops_control::access::{AccessChange, Calls, ENDED_MAX, Party, Receipt, TOKENS_MAX, Token};
use hmsops_control::transport::{Held, TransportChange};
use hmsops_control::{Command, Event, Evidence, Refusal, State, Transition, Who, decide};
use hmsops_model::{AgentId, Digest, Millis, Now, Scope, TokenId, TokenKind, TokenSpec, UnixMillis};

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;

struct Tower {
    state: State,
    now: Now,
    log: Vec<(Now, Transition)>,
    drawn: u64,
}

impl Tower {
    fn new() -> Self {
        let now = Now { wall: UnixMillis(1_795_183_200_000), steady: Millis(1_000_000) };
        Self { state: State::default(), now, log: Vec::new(), drawn: 0 }
    }

    fn event(&mut self, event: &Event) -> Result<Vec<Transition>, Refusal> {
        let round = decide(&self.state, &Evidence::default(), self.now, event)?;
        for transition in &round {
            // As the ledger holds it.
            let text = serde_json::to_string(transition).unwrap();
            let read: Transition = serde_json::from_str(&text).unwrap();
            assert_eq!(&read, transition, "{text}");
            self.state.apply(self.now, &read);
            self.log.push((self.now, read));
        }
        Ok(round)
    }

    fn command(&mut self, command: Command) -> Result<Vec<Transition>, Refusal> {
        let by = Who { actor: "admin".into(), source: "test".into() };
        self.event(&Event::Command { command, by, reason: "test".into() })
    }

    fn draw(&mut self) -> Digest {
        self.drawn += 1;
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&self.drawn.to_be_bytes());
        Digest::from_sha256(bytes)
    }

    fn spec(&self, life: u64) -> TokenSpec {
        TokenSpec {
            kind: TokenKind::Sa,
            owner: "ci".into(),
            scopes: vec![Scope::TOKENS_ADMIN, Scope::STATE_READ],
            services: Vec::new(),
            networks: Vec::new(),
            expires: UnixMillis(self.now.wall.0 + life as i64),
        }
    }

    fn issue(&mut self, life: u64, granter: Option<u64>) -> Result<TokenId, Refusal> {
        let spec = Box::new(self.spec(life));
        let command = Command::IssueToken { sha256: self.draw(), spec, granter: granter.map(TokenId) };
        self.command(command).map(|round| given(&round))
    }

    fn rotate(&mut self, token: u64, life: Option<u64>, granter: Option<u64>) -> Result<TokenId, Refusal> {
        let command = Command::RotateToken {
            token: TokenId(token),
            sha256: self.draw(),
            overlap: Millis(HOUR),
            life: life.map(Millis),
            granter: granter.map(TokenId),
        };
        self.command(command).map(|round| given(&round))
    }

    fn revoke(&mut self, token: u64, keep_made: bool) -> Vec<Transition> {
        self.command(Command::RevokeToken { token: TokenId(token), keep_made }).unwrap()
    }

    fn token(&self, id: u64) -> &Token {
        &self.state.access.tokens[&TokenId(id)]
    }

    fn in_force(&self) -> Vec<u64> {
        let tokens = self.state.access.tokens.values();
        tokens.filter(|token| token.is_in_force(self.now.wall)).map(|token| token.id.0).collect()
    }

    fn pass(&mut self, ms: u64) {
        self.now.wall.0 += ms as i64;
        self.now.steady = self.now.steady + Millis(ms);
        while !self.event(&Event::Wake).unwrap().is_empty() {}
    }
}

fn given(round: &[Transition]) -> TokenId {
    match round {
        [Transition::Access(AccessChange::TokenIssued { token, .. })] => *token,
        other => panic!("{other:?}"),
    }
}

#[test]
fn nobody_prolongs_what_they_are_let_in_by() {
    let mut tower = Tower::new();
    tower.issue(DAY, None).unwrap();
    let end = tower.token(1).spec.expires;
    tower.pass(12 * HOUR);
    // By itself: until its own end at most, however often.
    let refused = tower.rotate(1, Some(DAY), Some(1)).unwrap_err();
    assert_eq!(refused.message, "k-1 cannot give what it does not have");
    assert_eq!(tower.rotate(1, None, Some(1)).unwrap(), TokenId(2));
    assert_eq!(tower.token(2).spec.expires, end);
    assert_eq!(tower.rotate(2, None, Some(2)).unwrap(), TokenId(3));
    assert_eq!(tower.token(3).spec.expires, end);
    tower.pass(12 * HOUR);
    assert!(tower.in_force().is_empty());
    // A person's word gives it as long as it had.
    tower.issue(DAY, None).unwrap();
    tower.pass(12 * HOUR);
    assert_eq!(tower.rotate(4, None, None).unwrap(), TokenId(5));
    assert_eq!(tower.token(5).spec.expires.0, tower.now.wall.0 + DAY as i64);
    assert_eq!(tower.token(4).spec.expires.0, tower.now.wall.0 + HOUR as i64, "the overlap");
}

#[test]
fn what_a_token_made_ends_with_it_unless_it_is_kept() {
    let mut tower = Tower::new();
    tower.issue(DAY, None).unwrap();
    tower.issue(12 * HOUR, Some(1)).unwrap();
    tower.issue(6 * HOUR, Some(2)).unwrap();
    tower.issue(DAY, None).unwrap();
    assert_eq!(tower.rotate(1, None, Some(1)).unwrap(), TokenId(5), "made with itself");
    assert_eq!(tower.rotate(4, None, None).unwrap(), TokenId(6), "a person's word");
    assert_eq!(tower.state.access.made_with(TokenId(1)), [2, 3, 5].map(TokenId));
    let round = tower.revoke(1, false);
    let [Transition::Access(change)] = round.as_slice() else { panic!("{round:?}") };
    assert_eq!(change.sentence(), "k-1 is revoked, and 3 more that it had made: test");
    assert!(round[0].is_retreat());
    assert_eq!(tower.in_force(), [4, 6]);
    assert_eq!(tower.token(3).revoked.as_ref().unwrap().with, Some(TokenId(1)));
    // Whom a person gave its place stays when the old one goes early.
    tower.revoke(4, false);
    assert_eq!(tower.in_force(), [6]);
    assert!(tower.revoke(4, false).is_empty(), "it is revoked already");

    let mut tower = Tower::new();
    tower.issue(DAY, None).unwrap();
    tower.issue(HOUR, Some(1)).unwrap();
    tower.revoke(1, true);
    assert_eq!(tower.in_force(), [2]);
    // What was kept can still be revoked with it.
    tower.revoke(1, false);
    assert!(tower.in_force().is_empty());
}

#[test]
fn who_has_ended_since_being_let_in_gives_nothing() {
    let mut tower = Tower::new();
    tower.issue(DAY, None).unwrap();
    tower.revoke(1, false);
    let refused = tower.issue(HOUR, Some(1)).unwrap_err();
    assert_eq!(refused.message, "k-1, which asks for it, has ended");
    tower.issue(HOUR, None).unwrap();
    tower.now.wall.0 += HOUR as i64;
    assert!(tower.issue(0, Some(2)).is_err() && tower.issue(1, Some(2)).is_err());
    assert!(tower.issue(HOUR, Some(77)).is_err(), "nor does one that was never there");
}

#[test]
fn an_end_is_a_fact_that_no_clock_takes_back() {
    let mut tower = Tower::new();
    tower.issue(HOUR, None).unwrap();
    tower.issue(DAY, None).unwrap();
    tower.pass(HOUR - 1);
    assert_eq!(tower.in_force(), [1, 2]);
    tower.pass(1);
    assert_eq!(tower.in_force(), [2]);
    let (_, last) = tower.log.last().unwrap();
    assert_eq!(*last, Transition::Access(AccessChange::TokenEnded { token: TokenId(1) }));
    // The wall clock is set back by a day; the steady one goes on.
    tower.now.wall.0 -= DAY as i64;
    tower.pass(1);
    assert_eq!(tower.in_force(), [2], "it has ended");
    // The same after a restart, from lines and from a snapshot of state.
    let mut folded = State::default();
    for (at, transition) in &tower.log {
        folded.apply(*at, transition);
    }
    assert_eq!(folded, tower.state);
    let kept: State = serde_json::from_slice(&serde_json::to_vec(&tower.state).unwrap()).unwrap();
    assert_eq!(kept, tower.state, "also what is not written down");
}

#[test]
fn an_overlap_of_nothing_ends_the_old_one_at_once() {
    let mut tower = Tower::new();
    tower.issue(DAY, None).unwrap();
    let sha256 = tower.draw();
    let command =
        Command::RotateToken { token: TokenId(1), sha256, overlap: Millis(0), life: None, granter: None };
    tower.command(command).unwrap();
    assert_eq!(tower.in_force(), [2]);
    assert!(tower.rotate(1, None, None).unwrap_err().message.contains("has ended"));
}

/// Those that ended longest ago are forgotten, whatever their numbers; none in force is.
#[test]
fn tokens_are_bounded_and_the_oldest_ends_are_forgotten() {
    let mut tower = Tower::new();
    tower.issue(DAY, None).unwrap();
    for _ in 0..ENDED_MAX {
        let id = tower.issue(2 * DAY, None).unwrap();
        tower.pass(1);
        tower.revoke(id.0, false);
    }
    assert_eq!(tower.state.access.tokens.len(), ENDED_MAX + 1);
    tower.pass(DAY);
    // The first has ended last.
    assert_eq!(tower.state.access.tokens.len(), ENDED_MAX);
    assert!(tower.state.access.tokens.contains_key(&TokenId(1)));
    assert!(!tower.state.access.tokens.contains_key(&TokenId(2)));
    assert_eq!(tower.state.access.by_sha256.len(), ENDED_MAX);
}

#[test]
fn ten_thousand_tokens_are_all_there_may_be_and_end_with_the_one_that_made_them() {
    let mut tower = Tower::new();
    tower.issue(DAY, None).unwrap();
    for _ in 1..TOKENS_MAX {
        tower.issue(HOUR, Some(1)).unwrap();
    }
    let refused = tower.issue(HOUR, None).unwrap_err();
    assert_eq!(refused.message, "there are 10000 tokens already");
    // A snapshot shares them.
    let shared = tower.state.clone();
    assert!(std::sync::Arc::ptr_eq(&shared.access, &tower.state.access));
    let round = tower.revoke(1, false);
    assert!(tower.in_force().is_empty());
    for transition in &round {
        let bytes = serde_json::to_vec(transition).unwrap().len();
        assert!(bytes + 2000 < hmsops_model::limits::LEDGER_ENTRY_BYTES_MAX, "{bytes}");
    }
    assert!(tower.issue(HOUR, None).is_ok(), "there is room again");
}

#[test]
fn receipts_say_when_a_token_was_last_used() {
    let mut tower = Tower::new();
    tower.issue(DAY, None).unwrap();
    let receipt = |at: i64, requests: u64| Receipt {
        door: "api".into(),
        from: UnixMillis(at),
        to: UnixMillis(at + 1),
        requests,
        refused: 0,
        statuses: vec![(200, requests)],
        denials: Vec::new(),
        callers: vec![Calls {
            who: Party::Token(TokenId(1)),
            requests,
            refused: 0,
            last_at: UnixMillis(at),
            from: Some([10, 0, 0, 1].into()),
        }],
        unlisted: 0,
        digest: Digest::from_sha256([7; 32]),
    };
    for (at, requests) in [(1000, 2), (61_000, 3)] {
        assert_eq!(tower.event(&Event::Counted(Box::new(receipt(at, requests)))).unwrap().len(), 1);
    }
    let used = tower.token(1).used.unwrap();
    assert_eq!((used.at, used.count, used.from), (UnixMillis(61_000), 5, Some([10, 0, 0, 1].into())));
    assert!(tower.event(&Event::Counted(Box::new(receipt(1, 0)))).unwrap().is_empty(), "nobody came");
}

/// Lines of before `granter`, `also` and ends that are facts.
#[test]
fn old_lines_still_fold() {
    let issued = r#"{"transition":"token-issued","token":1,"sha256":"sha256:0707070707070707070707070707070707070707070707070707070707070707","spec":{"kind":"sa","owner":"ci","scopes":["state:read"],"expires":1795183200000},"by":{"actor":"admin","source":"api"},"reason":"x"}"#;
    let revoked =
        r#"{"transition":"token-revoked","token":1,"by":{"actor":"admin","source":"api"},"reason":"x"}"#;
    let mut state = State::default();
    let template = serde_json::to_value(Tower::new().spec(1)).unwrap();
    for line in [issued, revoked] {
        let mut value: serde_json::Value = serde_json::from_str(line).unwrap();
        if value.get("spec").is_some() {
            // Numbers and digests as they are written today.
            value["token"] = serde_json::to_value(TokenId(1)).unwrap();
            value["sha256"] = serde_json::to_value(Digest::from_sha256([7; 32])).unwrap();
            value["spec"] = template.clone();
        } else {
            value["token"] = serde_json::to_value(TokenId(1)).unwrap();
        }
        let transition: Transition = serde_json::from_value(value).unwrap();
        state.apply(Tower::new().now, &transition);
    }
    assert!(state.access.tokens[&TokenId(1)].revoked.is_some());
}

/// Whoever shuts a token out shuts out the agents that joined by what it had made, too, unless these are kept.
#[test]
fn agents_end_with_the_token_that_let_them_join() {
    for keep_made in [false, true] {
        let mut tower = Tower::new();
        let scopes = vec![Scope::TOKENS_ADMIN, Scope::METRICS_WRITE];
        let maker = Box::new(TokenSpec { scopes, ..tower.spec(DAY) });
        let sha256 = tower.draw();
        tower.command(Command::IssueToken { sha256, spec: maker, granter: None }).unwrap();
        let scopes = vec![Scope::METRICS_WRITE];
        let joins = Box::new(TokenSpec { kind: TokenKind::Agt, scopes, ..tower.spec(HOUR) });
        let sha256 = tower.draw();
        tower.command(Command::IssueToken { sha256, spec: joins, granter: Some(TokenId(1)) }).unwrap();
        let until = UnixMillis(tower.now.wall.0 + DAY as i64);
        let certificate = Held { sha256: tower.draw(), until };
        let join = Command::JoinAgent { token: TokenId(2), name: "edge-1".into(), certificate };
        tower.command(join).unwrap();
        let is_let_in = |tower: &Tower| {
            tower.state.transport.agents.values().any(|agent| agent.is_in_force(tower.now.wall))
        };
        assert!(is_let_in(&tower));
        tower.revoke(1, keep_made);
        assert_eq!(is_let_in(&tower), keep_made);
    }
}

#[test]
fn who_revokes_a_token_shuts_out_the_agents_that_have_come_in_by_it() {
    let mut tower = Tower::new();
    let thief = tower.issue(DAY, None).unwrap();
    let middle = tower.issue(DAY, Some(thief.0)).unwrap();
    let join = |tower: &mut Tower, granter: Option<TokenId>| {
        let mut spec = tower.spec(HOUR);
        spec.kind = TokenKind::Agt;
        spec.scopes = vec![Scope::METRICS_WRITE];
        let command = Command::IssueToken { sha256: tower.draw(), spec: Box::new(spec), granter: None };
        let token = given(&tower.command(command).unwrap());
        // As if it had been made with the other: what may be given is another test's.
        if let Some(granter) = granter {
            let (_, Transition::Access(AccessChange::TokenIssued { granter: made_with, .. })) =
                tower.log.last_mut().unwrap()
            else {
                unreachable!()
            };
            *made_with = Some(granter);
            tower.state = State::default();
            for (now, transition) in tower.log.clone() {
                tower.state.apply(now, &transition);
            }
        }
        let certificate = Held { sha256: tower.draw(), until: UnixMillis(tower.now.wall.0 + DAY as i64) };
        tower.command(Command::JoinAgent { token, name: "host".into(), certificate }).unwrap();
        token
    };
    join(&mut tower, Some(middle));
    join(&mut tower, Some(thief));
    join(&mut tower, None);
    let used = join(&mut tower, None);
    let let_in = |tower: &Tower| {
        let agents = tower.state.transport.agents.values();
        agents.filter(|agent| agent.is_in_force(tower.now.wall)).map(|agent| agent.id.0).collect::<Vec<_>>()
    };
    assert_eq!(let_in(&tower), [1, 2, 3, 4]);
    tower.revoke(thief.0, true);
    assert_eq!(let_in(&tower), [1, 2, 3, 4], "what it made is kept");
    let round = tower.revoke(thief.0, false);
    assert_eq!(let_in(&tower), [3, 4]);
    let Some(Transition::Transport(change @ TransportChange::AgentRevoked { agent, also, .. })) =
        round.last()
    else {
        panic!("{round:?}")
    };
    assert_eq!((*agent, also.as_slice()), (AgentId(1), &[AgentId(2)][..]));
    assert!(change.is_retreat() && change.sentence().starts_with("ag-1 and 1 more agents are shut out"));
    // One that was used up by joining is revoked already, and what it let in goes all the same.
    tower.revoke(used.0, false);
    assert_eq!(let_in(&tower), [3]);
    assert_eq!(tower.revoke(used.0, false), [], "twice changes nothing");
}

#[test]
fn lines_of_agents_of_before_still_fold() {
    let joined = r#"{"transition":"agent-revoked","agent":"ag-1","by":{"actor":"admin","source":"api"},"reason":"sold"}"#;
    let read: TransportChange = serde_json::from_str(joined).unwrap();
    assert!(matches!(&read, TransportChange::AgentRevoked { also, .. } if also.is_empty()));
    assert_eq!(serde_json::to_string(&read).unwrap(), joined);
}

#[test]
fn an_agent_asks_for_few_certificates_at_a_time() {
    let mut tower = Tower::new();
    let mut spec = tower.spec(HOUR);
    (spec.kind, spec.scopes) = (TokenKind::Agt, vec![Scope::METRICS_WRITE]);
    let command = Command::IssueToken { sha256: tower.draw(), spec: Box::new(spec), granter: None };
    let token = given(&tower.command(command).unwrap());
    let held =
        |tower: &mut Tower| Held { sha256: tower.draw(), until: UnixMillis(tower.now.wall.0 + DAY as i64) };
    let certificate = held(&mut tower);
    tower.command(Command::JoinAgent { token, name: "host".into(), certificate }).unwrap();
    let renew = |tower: &mut Tower| {
        let certificate = held(tower);
        tower.command(Command::RenewAgent { agent: AgentId(1), certificate })
    };
    renew(&mut tower).unwrap();
    renew(&mut tower).unwrap();
    assert!(renew(&mut tower).unwrap_err().message.contains("too often"));
    tower.now.wall.0 += 10_000;
    renew(&mut tower).unwrap();
}
