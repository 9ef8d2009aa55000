//! Requests as JSON: names in lowerCamelCase, 64-bit numbers as texts or numbers, bytes as base64, enums as numbers.
//! Fields that are not known are passed over (opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding).

use serde_json::Value;

use super::message::{
    Any, AnyValue, ArrayValue, Buckets, Data, ExponentialHistogram, ExponentialHistogramDataPoint,
    ExportMetricsServiceRequest, Gauge, Histogram, HistogramDataPoint, KeyValue, KeyValueList, Metric,
    Number, NumberDataPoint, Resource, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint,
    ValueAtQuantile,
};

/// What a field is, or why it is not.
type Read<T> = Result<T, String>;

/// Reads a request.
pub(super) fn request(value: &Value) -> Read<ExportMetricsServiceRequest> {
    if !value.is_object() {
        return Err("an object with `resourceMetrics` was expected".into());
    }
    Ok(ExportMetricsServiceRequest { resource_metrics: list(value, "resourceMetrics", resource_metrics)? })
}

fn resource_metrics(value: &Value) -> Read<ResourceMetrics> {
    let resource = value.get("resource").filter(|value| !value.is_null());
    let resource =
        resource.map(|value| Ok::<_, String>(Resource { attributes: attributes(value)? })).transpose()?;
    Ok(ResourceMetrics { resource, scope_metrics: list(value, "scopeMetrics", scope_metrics)? })
}

fn scope_metrics(value: &Value) -> Read<ScopeMetrics> {
    Ok(ScopeMetrics { metrics: list(value, "metrics", metric)? })
}

fn metric(value: &Value) -> Read<Metric> {
    let of = |key: &str| value.get(key).filter(|value| !value.is_null());
    let data = if let Some(gauge) = of("gauge") {
        Some(Data::Gauge(Gauge { data_points: list(gauge, "dataPoints", number)? }))
    } else if let Some(sum) = of("sum") {
        Some(Data::Sum(Sum {
            data_points: list(sum, "dataPoints", number)?,
            temporality: temporality(sum)?,
            is_monotonic: sum.get("isMonotonic").and_then(Value::as_bool).unwrap_or_default(),
        }))
    } else if let Some(of) = of("histogram") {
        let data_points = list(of, "dataPoints", histogram)?;
        Some(Data::Histogram(Histogram { data_points, temporality: temporality(of)? }))
    } else if let Some(of) = of("exponentialHistogram") {
        let data_points = list(of, "dataPoints", exponential)?;
        Some(Data::Exponential(ExponentialHistogram { data_points, temporality: temporality(of)? }))
    } else if let Some(of) = of("summary") {
        Some(Data::Summary(Summary { data_points: list(of, "dataPoints", summary)? }))
    } else {
        None
    };
    let (name, description, unit) = (text(value, "name")?, text(value, "description")?, text(value, "unit")?);
    Ok(Metric { name, description, unit, data })
}

/// A number, or its name.
fn temporality(value: &Value) -> Read<i32> {
    match value.get("aggregationTemporality") {
        Some(Value::String(name)) if name == "AGGREGATION_TEMPORALITY_DELTA" => Ok(super::message::DELTA),
        Some(Value::String(name)) if name == "AGGREGATION_TEMPORALITY_CUMULATIVE" => {
            Ok(super::message::CUMULATIVE)
        }
        _ => i32::try_from(signed(value, "aggregationTemporality")?).map_err(|error| error.to_string()),
    }
}

fn number(value: &Value) -> Read<NumberDataPoint> {
    let is_there = |key: &str| value.get(key).is_some_and(|value| !value.is_null());
    let number = if is_there("asInt") {
        Some(Number::Int(signed(value, "asInt")?))
    } else if is_there("asDouble") {
        Some(Number::Double(double(value, "asDouble")?.unwrap_or_default()))
    } else {
        None
    };
    Ok(NumberDataPoint {
        attributes: attributes(value)?,
        start_nanos: unsigned(value, "startTimeUnixNano")?,
        time_nanos: unsigned(value, "timeUnixNano")?,
        value: number,
        flags: flags(value)?,
    })
}

fn histogram(value: &Value) -> Read<HistogramDataPoint> {
    Ok(HistogramDataPoint {
        attributes: attributes(value)?,
        start_nanos: unsigned(value, "startTimeUnixNano")?,
        time_nanos: unsigned(value, "timeUnixNano")?,
        count: unsigned(value, "count")?,
        sum: double(value, "sum")?,
        bucket_counts: list(value, "bucketCounts", as_unsigned)?,
        explicit_bounds: list(value, "explicitBounds", as_double)?,
        flags: flags(value)?,
    })
}

fn exponential(value: &Value) -> Read<ExponentialHistogramDataPoint> {
    let side = |key: &str| -> Read<Option<Buckets>> {
        let side = value.get(key).filter(|side| !side.is_null());
        side.map(|side| {
            Ok(Buckets {
                offset: small(side, "offset")?,
                bucket_counts: list(side, "bucketCounts", as_unsigned)?,
            })
        })
        .transpose()
    };
    Ok(ExponentialHistogramDataPoint {
        attributes: attributes(value)?,
        start_nanos: unsigned(value, "startTimeUnixNano")?,
        time_nanos: unsigned(value, "timeUnixNano")?,
        count: unsigned(value, "count")?,
        sum: double(value, "sum")?,
        scale: small(value, "scale")?,
        zero_count: unsigned(value, "zeroCount")?,
        positive: side("positive")?,
        negative: side("negative")?,
        flags: flags(value)?,
        zero_threshold: double(value, "zeroThreshold")?.unwrap_or_default(),
    })
}

fn summary(value: &Value) -> Read<SummaryDataPoint> {
    let quantile = |value: &Value| -> Read<ValueAtQuantile> {
        let of = |key: &str| double(value, key).map(Option::unwrap_or_default);
        Ok(ValueAtQuantile { quantile: of("quantile")?, value: of("value")? })
    };
    Ok(SummaryDataPoint {
        attributes: attributes(value)?,
        start_nanos: unsigned(value, "startTimeUnixNano")?,
        time_nanos: unsigned(value, "timeUnixNano")?,
        count: unsigned(value, "count")?,
        sum: double(value, "sum")?.unwrap_or_default(),
        quantile_values: list(value, "quantileValues", quantile)?,
        flags: flags(value)?,
    })
}

fn attributes(value: &Value) -> Read<Vec<KeyValue>> {
    list(value, "attributes", key_value)
}

fn key_value(value: &Value) -> Read<KeyValue> {
    let of = value.get("value").filter(|value| !value.is_null());
    Ok(KeyValue { key: text(value, "key")?, value: of.map(any).transpose()? })
}

/// Nested no deeper than the reader of JSON lets through.
fn any(value: &Value) -> Read<AnyValue> {
    let of = |key: &str| value.get(key).filter(|value| !value.is_null());
    let any = if of("stringValue").is_some() {
        Some(Any::Text(text(value, "stringValue")?))
    } else if let Some(flag) = of("boolValue") {
        Some(Any::Bool(flag.as_bool().ok_or("`boolValue` is not true or false")?))
    } else if of("intValue").is_some() {
        Some(Any::Int(signed(value, "intValue")?))
    } else if of("doubleValue").is_some() {
        Some(Any::Double(double(value, "doubleValue")?.unwrap_or_default()))
    } else if let Some(array) = of("arrayValue") {
        Some(Any::Array(ArrayValue { values: list(array, "values", any)? }))
    } else if let Some(map) = of("kvlistValue") {
        Some(Any::Map(KeyValueList { values: list(map, "values", key_value)? }))
    } else if of("bytesValue").is_some() {
        // It would be written as base64 again.
        Some(Any::Text(text(value, "bytesValue")?))
    } else {
        None
    };
    Ok(AnyValue { value: any })
}

fn list<T>(value: &Value, key: &str, each: impl Fn(&Value) -> Read<T>) -> Read<Vec<T>> {
    match value.get(key) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(items)) => items.iter().map(each).collect(),
        Some(_) => Err(format!("`{key}` is not a list")),
    }
}

fn text(value: &Value, key: &str) -> Read<String> {
    match value.get(key) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(format!("`{key}` is not a text")),
    }
}

fn flags(value: &Value) -> Read<u32> {
    u32::try_from(unsigned(value, "flags")?).map_err(|_| "`flags` has more than 32 bits".into())
}

fn small(value: &Value, key: &str) -> Read<i32> {
    i32::try_from(signed(value, key)?).map_err(|_| format!("`{key}` has more than 32 bits"))
}

fn unsigned(value: &Value, key: &str) -> Read<u64> {
    match value.get(key) {
        None | Some(Value::Null) => Ok(0),
        Some(number) => as_unsigned(number).map_err(|why| format!("`{key}` {why}")),
    }
}

fn as_unsigned(value: &Value) -> Read<u64> {
    let number = match value {
        Value::String(text) => text.parse().ok(),
        value => value.as_u64(),
    };
    number.ok_or_else(|| "is not a whole number from 0 on".into())
}

fn signed(value: &Value, key: &str) -> Read<i64> {
    let number = match value.get(key) {
        None | Some(Value::Null) => Some(0),
        Some(Value::String(text)) => text.parse().ok(),
        Some(value) => value.as_i64(),
    };
    number.ok_or_else(|| format!("`{key}` is not a whole number"))
}

fn double(value: &Value, key: &str) -> Read<Option<f64>> {
    let number = value.get(key).filter(|number| !number.is_null());
    number.map(as_double).transpose().map_err(|why| format!("`{key}` {why}"))
}

/// What JSON has no number for is a text.
fn as_double(value: &Value) -> Read<f64> {
    let number = match value {
        Value::String(text) => match text.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            text => text.parse().ok(),
        },
        value => value.as_f64(),
    };
    number.ok_or_else(|| "is not a number".into())
}
