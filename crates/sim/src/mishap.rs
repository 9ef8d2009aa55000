//! What goes wrong on our own side.

use hmsops_model::{InstanceId, Millis, UnixMillis};

use crate::dice::Dice;
use crate::invariant::Invariant;
use crate::world::{Doom, World};

/// What goes wrong on our own side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mishap {
    /// kill -9 of the tower between two events, and back after so many steps.
    KillTower(u64),
    /// kill -9 of the tower in the middle of what it does at a moment, see [`Doom`]; back after so many steps.
    KillInside(Doom, u64),
    /// Power loss on the tower's machine.
    PowerLoss,
    /// kill -9 of the gateway, and back after so many steps.
    KillGateway(u64),
    /// kill -9 of the shim of the newest process (or of the oldest). Its service may go with it, or go on alone.
    KillShim {
        /// Of the newest process, else of the oldest.
        newest: bool,
        /// Whether the service goes with it.
        service_too: bool,
    },
    /// The tower's disk is full for so many steps.
    DiskFull(u64),
    /// Its syncs fail for so many steps.
    SyncsFail(u64),
    /// Nothing can be written for so many steps: mounted read-only.
    ReadOnly(u64),
    /// The wall clock jumps by so many seconds, either way.
    ClockJump(i64),
    /// A process stands still for so many milliseconds.
    Pause(u64),
    /// The tower's process stands still for so many milliseconds.
    PauseTower(u64),
    /// The line to the gateway is cut for so many milliseconds.
    Cut(u64),
    /// Its messages come so many milliseconds late, for so many milliseconds.
    Late(u64, u64),
    /// Each of its messages comes twice, for so many milliseconds.
    Twice(u64),
    /// Its ticks get lost for so many milliseconds.
    LoseTicks(u64),
}

impl Mishap {
    /// Any of them.
    pub fn draw(dice: &mut Dice) -> Self {
        match dice.below(18) {
            0 | 1 => Self::KillTower(1 + dice.below(20)),
            2 => Self::KillTower(50 + dice.below(30)),
            3 | 4 => {
                let event = dice.below(3000);
                let (write, effects, power) = (1 + dice.below(6), dice.chance(0.5), dice.chance(0.3));
                Self::KillInside(Doom { event, write, effects, power }, 1 + dice.below(10))
            }
            5 => Self::PowerLoss,
            6 | 7 => Self::KillGateway(1 + dice.below(8)),
            8 => Self::KillShim { newest: dice.chance(0.5), service_too: dice.chance(0.5) },
            9 => Self::DiskFull(10 + dice.below(300)),
            10 => Self::SyncsFail(10 + dice.below(300)),
            11 => Self::ReadOnly(10 + dice.below(100)),
            12 => Self::ClockJump(dice.pick(&[-3600, 3600, -1, 5, -86_400]).unwrap_or(0)),
            13 => Self::Pause(dice.below(1200)),
            14 => Self::PauseTower(dice.below(9000)),
            15 => Self::Cut(dice.below(9000)),
            16 => Self::Late(50 + dice.below(2000), 1000 + dice.below(20_000)),
            _ if dice.chance(0.5) => Self::Twice(1000 + dice.below(20_000)),
            _ => Self::LoseTicks(100 + dice.below(3000)),
        }
    }

    /// Lets it happen, and time go by until it is over where the world stands still with it.
    pub fn befall(self, world: &mut World) {
        let now = world.now.steady;
        match self {
            Self::KillTower(steps) => {
                world.kill_tower();
                back_after(world, steps);
            }
            Self::KillInside(doom, steps) => {
                for _ in 0..100 {
                    if world.tower.is_none() {
                        break;
                    }
                    world.doom_next(doom);
                    world.step();
                }
                world.doom = None;
                world.kill_tower();
                back_after(world, steps);
            }
            Self::PowerLoss => {
                world.crash_disk();
                back_after(world, 10);
            }
            Self::KillGateway(steps) => {
                world.kill_gateway();
                (0..steps).for_each(|_| world.step());
                let now = world.now;
                world.gateway.restart(now);
            }
            Self::KillShim { newest, service_too } => kill_shim(world, newest, service_too),
            Self::DiskFull(steps) => {
                world.faults.fill();
                fail_closed(world, steps);
            }
            Self::SyncsFail(steps) => {
                world.faults.fail_syncs();
                fail_closed(world, steps);
            }
            Self::ReadOnly(steps) => {
                world.faults.freeze_at_write(world.faults.writes() + 1);
                fail_closed(world, steps);
            }
            Self::ClockJump(secs) => world.now.wall = UnixMillis(world.now.wall.0 + secs * 1000),
            Self::Pause(ms) => {
                if let Some(process) = world.processes.values_mut().find(|process| !process.ended) {
                    process.paused_until = now + Millis(ms);
                }
            }
            Self::PauseTower(ms) => world.tower_paused_until = now + Millis(ms),
            Self::Cut(ms) => world.cut_line(now + Millis(ms)),
            Self::Late(late, ms) => world.line.late = (Millis(late), now + Millis(ms)),
            Self::Twice(ms) => world.line.twice_until = now + Millis(ms),
            Self::LoseTicks(ms) => world.line.lossy_until = now + Millis(ms),
        }
    }
}

/// Time goes by, and the tower is back.
pub(crate) fn back_after(world: &mut World, steps: u64) {
    (0..steps).for_each(|_| world.step());
    world.start_tower();
}

/// A shim dies. Of a service that goes with it the driver hears at once; of one that goes on alone it hears nothing
/// more, until it looks for it.
fn kill_shim(world: &mut World, newest: bool, service_too: bool) {
    let mut alive = world.processes.iter().filter(|(_, process)| !process.ended).map(|(id, _)| *id);
    let chosen: Option<InstanceId> = if newest { alive.next_back() } else { alive.next() };
    let Some(process) = chosen.and_then(|id| world.processes.get_mut(&id)) else { return };
    process.alone = true;
    if service_too {
        process.ended = true;
        let id = process.instance.id;
        let report = hmsops_control::event::InstanceReport::Exited { reason: "killed by signal 9".into() };
        world.hand_in(&hmsops_control::Event::Instance { id, report });
    }
}

/// While the ledger fails nothing may go further.
fn fail_closed(world: &mut World, steps: u64) {
    // A gateway that comes back meanwhile gets what was granted before: that goes no further.
    let before = world.granted_max();
    for _ in 0..steps {
        world.step();
        let now = world.gateway.weight();
        if now > before {
            world.violate(Invariant::FailsClosed, format!("the share rose from {before} to {now}"));
        }
    }
    world.faults.heal();
}
