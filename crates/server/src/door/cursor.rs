//! Pages of lists: each item has a place, the cursor is the place of the last one shown, and what follows it comes
//! next, whatever has come or gone meanwhile.

use std::cmp::Reverse;
use std::fmt;
use std::str::FromStr;

use super::Failure;

/// Items on a page, unless more or fewer are asked for.
const PAGE: usize = 100;

/// At most.
const PAGE_MAX: usize = 1000;

/// Where an item stands in its list: by rank, then newest (the highest number) first, then by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    rank: u8,
    number: Reverse<u64>,
    name: String,
}

impl Place {
    /// The place of something numbered.
    pub(crate) const fn numbered(rank: u8, number: u64) -> Self {
        Self { rank, number: Reverse(number), name: String::new() }
    }

    /// The place of something that has a name alone.
    pub(crate) fn named(rank: u8, name: impl Into<String>) -> Self {
        Self { rank, number: Reverse(0), name: name.into() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.rank, self.number.0, self.name)
    }
}

impl FromStr for Place {
    type Err = Failure;
    fn from_str(text: &str) -> Result<Self, Failure> {
        let parts = || {
            let (rank, rest) = text.split_once('.')?;
            let (number, name) = rest.split_once('.')?;
            let (rank, number) = (rank.parse().ok()?, number.parse().ok()?);
            Some(Self { rank, number: Reverse(number), name: name.to_owned() })
        };
        parts().ok_or_else(|| {
            Failure::argument(format!("`{text:.80}` is not a cursor"))
                .hint("send `next` of the page before, as it is")
        })
    }
}

/// The items of one page in order, and the cursor of the page after it.
pub(crate) fn page<T>(
    mut items: Vec<(Place, T)>,
    cursor: Option<&str>,
    limit: Option<usize>,
) -> Result<(Vec<T>, Option<String>), Failure> {
    if let Some(after) = cursor.map(Place::from_str).transpose()? {
        items.retain(|(place, _)| *place > after);
    }
    items.sort_by(|(a, _), (b, _)| a.cmp(b));
    let limit = limit.unwrap_or(PAGE).clamp(1, PAGE_MAX);
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(|(place, _)| place.to_string());
    Ok((items.into_iter().map(|(_, item)| item).collect(), next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_though_items_come_and_go() {
        let all = |numbers: &[u64]| numbers.iter().map(|n| (Place::numbered(1, *n), *n)).collect::<Vec<_>>();
        let (first, next) = page(all(&[1, 4, 3, 2]), None, Some(2)).unwrap();
        assert_eq!(first, [4, 3]);
        // 3 has gone, 5 is new: nothing comes twice and nothing is left out.
        let (rest, end) = page(all(&[5, 4, 2, 1]), next.as_deref(), Some(2)).unwrap();
        assert_eq!((rest, end), (vec![2, 1], None));
        let named = Place::named(2, "a.b ü");
        assert_eq!(named.to_string().parse::<Place>().unwrap(), named);
        for wrong in ["", "1", "1.2", "x.1.", "1.x.", "999.1."] {
            assert!(page(all(&[1]), Some(wrong), None).is_err(), "{wrong}");
        }
    }
}
