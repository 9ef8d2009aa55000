//! Evidence of releases, read again from the ledger and the side log: to say whether it leads to the same verdict, and
//! for the charts of releases that are no longer in memory.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use hmsops_control::evidence::Watch;
use hmsops_control::replay::{Kept, Replayed, course, replay};
use hmsops_control::{Event, Transition};
use hmsops_disk::RealDisk;
use hmsops_ledger::side::{Chain, scan_side};
use hmsops_ledger::{LedgerReader, Order};
use hmsops_model::{Now, ReleaseId, ServiceName};
use hmsops_tower::{decode_line, decode_seen};

/// The side log's folder in the data folder.
pub const EVIDENCE: &str = "evidence";

/// Lines of evidence that one request folds: half a day with bad answers in each tick, and some 200 MB.
const LINES_MAX: usize = 400_000;

/// Courses of ended releases that are kept at hand; they change no more.
const COURSES_MAX: usize = 8;

/// Entries of the ledger in one read.
const CHUNK: u64 = 1000;

/// What was kept of a release, in the order in which it came about.
pub struct Records {
    lines: Vec<(Now, Transition)>,
    seen: Vec<(Now, Event)>,
    /// Ticks among what was seen; several without a bad answer may be one.
    pub ticks: u64,
    /// Looks among what was seen.
    pub looks: u64,
    /// Why the side log could not be read to its end.
    pub broken: Option<String>,
    /// Whether the side log begins with what the verdict was read from: the hashes are the same. `None`: the verdict
    /// names no hash, or there is no verdict.
    pub is_whole: Option<bool>,
}

impl Records {
    /// Reads all of it. The error says why it cannot be read. Blocks on the disk.
    pub fn read(
        data: &Path,
        ledger: &LedgerReader,
        release: ReleaseId,
        service: &ServiceName,
    ) -> Result<Self, String> {
        let lines = lines(ledger, release, service)?;
        let hash = lines.iter().find_map(|(_, line)| match line {
            Transition::ReleaseTakenBack { release: id, verdict, .. } if *id == release => {
                verdict.evidence_sha256.clone()
            }
            _ => None,
        });
        let disk = RealDisk::new(data).map_err(|error| error.chain())?;
        let (mut seen, mut chain, mut n) = (Vec::new(), Chain::default(), 0_usize);
        let mut is_whole = hash.as_ref().map(|_| false);
        let mut visit = |bytes: Vec<u8>| {
            n += 1;
            if n > LINES_MAX {
                return;
            }
            if is_whole == Some(false) {
                chain.feed(&bytes);
                is_whole = Some(hash.as_deref() == Some(chain.sha256().to_string().as_str()));
            }
            seen.extend(decode_seen(&bytes));
        };
        let read = scan_side(&disk, EVIDENCE, &release.to_string(), &mut visit);
        let broken = match read {
            Ok(()) => None,
            Err(error) => Some(error.chain()),
        };
        if n > LINES_MAX {
            return Err(format!("its evidence has {n} lines; at most {LINES_MAX} are folded at once"));
        }
        let count =
            |wanted: fn(&Event) -> bool| seen.iter().filter(|(_, event)| wanted(event)).count() as u64;
        let ticks = count(|event| matches!(event, Event::Tick(_)));
        let looks = count(|event| matches!(event, Event::Probe(_)));
        Ok(Self { lines, seen, ticks, looks, broken, is_whole })
    }

    /// Ticks before lines of the same moment: those were decided on them.
    fn in_order(&self) -> Vec<Kept<'_>> {
        let seen = self.seen.iter().map(|(now, event)| ((now.steady, 0), Kept::Seen(*now, event)));
        let lines = self.lines.iter().map(|(now, line)| ((now.steady, 1), Kept::Line(*now, line)));
        let mut all: Vec<_> = seen.chain(lines).collect();
        all.sort_by_key(|(key, _)| *key);
        all.into_iter().map(|(_, kept)| kept).collect()
    }

    /// What they lead to. `None`: they don't tell of such a release.
    pub fn replay(&self, release: ReleaseId) -> Option<Replayed> {
        replay(release, self.in_order())
    }

    /// What the release has shown. `None`: nothing was kept.
    pub fn course(&self, release: ReleaseId) -> Option<Watch> {
        course(release, self.in_order())
    }
}

/// The ledger's lines of a service, until the release has ended.
fn lines(
    ledger: &LedgerReader,
    release: ReleaseId,
    service: &ServiceName,
) -> Result<Vec<(Now, Transition)>, String> {
    let (mut found, mut begin, size) = (Vec::new(), 0, ledger.size());
    while begin < size {
        let read = ledger.read(begin..begin + CHUNK, Order::OldestFirst, CHUNK as usize);
        let read = read.map_err(|error| format!("cannot read the ledger: {}", error.chain()))?;
        for entry in read {
            let Some((now, line)) = decode_line(&entry.data) else { continue };
            if line.service() != Some(service) {
                continue;
            }
            let is_last = line.release() == Some(release)
                && matches!(line, Transition::ReleaseClosed { .. } | Transition::ReleaseBaked { .. });
            found.push((now, line));
            if is_last {
                return Ok(found);
            }
        }
        begin += CHUNK;
    }
    Ok(found)
}

/// The courses that were folded last; `None`: there is no evidence of that release.
type Courses = VecDeque<(ReleaseId, Option<Arc<Watch>>)>;

/// Courses of releases that are no longer in memory.
#[derive(Clone)]
pub struct Recall {
    data: PathBuf,
    ledger: LedgerReader,
    courses: Arc<Mutex<Courses>>,
    /// A disk that is read by many at once is slow for the tower.
    one: Arc<tokio::sync::Semaphore>,
}

impl Recall {
    /// Of this data folder.
    pub fn new(data: PathBuf, ledger: LedgerReader) -> Self {
        Self { data, ledger, courses: Arc::default(), one: Arc::new(tokio::sync::Semaphore::new(1)) }
    }

    /// What was kept of a release. The error says why it cannot be read.
    pub async fn records(&self, release: ReleaseId, service: &ServiceName) -> Result<Records, String> {
        let _turn = self.one.acquire().await.map_err(|error| error.to_string())?;
        let (data, ledger, service) = (self.data.clone(), self.ledger.clone(), service.clone());
        let read =
            tokio::task::spawn_blocking(move || Records::read(&data, &ledger, release, &service)).await;
        read.map_err(|_| "reading the evidence broke off".to_owned())?
    }

    /// What an ended release has shown. `None`: nothing was kept, or it can't be read.
    pub async fn course(&self, release: ReleaseId, service: &ServiceName) -> Option<Arc<Watch>> {
        let known = |courses: &VecDeque<(ReleaseId, Option<Arc<Watch>>)>| {
            courses.iter().find(|(id, _)| *id == release).map(|(_, course)| course.clone())
        };
        if let Some(course) = known(&self.courses.lock().unwrap_or_else(PoisonError::into_inner)) {
            return course;
        }
        let records = self.records(release, service).await.ok()?;
        let folded = tokio::task::spawn_blocking(move || records.course(release)).await.ok()?;
        let course = folded.map(Arc::new);
        let mut courses = self.courses.lock().unwrap_or_else(PoisonError::into_inner);
        courses.push_back((release, course.clone()));
        if courses.len() > COURSES_MAX {
            courses.pop_front();
        }
        course
    }
}
