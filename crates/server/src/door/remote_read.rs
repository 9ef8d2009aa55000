//! `/api/v1/read`: Prometheus' remote read, whole samples or a stream of chunks.

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use hmsops_model::Series;
use hmsops_model::series::{Budget, Hints, Selection, SourceError};
use hmsops_promql::EvalError;
use hmsops_wire::remote_read::{self, Form, ReadRequest};
use http::HeaderValue;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};

use super::{Context, Failure, Routes, Scope};
use crate::collect::read;
use crate::query::{Metrics, QueryError, WITHIN};

/// The longest body as it comes, packed.
const BODY_BYTES_MAX: usize = 1 << 20;

/// How often what was read is held again while an answer is put together: as a series, as a result, as a whole and packed.
const COPIES: u64 = 4;

/// What an answer of whole samples is.
const SAMPLES_TYPE: &str = "application/x-protobuf";

/// What a stream is.
const CHUNKS_TYPE: &str = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";

pub(crate) fn routes(routes: Routes) -> Routes {
    routes.post("/api/v1/read", Scope::METRICS_READ, "Prometheus remote read", remote_read)
}

/// An answer in the form that was chosen.
enum Answer {
    Samples(Vec<u8>),
    Chunks(Vec<u8>),
    /// There are histograms, and the sender takes a stream of chunks only.
    Unstreamable,
}

async fn remote_read(State(context): State<Context>, request: Request) -> Result<Response, Failure> {
    let coding = request.headers().get(CONTENT_ENCODING).map(|value| value.to_str().unwrap_or("?"));
    if coding.is_some_and(|coding| !coding.eq_ignore_ascii_case("snappy")) {
        return Err(Failure::unsupported(format!(
            "the body is packed as `{:.80}`",
            coding.unwrap_or_default()
        ))
        .hint("remote read sends `Content-Encoding: snappy`"));
    }
    let body = read(request.into_body(), BODY_BYTES_MAX, context.metrics.bodies()).await?;
    let asked = remote_read::decode(&body.bytes).map_err(|error| Failure::argument(error.to_string()))?;
    let work = move |source: &dyn Metrics, budget: &Budget| answer(source, &asked, budget);
    match context.queries.run(WITHIN, work).await.map_err(|error| refused(&error))? {
        Answer::Samples(bytes) => {
            let mut response = bytes.into_response();
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(SAMPLES_TYPE));
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("snappy"));
            Ok(response)
        }
        Answer::Chunks(bytes) => {
            let mut response = bytes.into_response();
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(CHUNKS_TYPE));
            Ok(response)
        }
        Answer::Unstreamable => {
            Err(Failure::argument("native histograms are among the series, and no chunk of ours holds them")
                .hint("accept `SAMPLES` beside `STREAMED_XOR_CHUNKS`"))
        }
    }
}

fn answer(source: &dyn Metrics, asked: &ReadRequest, budget: &Budget) -> Result<Answer, QueryError> {
    let mut results = Vec::with_capacity(asked.queries.len());
    for query in &asked.queries {
        let hints = Hints::default();
        let selection = Selection { matchers: &query.matchers, from: query.from, to: query.to, hints };
        let mut found: Vec<Series> = source.select(&selection, budget)?.collect::<Result<_, _>>()?;
        found.sort_by(|a, b| a.labels.cmp(&b.labels));
        let held = |series: &Series| (series.samples.size() + series.labels.size()) as u64;
        budget.charge(0, COPIES * found.iter().map(held).sum::<u64>())?;
        results.push(found);
    }
    for form in &asked.forms {
        match form {
            Form::Samples => {
                let packed = remote_read::pack(&remote_read::samples(&results));
                return packed.map(Answer::Samples).map_err(|error| {
                    QueryError::Eval(EvalError::Source(SourceError::Failed(error.to_string())))
                });
            }
            Form::Chunks => {
                if let Some(stream) = remote_read::stream(&results) {
                    return Ok(Answer::Chunks(stream));
                }
            }
        }
    }
    Ok(Answer::Unstreamable)
}

fn refused(error: &QueryError) -> Failure {
    let detail = error.to_string();
    match error {
        QueryError::Busy | QueryError::Late(_) | QueryError::Eval(EvalError::Source(SourceError::Busy)) => {
            Failure::unavailable(detail).retry_after(1)
        }
        QueryError::Eval(_) => Failure::argument(detail),
        QueryError::Broken(_) => Failure::internal(detail),
    }
}
