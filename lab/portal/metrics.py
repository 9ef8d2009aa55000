# file: portal/metrics.py
from prometheus_client import Counter, start_http_server

auth_fail = Counter("auth_fail_total", "Failed log-ins")
def record_login(ok: bool):
    if not ok:
        auth_fail.inc()

if __name__ == "__main__":
    start_http_server(9100)   # /metrics
