//! What programs send in protobuf's and snappy's encodings.

use hmsops_wire::collector;
use hmsops_wire::exposition::{Format, parse};
use hmsops_wire::remote_write::{decode, decode_v2, labels_of, unpack};

use super::{Target, texts, whole, words};

/// A field of bytes: its tag, its length, its content (the encoding guide of protobuf, "Length-Delimited Records").
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut length = content.len();
    let mut bytes = vec![number << 3 | 2];
    while length >= 0x80 {
        bytes.push(length as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    [bytes, content.to_vec()].concat()
}

/// A field of eight bytes.
fn double(number: u8, value: f64) -> Vec<u8> {
    [vec![number << 3 | 1], value.to_le_bytes().to_vec()].concat()
}

/// A field of a small number.
fn small(number: u8, value: u8) -> Vec<u8> {
    vec![number << 3, value & 0x7f]
}

fn pair(name: &str, value: &str) -> Vec<u8> {
    [field(1, name.as_bytes()), field(2, value.as_bytes())].concat()
}

fn histogram() -> Vec<u8> {
    let span = [small(1, 2), small(2, 3)].concat();
    let buckets = [field(11, &span), field(12, &[2, 1, 4])].concat();
    [small(1, 9), double(3, 2.5), small(4, 6), double(5, 1e-9), small(6, 1), buckets, small(15, 90)].concat()
}

pub(super) const PAGES: Target = Target {
    name: "pages",
    about: "wire",
    files: &["pb"],
    split: whole,
    seeds: || {
        let counter = [field(1, &pair("job", "a")), field(3, &double(1, 7.0))].concat();
        let family = [field(1, b"up"), field(2, b"help"), small(3, 0), field(4, &counter)].concat();
        let buckets = field(3, &[small(1, 3), double(2, 0.5)].concat());
        let native =
            [small(1, 3), double(2, 1.5), buckets, vec![5 << 3, 6], double(6, 1e-9), small(7, 1)].concat();
        let native =
            [native, field(12, &[small(1, 2), small(2, 3)].concat()), field(13, &[2, 1, 4])].concat();
        let second = [field(1, b"h"), small(3, 4), field(4, &field(7, &native))].concat();
        [&family, &second].map(|family| field(0, family)[1..].to_vec()).into_iter().collect()
    },
    words: &[b"\x0a\x02up", b"\x22\x00", b"\x18\x04", b"\x3a\x00"],
    world: || Box::new(|input| words(parse(input, Format::Protobuf, 100_000))),
};

pub(super) const REMOTE_WRITE: Target = Target {
    name: "remote-write",
    about: "wire",
    files: &["pb", "snappy"],
    split: whole,
    seeds: || {
        let sample = field(2, &[double(1, 1.5), small(2, 100)].concat());
        let exemplar = field(3, &[field(1, &pair("trace_id", "x")), double(2, 1.0), small(3, 9)].concat());
        let labels = [field(1, &pair("__name__", "up")), field(1, &pair("job", "a"))].concat();
        let first = field(1, &[labels, sample.clone(), exemplar, field(4, &histogram())].concat());
        let metadata = field(3, &[small(1, 1), field(2, b"up"), field(4, b"help"), field(5, b"s")].concat());
        let symbols: Vec<u8> =
            ["", "__name__", "up", "job", "a"].iter().flat_map(|text| field(4, text.as_bytes())).collect();
        let series = [
            field(1, &[1, 2, 3, 4]),
            sample,
            field(3, &histogram()),
            field(5, &[small(1, 1), small(3, 2)].concat()),
        ];
        let second = [symbols, field(5, &series.concat())].concat();
        let packed = vec![3, 2 << 2, b'a', b'b', b'c'];
        vec![[first, metadata].concat(), second, packed]
    },
    words: &[
        b"\x0a\x08__name__",
        b"\x12\x02up",
        b"\x22\x00",
        b"\x2a\x00",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    ],
    world: || {
        Box::new(|input| {
            let unpacked = words(unpack(input));
            let read = |request: Result<
                hmsops_wire::remote_write::WriteRequest<'_>,
                hmsops_wire::WireError,
            >| match request {
                Ok(request) => {
                    let labels: Vec<String> =
                        request.series().take(3).map(|series| words(labels_of(series.labels))).collect();
                    format!("{} series: {}", request.series().len().min(3), labels.join(", "))
                }
                Err(error) => error.to_string(),
            };
            format!(
                "{unpacked}; {}; {}; {}",
                read(decode(input)),
                read(decode_v2(input)),
                words(labels_of(input))
            )
        })
    },
};

pub(super) const EMIT: Target = Target {
    name: "emit",
    about: "wire",
    files: &["json"],
    split: whole,
    seeds: || {
        let metric = [
            field(1, b"photo.upload.ok"),
            field(2, &pair("pod", "a")),
            double(3, 1.0),
            small(4, 9),
            small(5, 1),
        ]
        .concat();
        let request =
            [field(1, b"dmv-photo"), field(2, b"pod-1"), small(3, 7), field(4, &metric), field(5, &metric)]
                .concat();
        let mut seeds = texts(&[
            r#"{"service":"a","instance":"b","sequence":"1","metrics":[{"name":"x","labels":[{"name":"a","value":"b"}],"sum":1,"count":"2","min":0,"max":"NaN","last":1}]}"#,
            r#"{"metrics":[]}"#,
        ]);
        seeds.push(request);
        seeds
    },
    words: &[
        b"\"metrics\":[",
        b"\"name\":\"",
        b"\"Infinity\"",
        b"\"sequence\":",
        b"\"count\":\"-1\"",
        b"\x0a\x00",
        b"\x22\x00",
    ],
    world: || {
        Box::new(|input| {
            let said = |request: Result<collector::EmitRequest, hmsops_wire::WireError>| match request {
                Ok(request) => words(collector::batch(&request)),
                Err(error) => error.to_string(),
            };
            format!("{}; {}", said(collector::decode(input)), said(collector::json::decode(input)))
        })
    },
};
