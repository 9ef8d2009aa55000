# heal_rule.py   (≤ 20 lines)
from hms_ops import Alert, Heal

Alert.create(
    name    = "photo_error_spike",
    expr    = "rate(photo.upload.ok[1m]) < 0.7",
    for_sec = 60,
    on_fire = Heal(script="rollback dmv-photo --to=prev")
)
