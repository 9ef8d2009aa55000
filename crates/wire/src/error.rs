//! Why bytes from outside are not what they should be.

/// A whole message that can't be read; nothing of it was taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Longer than is taken, in bytes.
    #[error("{what} has {size} bytes, at most {limit} are taken; send smaller batches")]
    TooLarge {
        /// What is too long.
        what: &'static str,
        /// How long it is, or says it is.
        size: u64,
        /// How long it may be.
        limit: u64,
    },
    /// More of something than is taken.
    #[error("{what} has more than {limit} {of}; send smaller batches")]
    TooMany {
        /// The message.
        what: &'static str,
        /// What it has too many of.
        of: &'static str,
        /// How many it may have.
        limit: u64,
    },
    /// Bytes that don't follow the format.
    #[error("{what} can't be read at byte {at}: {why}")]
    Malformed {
        /// What was being read.
        what: &'static str,
        /// Where, from the start of the (uncompressed) body.
        at: usize,
        /// What is wrong there.
        why: String,
    },
    /// JSON that does not parse, or has fields that are wrong or not known.
    #[error("{what} can't be read: {why}")]
    Json {
        /// What was being read.
        what: &'static str,
        /// What is wrong, with line and column.
        why: String,
    },
    /// A field whose value makes the whole message meaningless.
    #[error("{what} can't be taken: {why}")]
    Invalid {
        /// The message.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
}
