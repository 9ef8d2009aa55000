//! A process for each target, and what it leaves behind when it dies.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::sync::Mutex;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, setrlimit};

use crate::target::{self, Target};
use crate::{Wishes, corpus, run};

/// What one process may have, in bytes: an input of 64 KiB has no business with more.
const MEMORY_BYTES_MAX: u64 = 1 << 30;

/// How long one input may take. Far more than any does, for machines that are busy.
const INPUT_MAX: Duration = Duration::from_secs(10);

/// How a process says that its input hangs.
const HANGS: i32 = 86;

/// Runs each target; whether none had a finding.
pub(crate) fn parent(wishes: &Wishes) -> Result<bool, String> {
    let own = std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
    let all: Vec<&Target> = target::ALL.iter().collect();
    let named: Result<Vec<&Target>, String> = wishes.targets.iter().map(|name| target::named(name)).collect();
    let targets = Some(named?).filter(|named| !named.is_empty()).unwrap_or(all);
    let mut is_clean = true;
    for target in targets {
        let place = std::env::temp_dir().join(format!("hmsops-fuzz-{}-{}", std::process::id(), target.name));
        let mut command = Command::new(&own);
        command.args(["--seconds", &wishes.seconds.to_string(), "--seed", &wishes.seed.to_string()]);
        for folder in &wishes.seeds {
            command.arg("--seeds").arg(folder);
        }
        let status = command.arg("--child").arg(&place).arg(target.name).status();
        let status = status.map_err(|error| format!("cannot start `{}`: {error}", own.display()))?;
        is_clean &= status.success();
        if !status.success() {
            keep(target, &place, status)?;
        }
        let _gone = fs::remove_file(&place);
    }
    Ok(is_clean)
}

fn keep(target: &Target, place: &Path, status: ExitStatus) -> Result<(), String> {
    let bytes = fs::read(place).map_err(|error| format!("cannot read `{}`: {error}", place.display()))?;
    let (head, rest) = bytes.split_at_checked(8).ok_or("no input was fed")?;
    let length = head.iter().rev().fold(0, |length, byte| length << 8 | usize::from(*byte));
    let input = &rest[..length.min(rest.len())];
    let folder = corpus::folder(target);
    let file = folder.join(format!("{:016x}", run::name(input)));
    let kept = fs::create_dir_all(&folder).and_then(|()| fs::write(&file, input));
    kept.map_err(|error| format!("cannot write `{}`: {error}", file.display()))?;
    let how = if status.code() == Some(HANGS) {
        format!("an input takes more than {INPUT_MAX:?}")
    } else {
        format!("an input ends it: {status}")
    };
    println!("{}: {how}; kept as {}", target.name, file.display());
    Ok(())
}

/// Runs one target in this process. Before each input it is written to `place`, so that it is known whatever happens.
pub(crate) fn child(wishes: &Wishes, place: &Path) -> Result<bool, String> {
    let limit = Rlimit { current: Some(MEMORY_BYTES_MAX), maximum: Some(MEMORY_BYTES_MAX) };
    setrlimit(Resource::As, limit).map_err(|error| format!("cannot bound the memory: {error}"))?;
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none).map_err(|error| format!("cannot do without core files: {error}"))?;
    let target = target::named(wishes.targets.first().map_or("", String::as_str))?;
    let file =
        fs::File::create(place).map_err(|error| format!("cannot write `{}`: {error}", place.display()))?;
    let (tell, told) = mpsc::sync_channel::<()>(1);
    std::thread::spawn(move || watchdog(&told));
    let inputs = (corpus::found(target), corpus::seeds(target, &wishes.seeds));
    let trouble = Mutex::new(None);
    let span = Duration::from_secs(wishes.seconds);
    let outcome = run::search(target, inputs, (wishes.seed, span), &mut |input| {
        let _full = tell.try_send(());
        let line = [&(input.len() as u64).to_le_bytes()[..], input].concat();
        if let (Err(error), Ok(mut trouble)) = (file.write_all_at(&line, 0), trouble.lock()) {
            *trouble = Some(error.to_string());
        }
    });
    if let Some(error) = trouble.into_inner().ok().flatten() {
        return Err(format!("cannot write `{}`: {error}", place.display()));
    }
    match outcome {
        Ok(tally) => {
            println!(
                "{}: {} inputs, {} different answers, nothing found",
                target.name, tally.inputs, tally.answers
            );
            Ok(true)
        }
        Err(input) => {
            println!("{}: it panics with {} bytes", target.name, input.len());
            Ok(false)
        }
    }
}

/// Ends the process when it is told of no new input for too long.
fn watchdog(told: &mpsc::Receiver<()>) {
    loop {
        match told.recv_timeout(INPUT_MAX) {
            Ok(()) => {}
            Err(RecvTimeoutError::Timeout) => std::process::exit(HANGS),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
