"""UNet-ResNet34 and DeepLabV3+-ResNet50 from segmentation-models-pytorch; nothing is downloaded."""

import segmentation_models_pytorch as smp
from torch import nn

CLASSES = 4


def unet_resnet34() -> nn.Module:
    """Return a UNet over ResNet34 with untrained weights."""
    return smp.Unet("resnet34", encoder_weights=None, classes=CLASSES)


def deeplabv3plus_resnet50() -> nn.Module:
    """Return DeepLabV3+ over ResNet50 with untrained weights."""
    return smp.DeepLabV3Plus("resnet50", encoder_weights=None, classes=CLASSES)
