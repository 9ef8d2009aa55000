//! What a rule does when it fires: `rollback dmv-photo --to=prev` → [`HealAction`]. A heal is a verb of ours and
//! never a command of a shell, so everything else is refused when it is read, not when it is needed.

use hmsops_model::ids::IdError;
use hmsops_model::{HealAction, ServiceName, Version};

use crate::diagnostic::{TextError, shown};
use crate::nearest::nearest;

/// The longest heal in bytes: two names of the longest kind fit many times.
const HEAL_BYTES_MAX: usize = 1024;

/// What a shell would act on; no name and no version contains any of it.
const OF_A_SHELL: &str = ";|&$`<>(){}[]*?!~\\\"'#";

const EXAMPLE: &str = "write `rollback SERVICE --to=prev` or `restart SERVICE`";

/// Reads `rollback SERVICE --to=prev|VERSION` (also `--to prev`) or `restart SERVICE`, perhaps with `hmsops` before
/// it. Anything else is refused with the characters that are to blame.
pub fn parse_heal(text: &str) -> Result<HealAction, TextError> {
    if text.len() > HEAL_BYTES_MAX {
        let message = format!("a heal of {} bytes is longer than {HEAL_BYTES_MAX}", text.len());
        return Err(wrong(message, EXAMPLE, 0, text.chars().count()));
    }
    let sign = |c: char| OF_A_SHELL.contains(c) || (c.is_control() && c != '\t');
    if let Some((offset, found)) = text.chars().enumerate().find(|(_, c)| sign(*c)) {
        let named = if found.is_control() { "a line break".to_owned() } else { format!("`{found}`") };
        let message = format!("{named} is for a shell, and a heal runs without one");
        return Err(wrong(message, format!("a heal is one verb of ours: {EXAMPLE}"), offset, 1));
    }
    let mut words = words(text);
    if words.first().is_some_and(|word| word.text == "hmsops") {
        words.remove(0);
    }
    let Some((verb, rest)) = words.split_first() else {
        return Err(wrong("a heal has no verb", EXAMPLE, 0, text.chars().count()));
    };
    match verb.text {
        "rollback" => rollback(verb, rest),
        "restart" => restart(verb, rest),
        other => {
            let known = HealAction::VERBS.join(", ");
            let hint = match nearest(other, HealAction::VERBS) {
                Some(near) => format!("did you mean `{near}`?"),
                None => EXAMPLE.to_owned(),
            };
            Err(verb.wrong(format!("unknown heal verb `{}`; known: {known}", shown(other)), hint))
        }
    }
}

/// One word and where it stands, in characters.
#[derive(Debug, Clone, Copy)]
struct Word<'t> {
    text: &'t str,
    offset: usize,
}

impl Word<'_> {
    fn wrong(&self, message: impl Into<String>, hint: impl Into<String>) -> TextError {
        wrong(message, hint, self.offset, self.text.chars().count())
    }
}

fn words(text: &str) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let mut offset = 0;
    for part in text.split([' ', '\t']) {
        if !part.is_empty() {
            words.push(Word { text: part, offset });
        }
        offset += part.chars().count() + 1;
    }
    words
}

fn rollback(verb: &Word<'_>, rest: &[Word<'_>]) -> Result<HealAction, TextError> {
    let mut service = None;
    let mut target = None;
    let mut rest = rest.iter();
    while let Some(word) = rest.next() {
        let Some(option) = word.text.strip_prefix('-') else {
            take_service(&mut service, word, verb)?;
            continue;
        };
        let (name, value) =
            option.split_once('=').map_or((option, None), |(name, value)| (name, Some(value)));
        if name != "-to" {
            let hint = match nearest(name, ["to"]) {
                Some(_) => "did you mean `--to`?",
                None => "only `--to=prev` or `--to=VERSION` is known",
            };
            return Err(word.wrong(format!("unknown option `{}`", shown(word.text)), hint));
        }
        if target.is_some() {
            return Err(word.wrong("`--to` is given twice", "keep one"));
        }
        let at = match value {
            Some(value) => Word { text: value, offset: word.offset + "--to=".len() },
            None => *rest.next().unwrap_or(&Word { text: "", offset: word.offset }),
        };
        if at.text.is_empty() {
            return Err(word.wrong("`--to` does not say which version", "write `--to=prev` or `--to=1.7.3`"));
        }
        target = Some(match at.text {
            "prev" => None,
            version => Some(Version::new(version).map_err(|error| not_an_id(&at, &error))?),
        });
    }
    let service = service.ok_or_else(|| no_service(verb))?;
    let Some(to) = target else {
        let hint = "add `--to=prev` for the last proven version, or `--to=VERSION`";
        return Err(verb.wrong("`rollback` does not say to which version", hint));
    };
    Ok(HealAction::Rollback { service, to })
}

fn restart(verb: &Word<'_>, rest: &[Word<'_>]) -> Result<HealAction, TextError> {
    let mut service = None;
    for word in rest {
        if word.text.starts_with('-') {
            let message = format!("unknown option `{}`", shown(word.text));
            return Err(word.wrong(message, "`restart` has no options: `restart SERVICE`"));
        }
        take_service(&mut service, word, verb)?;
    }
    service.map(|service| HealAction::Restart { service }).ok_or_else(|| no_service(verb))
}

fn take_service(
    service: &mut Option<ServiceName>,
    word: &Word<'_>,
    verb: &Word<'_>,
) -> Result<(), TextError> {
    if service.is_some() {
        let message = format!("`{}` takes one service, and `{}` is one more", verb.text, shown(word.text));
        return Err(word.wrong(message, "write a rule for each service"));
    }
    *service = Some(ServiceName::new(word.text).map_err(|error| not_an_id(word, &error))?);
    Ok(())
}

fn no_service(verb: &Word<'_>) -> TextError {
    verb.wrong(format!("`{}` does not say which service", verb.text), EXAMPLE)
}

fn not_an_id(word: &Word<'_>, error: &IdError) -> TextError {
    word.wrong(format!("`{}` is not a {}", shown(word.text), error.what), format!("use {}", error.expected))
}

fn wrong(message: impl Into<String>, hint: impl Into<String>, offset: usize, width: usize) -> TextError {
    TextError { message: message.into(), hint: hint.into(), offset, width: width.max(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_are_read_in_every_form_and_print_in_one() {
        for (text, printed) in [
            ("rollback dmv-photo --to=prev", "rollback dmv-photo --to=prev"),
            ("rollback dmv-photo --to prev", "rollback dmv-photo --to=prev"),
            ("hmsops rollback --to=1.7.3 dmv-photo", "rollback dmv-photo --to=1.7.3"),
            ("  rollback\tdmv-photo   --to=prev ", "rollback dmv-photo --to=prev"),
            ("restart csac-portal", "restart csac-portal"),
            ("hmsops restart csac-portal", "restart csac-portal"),
        ] {
            let heal = parse_heal(text).unwrap();
            assert_eq!(heal.to_string(), printed, "{text}");
            assert_eq!(parse_heal(&heal.to_string()), Ok(heal));
        }
    }

    #[test]
    fn everything_else_is_refused_with_its_place() {
        for (text, message, offset, width, hint) in [
            (
                "kubectl rollout undo",
                "unknown heal verb `kubectl`; known: rollback, restart",
                0,
                7,
                "write `rollb",
            ),
            (
                "rolback a --to=prev",
                "unknown heal verb `rolback`; known: rollback, restart",
                0,
                7,
                "did you mean `rollback`?",
            ),
            ("/opt/heal.sh", "unknown heal verb `/opt/heal.sh`; known: rollback, restart", 0, 12, "write"),
            ("hmsops deploy a", "unknown heal verb `deploy`; known: rollback, restart", 7, 6, "write"),
            ("", "a heal has no verb", 0, 1, "write"),
            ("hmsops", "a heal has no verb", 0, 6, "write"),
            (
                "restart a; rm -rf /",
                "`;` is for a shell, and a heal runs without one",
                9,
                1,
                "a heal is one verb",
            ),
            ("restart $(id)", "`$` is for a shell, and a heal runs without one", 8, 1, "a heal is one verb"),
            (
                "restart a\nrestart b",
                "a line break is for a shell, and a heal runs without one",
                9,
                1,
                "a heal",
            ),
            ("rollback dmv-photo", "`rollback` does not say to which version", 0, 8, "add `--to=prev`"),
            ("rollback --to=prev", "`rollback` does not say which service", 0, 8, "write"),
            ("rollback a --to", "`--to` does not say which version", 11, 4, "write `--to=prev`"),
            ("rollback a --to=", "`--to` does not say which version", 11, 5, "write `--to=prev`"),
            ("rollback a --to=1/2", "`1/2` is not a version", 16, 3, "use 1 to 128"),
            ("rollback a --too=prev", "unknown option `--too=prev`", 11, 10, "did you mean `--to`?"),
            ("rollback a --force", "unknown option `--force`", 11, 7, "only `--to"),
            ("rollback a -to=prev", "unknown option `-to=prev`", 11, 8, "did you mean `--to`?"),
            ("rollback a --to=prev --to=1", "`--to` is given twice", 21, 6, "keep one"),
            ("rollback DMV --to=prev", "`DMV` is not a service name", 9, 3, "use 1 to 63"),
            ("restart a b", "`restart` takes one service, and `b` is one more", 10, 1, "write a rule"),
            ("restart a --to=prev", "unknown option `--to=prev`", 10, 9, "`restart` has no options"),
            ("restart", "`restart` does not say which service", 0, 7, "write"),
        ] {
            let error = parse_heal(text).unwrap_err();
            assert_eq!(
                (error.message.as_str(), error.offset, error.width),
                (message, offset, width),
                "{text}"
            );
            assert!(error.hint.starts_with(hint), "{text}: {}", error.hint);
        }
        assert!(parse_heal(&"r".repeat(5000)).unwrap_err().message.contains("longer than 1024"));
    }
}
