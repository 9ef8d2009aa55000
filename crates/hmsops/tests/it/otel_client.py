"""Counts with OpenTelemetry's own SDK until a file says stop, then says how much it was.

usage: otel_client.py grpc|http cumulative|delta ADDRESS TOKEN STOP
"""

import json
import os
import sys
import threading

from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider, UpDownCounter
from opentelemetry.sdk.metrics.export import AggregationTemporality, PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource

protocol, temporality, address, token, stop = sys.argv[1:]
delta = AggregationTemporality.DELTA
options = {"preferred_temporality": {Counter: delta, Histogram: delta}} if temporality == "delta" else {}
if protocol == "grpc":
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter

    exporter = OTLPMetricExporter(endpoint=address, insecure=True, **options)
else:
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

    headers = {"authorization": f"Bearer {token}"}
    exporter = OTLPMetricExporter(
        endpoint=f"http://{address}/v1/metrics", headers=headers, compression=Compression.Gzip, **options
    )

resource = Resource.create(
    {"service.name": f"{protocol}-{temporality}", "service.namespace": "otel", "service.instance.id": "one"}
)
reader = PeriodicExportingMetricReader(exporter, export_interval_millis=200)
# Exponential histograms grow in one piece only when they are cumulative.
views = [View(instrument_name="upload.size", aggregation=ExponentialBucketHistogramAggregation())]
provider = MeterProvider(resource=resource, metric_readers=[reader], views=views if temporality == "cumulative" else [])
meter = provider.get_meter("test")
uploads = meter.create_counter("photo.uploads", unit="1", description="Uploads.")
seconds = meter.create_histogram("upload.seconds", unit="s")
size = meter.create_histogram("upload.size", unit="By")
busy = meter.create_up_down_counter("upload.busy")

pace = threading.Event()
count = 0
total = 0.0
while not os.path.exists(stop):
    uploads.add(1, {"lane": "fast" if count % 2 else "slow"})
    seconds.record(count % 8)
    size.record(1 + count % 1000)
    busy.add(1 if count % 3 else -1)
    count += 1
    total += (count - 1) % 8
    if count % 100 == 0:
        print(count, flush=True)
    pace.wait(0.005)
flushed = provider.force_flush(20_000)
provider.shutdown()
busy_now = sum(1 if n % 3 else -1 for n in range(count))
print(json.dumps({"count": count, "seconds": total, "busy": busy_now, "flushed": flushed}), flush=True)
