//! The anchor beside the log: how many entries there were, and the tree's root. C2SP tlog-checkpoint.

use crate::Hash;

/// The longest checkpoint that is read: three lines, and room for signatures to come.
pub const CHECKPOINT_BYTES_MAX: usize = 16 << 10;

/// Size and root of the tree at one moment, under the log's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name: `hmsops/ledger/NODE`.
    pub origin: String,
    /// Entries covered.
    pub size: u64,
    /// The tree's root at that size.
    pub root: Hash,
}

impl Checkpoint {
    /// The note text: origin, size in decimal, root in Base 64, a newline after each. Unsigned.
    pub fn encode(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, self.root.to_base64())
    }

    /// Reads the three lines. Extension lines and, after an empty line, signatures may follow; they are not
    /// looked at yet. The text says what is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8")?;
        if !text.ends_with('\n') {
            return Err("it does not end with a newline");
        }
        let mut lines = text.split('\n');
        let mut line = |missing| lines.next().filter(|line| !line.is_empty()).ok_or(missing);
        let origin = line("the first line, the origin, is missing")?;
        let size_text = line("the second line, the size, is missing")?;
        let root = line("the third line, the root, is missing")?;
        let size: u64 = size_text.parse().map_err(|_| "the second line is not a size")?;
        if size.to_string() != size_text {
            return Err("the second line is not a size in plain decimal");
        }
        let root = Hash::from_base64(root).ok_or("the third line is not 32 bytes in Base 64")?;
        Ok(Self { origin: origin.to_owned(), size, root })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the C2SP document.
    #[test]
    fn the_example_of_the_specification() {
        let text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
        let checkpoint = Checkpoint::parse(text.as_bytes()).unwrap();
        assert_eq!(
            (checkpoint.origin.as_str(), checkpoint.size),
            ("example.com/behind-the-sofa", 20_852_163)
        );
        assert_eq!(checkpoint.encode(), text);
        let signed = format!("{text}\n— example.com/behind-the-sofa Az3grlgtzPICa5OS8npV\n");
        assert_eq!(Checkpoint::parse(signed.as_bytes()), Ok(checkpoint));
    }

    #[test]
    fn anything_else_is_refused() {
        let root = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=";
        for bad in [
            String::new(),
            "\n".to_owned(),
            format!("o\n1\n{root}"),
            format!("o\n01\n{root}\n"),
            format!("o\n+1\n{root}\n"),
            format!("o\n99999999999999999999\n{root}\n"),
            format!("\n1\n{root}\n"),
            "o\n1\nxxxx\n".to_owned(),
            "o\n1\n".to_owned(),
        ] {
            assert!(Checkpoint::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(Checkpoint::parse(&[0xff, b'\n']).is_err());
    }
}
