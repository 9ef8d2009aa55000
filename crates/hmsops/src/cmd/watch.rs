//! Follows a release: a line for each change, and a live line on a terminal.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use hmsops_model::ReleaseId;
use hmsops_wire::api::{Arm, Changed, Phase, Release};

use crate::client::{Client, Events};
use crate::failure::{Exit, Failure};
use crate::print;

/// A tower that was stopped is back within seconds; so often and so long it is looked for.
const RECONNECT_EVERY: Duration = Duration::from_millis(500);
/// See [`RECONNECT_EVERY`].
const RECONNECTS_MAX: usize = 60;

/// Follows a release until it is promoted or has ended and its numbers are final. Prints unless told not to.
pub(super) async fn follow(client: &Client, id: ReleaseId, tells: bool) -> Result<Release, Failure> {
    let mut screen = Screen::new(tells);
    let last = until(client, id, |release| {
        screen.show(release)?;
        let taken_back = matches!(release.phase, Phase::RolledBack | Phase::Aborted | Phase::Superseded);
        Ok(release.phase.is_promoted() || release.phase == Phase::Failed || (taken_back && release.closed))
    })
    .await?;
    screen.end(&last)?;
    Ok(last)
}

/// Waits until a release's new version runs, or it is known that it will not.
pub(super) async fn until_started(client: &Client, release: Release) -> Result<Release, Failure> {
    let started = |release: &Release| {
        let runs = release.instance.as_ref().is_some_and(|instance| instance.state != "intended");
        release.phase != Phase::Starting || runs
    };
    if started(&release) {
        return Ok(release);
    }
    until(client, release.id, |release| Ok(started(release))).await
}

/// Reads the release's stream until `done` says so; comes back to a tower that was stopped meanwhile.
async fn until(
    client: &Client,
    id: ReleaseId,
    mut done: impl FnMut(&Release) -> Result<bool, Failure>,
) -> Result<Release, Failure> {
    let mut lost = 0;
    loop {
        match client.stream(&format!("/hms/v1/stream?release={id}")).await {
            Ok(mut events) => {
                // Existence is asked for once per connection: a stream of nothing says nothing.
                let release: Release = client.get(&format!("/hms/v1/releases/{id}")).await?;
                lost = 0;
                if done(&release)? {
                    return Ok(release);
                }
                while let Some(release) = next(&mut events, id).await? {
                    if done(&release)? {
                        return Ok(release);
                    }
                }
            }
            Err(Failure::Said { exit: Exit::Unreachable, .. }) if lost > 0 && lost < RECONNECTS_MAX => {}
            Err(failure) => return Err(failure),
        }
        if lost == 0 {
            print::talk("the tower is gone; the release goes on without it, looking for it again");
        }
        lost += 1;
        tokio::time::sleep(RECONNECT_EVERY).await;
    }
}

async fn next(events: &mut Events, id: ReleaseId) -> Result<Option<Release>, Failure> {
    while let Some(data) = events.next().await {
        let changed: Changed = serde_json::from_str(&data).map_err(|error| {
            Failure::new(Exit::Failed, format!("cannot read the tower's stream: {error}"))
                .hint("is it as new as this program?")
        })?;
        if let Some(release) = changed.releases.into_iter().find(|release| release.id == id) {
            return Ok(Some(release));
        }
    }
    Ok(None)
}

/// What is printed: changes stay, the live line is overwritten.
struct Screen {
    tells: bool,
    live: bool,
    said: String,
}

impl Screen {
    fn new(tells: bool) -> Self {
        Self { tells, live: tells && io::stdout().is_terminal(), said: String::new() }
    }

    fn show(&mut self, release: &Release) -> Result<(), Failure> {
        if !self.tells {
            return Ok(());
        }
        if self.said != release.headline {
            self.said.clone_from(&release.headline);
            self.clear()?;
            print::line(&format!("{} {}", mark(release.phase), print::plain(&release.headline)))?;
        }
        if self.live {
            let mut out = io::stdout().lock();
            write!(out, "\r\u{1b}[2K{}", live(release))?;
            out.flush()?;
        }
        Ok(())
    }

    fn end(&mut self, release: &Release) -> Result<(), Failure> {
        if !self.tells {
            return Ok(());
        }
        self.clear()?;
        print::line(&live(release))?;
        print::line(&print::plain(&release.why))
    }

    fn clear(&self) -> Result<(), Failure> {
        if self.live { print::data("\r\u{1b}[2K") } else { Ok(()) }
    }
}

/// A phase's mark; its word is beside it in the sentence.
pub(super) fn mark(phase: Phase) -> &'static str {
    match phase {
        Phase::Starting | Phase::Superseded => "◌",
        Phase::Watching | Phase::Baking => "▲",
        Phase::Done => "●",
        Phase::RolledBack | Phase::Aborted | Phase::Failed => "■",
    }
}

/// `1 %  evidence 12 of 1000  canary 3 bad of 120  stable 0 bad of 11880  probes 0 failed of 40`
pub(super) fn live(release: &Release) -> String {
    let arm = |name: &str, arm: &Arm| format!("{name} {} bad of {}", arm.bad, arm.requests);
    let evidence = release.evidence.map_or_else(|| "–".to_owned(), |evidence| evidence.to_string());
    [
        print::share(release.weight_bp),
        format!("evidence {evidence} of {}", release.needed),
        arm("canary", &release.canary),
        arm("stable", &release.stable),
        format!("probes {} failed of {}", release.probes_failed, release.probes),
    ]
    .join("  ")
}
