"""The whole road of the training site as short functions in reading order. Open this first.

    register -> promote -> export -> prove -> bench -> choose -> bundle

Five chapters: `versions` (a checkpoint becomes a version), `building` (variants), `proving`, `measuring` (and choosing)
and `shipping` (one signed file). Each function takes the registry and the words of `wherry.core`, and keeps what it
made in the registry, so that any later step can be run in another process on another day. The device's half of the
road is `wherry.agent`.
"""

from wherry.delivery.building import AccuracyLimits, export
from wherry.delivery.calibrating import CalibrationSource
from wherry.delivery.comparing import compare
from wherry.delivery.explaining import explain
from wherry.delivery.linting import lint
from wherry.delivery.loading import Running, load
from wherry.delivery.measuring import bench, bench_page, choose, write_page
from wherry.delivery.predicting import Prediction, Predictions, predict
from wherry.delivery.proving import prove, proven_variant
from wherry.delivery.shipping import Shipment, bundle, destination, stage
from wherry.delivery.versions import NOTES, Submission, promote, register

__all__ = [
    "NOTES",
    "AccuracyLimits",
    "CalibrationSource",
    "Prediction",
    "Predictions",
    "Running",
    "Shipment",
    "Submission",
    "bench",
    "bench_page",
    "bundle",
    "choose",
    "compare",
    "destination",
    "explain",
    "export",
    "lint",
    "load",
    "predict",
    "promote",
    "prove",
    "proven_variant",
    "register",
    "stage",
    "write_page",
]
