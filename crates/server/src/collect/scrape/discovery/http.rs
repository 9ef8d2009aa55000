//! A page with a list of targets, as `http_sd_configs` of Prometheus has it.

use std::path::PathBuf;
use std::sync::Arc;

use hmsops_model::scrape::{HttpClient, HttpUrl};
use http::HeaderValue;
use http::header::{ACCEPT, CONTENT_TYPE};

use super::{Found, Group, PAGE_BYTES_MAX, targets};
use crate::collect::scrape::client::{Client, Place, Reach};
use crate::collect::scrape::relabel::LabelMap;

pub(super) async fn look(
    url: &HttpUrl,
    how: &HttpClient,
    secrets: &Arc<PathBuf>,
) -> Result<Vec<Found>, String> {
    let client = Client::new(how.clone(), Arc::clone(secrets));
    let reach = Reach { is_written: true, allowed: url.allow_private.clone() };
    let fields = [(ACCEPT, HeaderValue::from_static("application/json"))];
    let answer = client.get(&Place::from(url), &reach, &fields, PAGE_BYTES_MAX).await?;
    let media = answer.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !media.trim_start().to_ascii_lowercase().starts_with("application/json") {
        return Err(format!("the page is `{media:.80}`; expected application/json"));
    }
    let groups: Vec<Group> = serde_json::from_slice(&answer.bytes).map_err(|error| {
        format!("line {}, column {}: not a list of targets", error.line(), error.column())
    })?;
    let meta = LabelMap::from([("__meta_url".to_owned(), url.to_string())]);
    targets(groups, &meta, false)
}
