"""Runs a HEF on a Hailo chip through HailoRT, 4.x and 5.x."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from wherry.core.errors import EngineError
from wherry.runtime.hailo_tensors import decode_boxes, from_chip, from_nms, join_maps, to_chip
from wherry.runtime.interface import Array, Engine, Tensors

_PLAN = "plan.json"


class HailoEngine(Engine):
    """Normalisation is on the chip, the decoding of boxes here; `plan.json` beside the HEF says what was cut where.

    HailoRT's objects belong to the process that made them and do not survive a fork.
    """

    name = "hailo"
    module = "hailo_platform"
    distributions = ("hailort", "hailo-platform")

    _stack: ExitStack
    _pipe: Any
    _input: str
    _outputs: dict[str, str]
    _plan: dict[str, Any]

    def _load(self, path: Path) -> None:
        if path.suffix != ".hef":
            msg = f"{path.name} is a kit for Hailo's compiler, and nothing that a chip runs."
            raise EngineError(msg, next_step="Compile the kit, or export where the compiler is installed.")
        from hailo_platform import (
            HEF,
            ConfigureParams,
            FormatType,
            HailoStreamInterface,
            InferVStreams,
            InputVStreamParams,
            OutputVStreamParams,
            VDevice,
        )

        self._plan = json.loads((path.parent / _PLAN).read_text(encoding="utf-8"))
        hef = HEF(str(path))
        self._name_streams(hef)
        kind = FormatType.UINT8 if self._plan["calibration"]["dtype"] == "uint8" else FormatType.FLOAT32
        with ExitStack() as stack:
            device = stack.enter_context(VDevice())
            settings = ConfigureParams.create_from_hef(hef=hef, interface=HailoStreamInterface.PCIe)
            group = device.configure(hef, settings)[0]
            inputs = InputVStreamParams.make(group, format_type=kind)
            outputs = OutputVStreamParams.make(group, format_type=FormatType.FLOAT32)
            self._pipe = stack.enter_context(InferVStreams(group, inputs, outputs, tf_nms_format=False))
            stack.enter_context(group.activate(group.create_params()))
            self._stack = stack.pop_all()

    def _name_streams(self, hef: Any) -> None:
        """Find the stream of the input and of each node at which the network was cut."""
        infos = hef.get_input_vstream_infos()
        wanted = tuple(self._plan["calibration"]["shape"])
        if len(infos) != 1 or tuple(infos[0].shape) != wanted:
            found = [list(info.shape) for info in infos]
            msg = f"The HEF takes {found}, and the plan says {list(wanted)}."
            raise EngineError(msg, next_step="Export the variant again.")
        self._input = infos[0].name
        if self._plan["nms"]:
            self._outputs = {"nms": hef.get_output_vstream_infos()[0].name}
        else:
            nodes = [end["node"] for end in self._plan["ends"]]
            self._outputs = {node: hef.get_vstream_name_from_original_name(node) for node in nodes}

    def _infer(self, inputs: Tensors) -> Tensors:
        prepared, plan = inputs[self.spec.inputs[0].name], self._plan
        how = self.spec.preprocessing
        dtype = plan["calibration"]["dtype"]
        raw = to_chip(prepared, how, dtype=dtype, channels_last=plan["channels_last"])
        found = self._pipe.infer({self._input: raw})
        if plan["nms"]:
            return self._from_nms(found[self._outputs["nms"]])
        ends = [(end, np.asarray(found[self._outputs[end["node"]]])) for end in plan["ends"]]
        return {tensor.name: self._output(tensor.name, tensor.shape, ends) for tensor in self.spec.outputs}

    def _output(self, name: str, shape: tuple[int | str, ...], ends: list[tuple[dict[str, Any], Array]]) -> Array:
        own = [(end, array) for end, array in ends if end["output"] == name]
        maps = {end["stride"]: array for end, array in own}
        role = own[0][0]["role"]
        if role == "boxes":
            return decode_boxes(maps)
        return join_maps(maps) if role in ("scores", "coefficients") else from_chip(own[0][1], shape)

    def _from_nms(self, detections: Any) -> Tensors:
        boxes, scores = self.spec.outputs[:2]
        height, width = self._plan["input_shape"][2:]
        anchors = boxes.shape[2]
        places = anchors if isinstance(anchors, int) else max(1, self.spec.detection.max_boxes)
        found = from_nms(detections, (height, width), places)
        return {boxes.name: found[0], scores.name: found[1]}

    def _close(self) -> None:
        self._pipe = None
        self._stack.close()

    def _device(self) -> str:
        return str(self._plan["architecture"])

    def _effective(self) -> dict[str, object]:
        return {"threads": self.options.threads, "nms": self._plan["nms"]}
