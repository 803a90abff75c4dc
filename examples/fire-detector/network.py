"""YOLOv8n and YOLOv8n-seg from the descriptions that ship inside ultralytics; nothing is downloaded."""

import os
import tempfile

# Ultralytics reads these when it is imported: its settings go to a folder of their own, and it asks no service.
os.environ.setdefault("YOLO_CONFIG_DIR", tempfile.mkdtemp(prefix="ultralytics-"))
os.environ.setdefault("YOLO_OFFLINE", "true")

from torch import Tensor, nn
from ultralytics.nn.tasks import DetectionModel, SegmentationModel

CLASSES = 2


def yolov8n() -> nn.Module:
    """Return YOLOv8n with untrained weights."""
    return DetectionModel("yolov8n.yaml", nc=CLASSES, verbose=False)


def yolov8n_seg() -> nn.Module:
    """Return YOLOv8n-seg with untrained weights."""
    return SegmentationModel("yolov8n-seg.yaml", nc=CLASSES, verbose=False)


def adapt(network: nn.Module) -> nn.Module:
    """Return the network with outputs that can be deployed: `boxes`, `scores`, and for masks two more."""
    return Deployed(network)


class Deployed(nn.Module):
    """Splits the one tensor of a YOLO head: boxes go up to 160 and scores to 1, and no int8 scale serves both."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        head = network.model[-1]
        head.export, head.dynamic = True, True  # one answer instead of two, and any number of images at once
        self.classes = head.nc

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return boxes [batch, 4, anchors], scores [batch, classes, anchors] and, with masks, the two parts of those.

        Args:
            image: [batch, 3, 160, 160], RGB, 0 to 1.
        """
        found = self.network(image)
        together, *prototypes = found if isinstance(found, tuple) else (found,)
        boxes, scores, coefficients = together.tensor_split((4, 4 + self.classes), dim=1)
        return (boxes, scores, coefficients, *prototypes) if prototypes else (boxes, scores)
