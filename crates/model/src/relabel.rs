//! Rules that change labels, as `relabel_configs` of Prometheus has them.

/// One rule. Which of its fields count depends on its action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relabel {
    /// Labels whose values are looked at, joined by `separator`; one that is not there is empty.
    pub source_labels: Vec<String>,
    /// What stands between them.
    pub separator: String,
    /// What the joined text must match, whole; RE2 syntax.
    pub regex: String,
    /// By what a hash is divided; from 1.
    pub modulus: u64,
    /// The label that is written; may have `$1` and `${name}` of the match where the action is to replace.
    pub target_label: String,
    /// What is written; may have `$1` and `${name}` of the match.
    pub replacement: String,
    /// What is done.
    pub action: RelabelAction,
}

impl Default for Relabel {
    /// Does nothing but what its action says of an empty rule, as with Prometheus.
    fn default() -> Self {
        Self {
            source_labels: Vec::new(),
            separator: ";".to_owned(),
            regex: "(.*)".to_owned(),
            modulus: 0,
            target_label: String::new(),
            replacement: "$1".to_owned(),
            action: RelabelAction::Replace,
        }
    }
}

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum RelabelAction {
    /// Writes `replacement` into `target_label` where the text matches; an empty one takes the label away.
    #[default]
    Replace,
    /// Drops what does not match.
    Keep,
    /// Drops what matches.
    Drop,
    /// Drops that whose text is not `target_label`'s value.
    KeepEqual,
    /// Drops that whose text is `target_label`'s value.
    DropEqual,
    /// Writes the text's hash, modulo `modulus`, into `target_label`.
    HashMod,
    /// Copies each label whose name matches to the name that `replacement` makes of it.
    LabelMap,
    /// Takes labels away whose names match.
    LabelDrop,
    /// Takes labels away whose names do not match.
    LabelKeep,
    /// Writes the text in lower case into `target_label`.
    Lowercase,
    /// Writes the text in upper case into `target_label`.
    Uppercase,
}

impl RelabelAction {
    /// Every one.
    pub const ALL: [Self; 11] = [
        Self::Replace,
        Self::Keep,
        Self::Drop,
        Self::KeepEqual,
        Self::DropEqual,
        Self::HashMod,
        Self::LabelMap,
        Self::LabelDrop,
        Self::LabelKeep,
        Self::Lowercase,
        Self::Uppercase,
    ];

    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Replace => "replace",
            Self::Keep => "keep",
            Self::Drop => "drop",
            Self::KeepEqual => "keepequal",
            Self::DropEqual => "dropequal",
            Self::HashMod => "hashmod",
            Self::LabelMap => "labelmap",
            Self::LabelDrop => "labeldrop",
            Self::LabelKeep => "labelkeep",
            Self::Lowercase => "lowercase",
            Self::Uppercase => "uppercase",
        }
    }

    /// Whether it writes or reads one label.
    pub const fn has_target(self) -> bool {
        matches!(
            self,
            Self::Replace
                | Self::KeepEqual
                | Self::DropEqual
                | Self::HashMod
                | Self::Lowercase
                | Self::Uppercase
        )
    }
}
