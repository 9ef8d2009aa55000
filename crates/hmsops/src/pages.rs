//! Lists that a tower answers page by page.

use std::fmt::Write as _;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::client::{Client, encoded};
use crate::failure::Failure;

/// How much is asked for at once.
const PAGE: usize = 100;

/// Things of a list.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    /// Where the next page begins.
    pub(crate) next: Option<String>,
    /// What the list says beside its things.
    #[serde(flatten)]
    pub(crate) more: Map<String, Value>,
}

/// The first things of a list, at most `limit`, from as many pages as that takes.
pub(crate) async fn read<T: DeserializeOwned>(
    client: &Client,
    path: &str,
    asked: &[(&str, &str)],
    limit: usize,
) -> Result<Page<T>, Failure> {
    let mut found: Page<T> = client.get(&address(path, asked, limit, None)).await?;
    while let Some(cursor) = found.next.take_if(|_| found.items.len() < limit) {
        let left = limit - found.items.len();
        let page: Page<T> = client.get(&address(path, asked, left, Some(&cursor))).await?;
        let is_end = page.items.is_empty() || page.next.as_deref() == Some(&cursor);
        found.items.extend(page.items);
        found.next = page.next.filter(|_| !is_end);
    }
    found.items.truncate(limit);
    Ok(found)
}

fn address(path: &str, asked: &[(&str, &str)], limit: usize, cursor: Option<&str>) -> String {
    let mut address = format!("{path}?limit={}", limit.clamp(1, PAGE));
    for (name, value) in asked.iter().copied().chain(cursor.map(|cursor| ("cursor", cursor))) {
        // Writing to a String cannot fail.
        let _ = write!(address, "&{name}={}", encoded(value));
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_asked_for_by_limit_and_cursor() {
        let asked = [("active", "true")];
        assert_eq!(address("/a", &asked, 1000, Some("x&y")), "/a?limit=100&active=true&cursor=x%26y");
        assert_eq!(address("/a", &[], 20, None), "/a?limit=20");
    }

    #[test]
    fn what_a_list_says_beside_its_things_is_kept() {
        let text = r#"{"items":["a"],"next":null,"paused":{"reason":"x"}}"#;
        let page: Page<String> = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&page).unwrap(), text);
    }
}
