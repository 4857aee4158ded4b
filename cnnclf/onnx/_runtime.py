"""ONNX Runtime, loaded so that it reports to nobody; every other module takes it from here."""

import os

# From 1.29 on, ONNX Runtime reports to its makers when it is loaded, and keeps a device's number on disk for it; this
# variable, which is read at that moment alone, turns it off: https://github.com/microsoft/onnxruntime/pull/27379
_SWITCH = "ORT_DISABLE_TELEMETRY"
_by_user = os.environ.get(_SWITCH)
os.environ.setdefault(_SWITCH, "1")
try:
    import onnxruntime as onnxruntime
finally:
    if _by_user is None:
        del os.environ[_SWITCH]
