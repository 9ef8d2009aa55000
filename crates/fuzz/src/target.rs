//! What is fed.

mod bytes;
mod disk;
mod query;
mod text;

/// Takes an input and says in words what came of it: words that are new are something new.
pub(crate) type World = Box<dyn FnMut(&[u8]) -> String>;

/// One parser or decoder, or a few that read the same.
pub(crate) struct Target {
    /// As it is named on the command line.
    pub(crate) name: &'static str,
    /// The crate below `crates/` whose promise it is.
    pub(crate) about: &'static str,
    /// Ends of names of files that hold seeds.
    pub(crate) files: &'static [&'static str],
    /// Takes the seeds out of such a file.
    pub(crate) split: fn(&[u8], &mut Vec<Vec<u8>>),
    /// Seeds that no file holds.
    pub(crate) seeds: fn() -> Vec<Vec<u8>>,
    /// Words that are put in.
    pub(crate) words: &'static [&'static [u8]],
    /// What it is fed to.
    pub(crate) world: fn() -> World,
}

/// All of them.
pub(crate) const ALL: &[Target] = &[
    query::PROMQL,
    query::TEMPLATE,
    query::PATTERN,
    query::SCRIPT,
    text::EXPOSITION,
    text::CONFIG,
    text::API,
    text::GATEWAY,
    bytes::PAGES,
    bytes::REMOTE_WRITE,
    bytes::EMIT,
    disk::STORE,
    disk::LEDGER,
];

/// The one of a name.
pub(crate) fn named(name: &str) -> Result<&'static Target, String> {
    ALL.iter().find(|target| target.name == name).ok_or_else(|| {
        let names: Vec<&str> = ALL.iter().map(|target| target.name).collect();
        format!("no target is called `{name}`; there are {}", names.join(", "))
    })
}

/// A file is one seed.
fn whole(file: &[u8], seeds: &mut Vec<Vec<u8>>) {
    seeds.push(file.to_vec());
}

fn texts(all: &[&str]) -> Vec<Vec<u8>> {
    all.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// What a result came to, in words.
fn words<T, E: std::fmt::Display>(result: Result<T, E>) -> String {
    result.map_or_else(|error| error.to_string(), |_| "read".to_owned())
}
