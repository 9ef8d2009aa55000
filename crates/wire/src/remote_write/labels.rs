//! Label fields as they came → a label set.

use hmsops_model::Labels;
use hmsops_model::labels::METRIC_NAME;
use hmsops_model::limits::{LABEL_NAME_BYTES_MAX, LABEL_VALUE_BYTES_MAX, LABELS_MAX};

use crate::WireError;
use crate::protobuf::Fields;

/// The label set in [`Series::labels`](super::Series::labels), sorted or not. A label without a value is left out,
/// as the data model has it. The error says what is wrong with the series.
pub fn labels_of(bytes: &[u8]) -> Result<Labels, String> {
    let pairs = pairs_of(bytes)?;
    if !pairs.iter().any(|(name, value)| *name == METRIC_NAME && !value.is_empty()) {
        return Err(format!("the series has no name: the label `{METRIC_NAME}` is missing"));
    }
    Ok(Labels::from_sorted(&pairs))
}

/// Names and values in label fields, sorted, each name once.
pub(super) fn pairs_of(bytes: &[u8]) -> Result<Vec<(&str, &str)>, String> {
    let mut pairs: Vec<(&str, &str)> = Vec::with_capacity(16);
    let mut fields = Fields::new("a series' labels", bytes);
    while let Some(field) = fields.read().map_err(as_text)? {
        if field.number != 1 {
            return Err(format!("a series' labels hold the field {}, which is no label", field.number));
        }
        if pairs.len() == LABELS_MAX {
            return Err(format!("the series has more than {LABELS_MAX} labels"));
        }
        let (mut name, mut value) = ("", "");
        let mut inner = field.message("a label").map_err(as_text)?;
        while let Some(field) = inner.read().map_err(as_text)? {
            match field.number {
                1 => name = field.text("the name of a label").map_err(as_text)?,
                2 => value = field.text("the value of a label").map_err(as_text)?,
                _ => {}
            }
        }
        check(name, value)?;
        pairs.push((name, value));
    }
    pairs.sort_unstable();
    if let Some(pair) = pairs.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(format!("the series has the label `{}` twice", pair[0].0));
    }
    Ok(pairs)
}

fn check(name: &str, value: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("the series has a label without a name".into());
    }
    if name.len() > LABEL_NAME_BYTES_MAX {
        return Err(format!("the series has a label whose name is longer than {LABEL_NAME_BYTES_MAX} bytes"));
    }
    if value.len() > LABEL_VALUE_BYTES_MAX {
        return Err(format!(
            "the value of the series' label `{name}` is longer than {LABEL_VALUE_BYTES_MAX} bytes"
        ));
    }
    Ok(())
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn as_text(error: WireError) -> String {
    error.to_string()
}
