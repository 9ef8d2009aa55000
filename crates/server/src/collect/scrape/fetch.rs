//! One scrape: what is asked for, and in which format the answer is.

use std::fmt::Write as _;
use std::time::Duration;

use hmsops_model::scrape::Protocol;
use hmsops_wire::exposition::Format;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::job::Plan;

/// Says how long we wait.
const TIMEOUT: HeaderName = HeaderName::from_static("x-prometheus-scrape-timeout-seconds");

/// A page as it came.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) bytes: Vec<u8>,
    pub(super) format: Format,
}

/// Asks a target. The error says what was wrong, for people.
pub(super) async fn fetch(plan: &Plan) -> Result<Page, String> {
    if let Some(why) = &plan.refused {
        return Err(why.clone());
    }
    let seconds = plan.timeout.as_secs_f64().to_string();
    let fields = [
        (
            ACCEPT,
            HeaderValue::from_str(&accepted(&plan.job.spec.protocols)).map_err(|error| error.to_string())?,
        ),
        (TIMEOUT, HeaderValue::from_str(&seconds).map_err(|error| error.to_string())?),
    ];
    let asked = plan.job.client.get(&plan.place, &plan.reach, &fields, plan.job.page_bytes_max());
    let answer = tokio::time::timeout(Duration::from_millis(plan.timeout.0), asked).await;
    let answer = answer.unwrap_or_else(|_| Err(format!("no whole answer within {}", plan.timeout)))?;
    let format = format(&answer.headers, plan.job.spec.fallback)?;
    Ok(Page { bytes: answer.bytes, format })
}

/// Formats with weights that fall, and at last anything.
fn accepted(protocols: &[Protocol]) -> String {
    let mut weight = protocols.len() + 1;
    let mut text = String::new();
    for protocol in protocols {
        let _ = write!(text, "{};q=0.{weight},", protocol.media_type());
        weight -= 1;
    }
    text + "*/*;q=0.1"
}

fn format(headers: &HeaderMap, fallback: Option<Protocol>) -> Result<Format, String> {
    let media = headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or("?"));
    let known = media.and_then(Format::of_content_type);
    known.or_else(|| fallback.map(of)).map_or_else(
        || match media {
            // Plain text is what everybody writes who writes no header.
            None => Ok(Format::Text),
            Some(media) => Err(format!(
                "the page is `{media:.80}`; expected text/plain or application/openmetrics-text; \
                 `fallback_scrape_protocol` says how to read it all the same"
            )),
        },
        Ok,
    )
}

const fn of(protocol: Protocol) -> Format {
    match protocol {
        Protocol::PrometheusProto => Format::Protobuf,
        Protocol::PrometheusText0 | Protocol::PrometheusText1 => Format::Text,
        Protocol::OpenMetrics0 | Protocol::OpenMetrics1 => Format::OpenMetrics,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_asked_for_best_first() {
        let text = accepted(&[Protocol::PrometheusProto, Protocol::PrometheusText0]);
        assert!(text.contains("encoding=delimited;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"), "{text}");
    }
}
