"""A program that was captured before: the network as a graph, its weights, and the facts that were saved with it."""

import json
from typing import BinaryIO, ClassVar

from wherry.checkpoint.interface import Content, Loader
from wherry.checkpoint.plain import plain_facts

FACTS = "facts.json"
"""Extra file of a `.pt2` archive that holds free-form facts."""


class Pt2Loader(Loader):
    """Reads with `torch.export.load`."""

    name: ClassVar[str] = "pt2"

    def _read(self, file: BinaryIO) -> Content:
        import torch

        extra = {FACTS: ""}
        program = torch.export.load(file, extra_files=extra)
        facts = json.loads(extra[FACTS]) if extra[FACTS] else {}
        metadata = plain_facts(facts if isinstance(facts, dict) else {"facts": facts})
        return Content(tensors=dict(program.state_dict), metadata=metadata, network=program.module())
