# dmv_photo.py  (excerpt)
from hms_ops import Metric

def upload_photo(blob):
    ok = _save(blob)          # pretend work
    Metric.emit("photo.upload.ok", 1 if ok else 0)
    return ok
