//! Names that mean targets, as `dns_sd_configs` of Prometheus has them.

use std::time::Duration;

use hmsops_model::probe::RecordType;
use hmsops_model::scrape::ADDRESS;

use super::Found;
use crate::collect::scrape::relabel::LabelMap;

/// One question.
const ANSWER: Duration = Duration::from_secs(5);

pub(super) async fn look(
    names: &[String],
    record: RecordType,
    port: Option<u16>,
) -> Result<Vec<Found>, String> {
    let mut all = Vec::new();
    for name in names {
        let records = hmsops_act::probe::records(name, record, ANSWER).await;
        let records = records.map_err(|why| format!("`{name}`: {why}"))?;
        all.extend(records.iter().filter_map(|data| found(name, record, data, port)));
    }
    Ok(all)
}

/// The target of a record, as a zone file writes it.
fn found(name: &str, record: RecordType, data: &str, port: Option<u16>) -> Option<Found> {
    let mut labels = LabelMap::from([("__meta_dns_name".to_owned(), name.to_owned())]);
    let mut parts = data.split(' ');
    let (host, port) = match record {
        RecordType::Srv => {
            let port: u16 = parts.nth(2)?.parse().ok()?;
            let host = parts.next()?;
            labels.insert("__meta_dns_srv_record_target".to_owned(), format!("{host}."));
            labels.insert("__meta_dns_srv_record_port".to_owned(), port.to_string());
            (host.to_owned(), port)
        }
        RecordType::Mx => {
            let host = parts.nth(1)?;
            labels.insert("__meta_dns_mx_record_target".to_owned(), format!("{host}."));
            (host.to_owned(), port?)
        }
        RecordType::Ns => {
            labels.insert("__meta_dns_ns_record_target".to_owned(), format!("{data}."));
            (data.to_owned(), port?)
        }
        RecordType::Aaaa => (format!("[{data}]"), port?),
        _ => (data.to_owned(), port?),
    };
    labels.insert(ADDRESS.to_owned(), format!("{host}:{port}"));
    // What a name means, somebody else says.
    Some(Found { labels, is_written: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_become_targets() {
        let address =
            |record, data, port| found("n", record, data, port).map(|found| found.labels[ADDRESS].clone());
        assert_eq!(address(RecordType::Srv, "10 5 9100 a.csac.gov", None).unwrap(), "a.csac.gov:9100");
        assert_eq!(address(RecordType::A, "10.0.0.4", Some(9100)).unwrap(), "10.0.0.4:9100");
        assert_eq!(address(RecordType::Aaaa, "::1", Some(9100)).unwrap(), "[::1]:9100");
        assert_eq!(address(RecordType::Mx, "10 mail.csac.gov", Some(25)).unwrap(), "mail.csac.gov:25");
        assert_eq!(address(RecordType::Srv, "10 5", None), None);
        let labels = found("n", RecordType::Srv, "10 5 9100 a", None).unwrap().labels;
        assert_eq!(labels["__meta_dns_srv_record_target"], "a.");
    }
}
