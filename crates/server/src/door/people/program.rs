//! How a person lets a program act as themselves, without its knowing anything of theirs: it shows a code, the person
//! says it to the tower in a browser in which they are logged in, and the program fetches its own log-in. After the device
//! authorization grant (RFC 8628), with a verifier in place of the device code, as PKCE has it (RFC 7636, section 4): what
//! the person sees, and what somebody overhears, is not enough to fetch it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmsops_control::people::Session;
use hmsops_model::person::plain_name;
use hmsops_model::{Millis, Scope};
use hmsops_wire::api;
use http::StatusCode;
use serde::Deserialize;

use super::login::{From, logged_in};
use super::{Shown, admit};
use crate::door::auth::{random, sha256};
use crate::door::body::{Body, Params};
use crate::door::caller::Caller;
use crate::door::{Access, Context, Failure, Routes};
use crate::page;

/// How long a program waits for its person.
const WAIT_MAX: Millis = Millis::from_mins(10);

/// How often a program asks (RFC 8628, section 3.5, has five seconds; a tower is near, and a look costs nothing).
const ASK_EVERY_SECS: u32 = 1;

/// Programs that wait at a time, of one address; the one that came first makes way.
const EACH_MAX: usize = 16;

/// Programs that wait at a time, of all.
const ALL_MAX: usize = 4096;

/// Letters of codes: no vowels, so that none is a word, and none that looks like another (RFC 8628, section 6.1).
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";

/// Letters of a code: 20^8 codes are 34 bits, which nobody guesses within ten minutes among those that wait.
const CODE_LETTERS: usize = 8;

/// A verifier is as PKCE wants it.
const VERIFIER_BYTES: std::ops::RangeInclusive<usize> = 43..=128;

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .post(
            "/login/program",
            Access::Open,
            "A program asks to act as somebody: the code to show them",
            begin,
        )
        .post("/login/program/fetch", Access::Open, "The program's log-in, once a person has said yes", fetch)
        .get(
            "/sessions/new",
            Scope::STATE_READ,
            "The form by which somebody lets a program act as them",
            form,
        )
        .post("/sessions/new", Scope::STATE_READ, "Let a program act as yourself, or not, by a form", answer)
}

/// Programs that wait for somebody, by their codes.
#[derive(Debug, Default)]
pub(crate) struct Programs(Mutex<BTreeMap<String, Program>>);

/// One of them.
#[derive(Debug, Clone)]
struct Program {
    /// SHA-256 of what it keeps to itself.
    challenge: [u8; 32],
    /// As it calls itself.
    name: String,
    from: Option<String>,
    until: Millis,
    said: Option<Word>,
}

/// What a person has said.
#[derive(Debug, Clone)]
enum Word {
    Yes(Box<Session>),
    No,
}

impl Programs {
    fn begin(&self, program: Program, steady: Millis) -> Result<String, Failure> {
        let code = draw()?;
        let mut all = self.locked(steady);
        let oldest = |all: &BTreeMap<String, Program>, is: &dyn Fn(&Program) -> bool| {
            let own = all.iter().filter(|(_, other)| is(other));
            own.min_by_key(|(_, other)| other.until).map(|(code, _)| code.clone())
        };
        let is_near = |other: &Program| other.from == program.from;
        let first = if all.values().filter(|other| is_near(other)).count() >= EACH_MAX {
            oldest(&all, &is_near)
        } else if all.len() >= ALL_MAX {
            oldest(&all, &|_| true)
        } else {
            None
        };
        if let Some(first) = first {
            all.remove(&first);
        }
        all.insert(code.clone(), program);
        Ok(code)
    }

    fn find(&self, code: &str, steady: Millis) -> Result<Program, Failure> {
        self.locked(steady).get(&plain(code)).cloned().ok_or_else(unknown)
    }

    fn say(&self, code: &str, word: Word, steady: Millis) -> Result<(), Failure> {
        let mut all = self.locked(steady);
        let program = all.get_mut(&plain(code)).filter(|program| program.said.is_none());
        program.ok_or_else(unknown)?.said = Some(word);
        Ok(())
    }

    /// What was said to whoever has the verifier. What was said is said once.
    fn fetch(&self, code: &str, verifier: &str, steady: Millis) -> Result<Option<(Program, Word)>, Failure> {
        let code = plain(code);
        let mut all = self.locked(steady);
        let fits = all.get(&code).is_some_and(|program| program.challenge == sha256(verifier));
        let is_said = all.get(&code).is_some_and(|program| program.said.is_some());
        match (fits, is_said) {
            (false, _) => Err(unknown()),
            (true, false) => Ok(None),
            (true, true) => Ok(all.remove(&code).and_then(|mut program| {
                let word = program.said.take()?;
                Some((program, word))
            })),
        }
    }

    /// Those whose time is not over.
    fn locked(&self, steady: Millis) -> std::sync::MutexGuard<'_, BTreeMap<String, Program>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, program| program.until > steady);
        all
    }
}

fn unknown() -> Failure {
    Failure::not_found("no program waits with this code, or it has waited for more than ten minutes")
        .hint("compare it with what the program shows, or begin again there")
}

/// A code that nobody can guess.
fn draw() -> Result<String, Failure> {
    let bytes = random().map_err(|error| Failure::unavailable(error.to_string()))?;
    let (eight, _) = bytes.split_at(16);
    let mut number = eight.iter().fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
    let mut code = String::new();
    for _ in 0..CODE_LETTERS {
        code.push(char::from(LETTERS[(number % 20) as usize]));
        number /= 20;
    }
    Ok(code)
}

/// As people type it: small letters, spaces and dashes are as good.
fn plain(code: &str) -> String {
    let letters = code.chars().filter(char::is_ascii_alphabetic);
    letters.take(CODE_LETTERS + 1).map(|c| c.to_ascii_uppercase()).collect()
}

/// As people read it: `WDJB-MJHT`.
fn shown(code: &str) -> String {
    let (first, second) = code.split_at_checked(CODE_LETTERS / 2).unwrap_or((code, ""));
    format!("{first}-{second}")
}

async fn begin(
    State(context): State<Context>,
    Extension(from): Extension<From>,
    Body { value, .. }: Body<api::NewProgram>,
) -> Result<Response, Failure> {
    let challenge = URL_SAFE_NO_PAD.decode(value.challenge.as_bytes()).ok();
    let challenge = challenge.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()).ok_or_else(|| {
        Failure::argument("`challenge` is not the SHA-256 of a verifier in base64url without padding")
            .hint("as RFC 7636 has it, method S256")
    })?;
    let steady = context.clock.now().steady;
    let name = plain_name(&value.name);
    let program = Program { challenge, name, from: from.0, until: steady + WAIT_MAX, said: None };
    let code = context.reception.programs.begin(program, steady)?;
    let answer = api::Program {
        code: shown(&code),
        path: "/sessions/new".into(),
        expires_in: u32::try_from(WAIT_MAX.0 / 1000).unwrap_or(u32::MAX),
        interval: ASK_EVERY_SECS,
    };
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

async fn fetch(
    State(context): State<Context>,
    Body { value, .. }: Body<api::FetchProgram>,
) -> Result<Response, Failure> {
    if !VERIFIER_BYTES.contains(&value.verifier.len()) {
        return Err(Failure::argument("`verifier` has 43 to 128 characters"));
    }
    let now = context.clock.now();
    let Some((program, word)) = context.reception.programs.fetch(&value.code, &value.verifier, now.steady)?
    else {
        return Ok((StatusCode::ACCEPTED, Json(serde_json::Value::Null)).into_response());
    };
    let Word::Yes(session) = word else {
        return Err(Failure::forbidden("you said no in the browser"));
    };
    let snapshot = context.engine.snapshot();
    let lasts = snapshot.state.people.sessions.get(&session.id);
    let identity = snapshot.state.people.persons.get(&session.person).map(|person| person.identity.clone());
    let (Some(lasts), Some(identity)) = (lasts.filter(|lasts| lasts.is_in_force(now.wall)), identity) else {
        return Err(Failure::forbidden("the log-in of the browser in which you said yes has ended")
            .hint("log in there again, and begin again here"));
    };
    // What was shown in the browser counts from then: one log-in made by another outlasts no proof.
    let shown = Shown {
        identity,
        name: lasts.name.clone(),
        roles: lasts.roles.clone(),
        groups: lasts.groups.clone(),
        proof: lasts.proof,
        proven_at: Some(lasts.proven_at),
        until: Some(lasts.until),
        from: program.from,
        again: None,
    };
    let (text, id) = admit(&context, shown).await?;
    Ok((StatusCode::CREATED, Json(logged_in(&context, text, id)?)).into_response())
}

#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    code: String,
}

#[derive(Deserialize)]
struct Answer {
    code: String,
    answer: String,
}

/// Only a person who has lately shown who they are lets a program act as them.
fn person(context: &Context, caller: &Caller) -> Result<Session, Failure> {
    let session = caller.session().cloned().ok_or_else(|| {
        Failure::conflict("only a person who is logged in lets a program act as them")
            .hint("log in at /login as yourself; the admin token needs no such thing")
    })?;
    caller.needs_fresh(context.clock.now().wall)?;
    Ok(session)
}

async fn form(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    Params(asked): Params<Asked>,
) -> Result<Response, Failure> {
    let session = person(&context, &caller)?;
    let found = context.reception.programs.find(&asked.code, context.clock.now().steady);
    let code = plain(&asked.code);
    let (program, refused) = match &found {
        _ if code.is_empty() => (None, None),
        Ok(program) => (Some((shown(&code), program)), None),
        Err(failure) => (None, Some(failure.words())),
    };
    let asks = program.as_ref().map(|(code, program)| page::ProgramAsks {
        code,
        name: &program.name,
        from: program.from.as_deref(),
    });
    Ok(axum::response::Html(page::program(&session.name, asks, refused.as_deref())).into_response())
}

async fn answer(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    Body { value, .. }: Body<Answer>,
) -> Result<Response, Failure> {
    let session = person(&context, &caller)?;
    let is_yes = match value.answer.as_str() {
        "yes" => true,
        "no" => false,
        _ => return Err(Failure::argument("the answer is neither `yes` nor `no`")),
    };
    let (steady, actor) = (context.clock.now().steady, session.who().actor);
    let word = if is_yes { Word::Yes(Box::new(session)) } else { Word::No };
    context.reception.programs.say(&value.code, word, steady)?;
    tracing::info!("people: {actor} says {} to a program", value.answer);
    Ok(axum::response::Html(page::program_answered(is_yes)).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(from: &str, verifier: &str) -> Program {
        let (name, from) = ("ann@laptop".into(), Some(from.to_owned()));
        Program { challenge: sha256(verifier), name, from, until: Millis(1000), said: None }
    }

    #[test]
    fn a_code_is_eight_letters_and_read_however_it_is_typed() {
        let code = draw().unwrap();
        assert!(code.len() == CODE_LETTERS && code.bytes().all(|letter| LETTERS.contains(&letter)), "{code}");
        assert_ne!(code, draw().unwrap());
        assert_eq!(plain(&shown(&code).to_lowercase().replace('-', " ")), code);
        assert_eq!(plain(&"x".repeat(1000)).len(), CODE_LETTERS + 1, "and fits none");
    }

    #[test]
    fn what_was_said_is_fetched_once_by_whoever_began() {
        let programs = Programs::default();
        let code = programs.begin(waits("10.0.0.1", "v"), Millis(0)).unwrap();
        assert!(programs.fetch(&code, "v", Millis(1)).unwrap().is_none(), "nobody has said anything");
        programs.say(&code, Word::No, Millis(2)).unwrap();
        assert!(programs.say(&code, Word::No, Millis(2)).is_err(), "once");
        assert!(programs.fetch(&code, "w", Millis(3)).is_err(), "the code alone is not enough");
        assert!(programs.fetch(&code, "v", Millis(3)).unwrap().is_some());
        assert!(programs.fetch(&code, "v", Millis(3)).is_err(), "once");
        let late = programs.begin(waits("10.0.0.1", "v"), Millis(0)).unwrap();
        assert!(programs.find(&late, Millis(999)).is_ok() && programs.find(&late, Millis(1000)).is_err());
    }

    #[test]
    fn a_flood_from_one_address_displaces_its_own() {
        let programs = Programs::default();
        let honest = programs.begin(waits("10.0.0.1", "v"), Millis(0)).unwrap();
        for _ in 0..10_000 {
            programs.begin(waits("10.0.0.9", "w"), Millis(0)).unwrap();
        }
        assert!(programs.find(&honest, Millis(1)).is_ok());
        assert_eq!(programs.locked(Millis(1)).len(), EACH_MAX + 1);
    }
}
