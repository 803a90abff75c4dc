"""Model specs of each task, with no more than a metric looks at."""

from wherry.core.model import DetectionSettings, ModelSpec, TensorSpec


def tensor(name, *shape):
    return TensorSpec(name=name, dtype="float32", shape=("batch", *shape))


def segmentation(classes=3, names=(), size=(8, 8)):
    y = tensor("y", classes, *size)
    return ModelSpec(task="segmentation", inputs=(tensor("x", 3, *size),), outputs=(y,), class_names=names)


def detection(classes=2, names=(), masks=False, **settings):
    outputs = (tensor("boxes", 4, "anchors"), tensor("scores", classes, "anchors"))
    more = (tensor("coefficients", 2, "anchors"), tensor("prototypes", 2, 16, 16)) if masks else ()
    return ModelSpec(
        task="detection",
        inputs=(tensor("x", 3, 64, 64),),
        outputs=(*outputs, *more),
        class_names=names,
        detection=DetectionSettings(**settings),
    )


def policy_value(moves=4):
    return ModelSpec(task="policy_value", inputs=(tensor("x", 3),), outputs=(tensor("p", moves), tensor("v", 1)))


def embedding(dimensions=4):
    return ModelSpec(task="embedding", inputs=(tensor("x", 3),), outputs=(tensor("e", dimensions),))


def classification(classes=3):
    return ModelSpec(task="classification", inputs=(tensor("x", 3),), outputs=(tensor("y", classes),))
