//! The Merkle tree over all entries, RFC 6962 §2.1: its root says in 32 bytes what every entry was.

use crate::Hash;

/// The right edge of a Merkle tree: enough to append leaves and to know the root, 64 hashes at most.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    size: u64,
    /// Roots of the complete subtrees, largest (leftmost) first; one for each bit set in `size`.
    edge: Vec<Hash>,
}

/// SHA-256(0x00 ‖ entry).
pub fn leaf_hash(entry: &[u8]) -> Hash {
    Hash::of(&[&[0], entry])
}

/// SHA-256(0x01 ‖ left ‖ right).
fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Hash::of(&[&[1], &left.0, &right.0])
}

impl Tree {
    /// The tree of no entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends an entry's bytes.
    pub fn append(&mut self, entry: &[u8]) {
        let mut hash = leaf_hash(entry);
        // Each trailing 1 bit of the size is a complete subtree on the left, as large as what `hash` covers.
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.edge.pop() {
                hash = node_hash(&left, &hash);
            }
        }
        self.edge.push(hash);
        self.size += 1;
    }

    /// The Merkle tree hash; of no entries, the hash of nothing.
    pub fn root(&self) -> Hash {
        let mut subtrees = self.edge.iter().rev();
        match subtrees.next() {
            None => Hash::of(&[]),
            Some(last) => subtrees.fold(*last, |right, left| node_hash(left, &right)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The leaves and roots of the Certificate Transparency reference implementation (`merkletree` tests).
    const LEAVES: [&[u8]; 8] = [
        b"",
        b"\x00",
        b"\x10",
        b"\x20\x21",
        b"\x30\x31",
        b"\x40\x41\x42\x43",
        b"\x50\x51\x52\x53\x54\x55\x56\x57",
        b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
    ];
    const ROOTS: [&str; 9] = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    #[test]
    fn roots_are_those_of_the_reference() {
        let mut tree = Tree::new();
        assert_eq!(tree.root().to_string(), ROOTS[0]);
        for (leaf, root) in LEAVES.iter().zip(&ROOTS[1..]) {
            tree.append(leaf);
            assert_eq!(tree.root().to_string(), *root);
        }
        assert_eq!(tree.size(), 8);
    }

    /// MTH as RFC 6962 §2.1 defines it, by recursion.
    fn defined(leaves: &[Vec<u8>]) -> Hash {
        match leaves {
            [] => Hash::of(&[]),
            [leaf] => leaf_hash(leaf),
            _ => {
                let split = leaves.len().next_power_of_two() / 2;
                node_hash(&defined(&leaves[..split]), &defined(&leaves[split..]))
            }
        }
    }

    #[test]
    fn the_edge_gives_the_root_of_the_definition() {
        let leaves: Vec<Vec<u8>> = (0..200_u32).map(|n| n.to_le_bytes().to_vec()).collect();
        let mut tree = Tree::new();
        for n in 0..leaves.len() {
            assert_eq!(tree.root(), defined(&leaves[..n]));
            tree.append(&leaves[n]);
        }
    }
}
