"""An encoder whose vectors come from an ONNX file: it encodes, searches and is judged like any
other.

Shape suffixes: B texts, L tokens, D dimensions.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from whet.config import ModelConfig
from whet.export.graph import OUTPUTS, TOKEN_TYPES
from whet.model.backbone import prepare
from whet.model.encoder import Encoder
from whet.model.loading import load_tokenizer
from whet.model.parts.layout import read_layout
from whet.model.parts.recipe import LONGEST, read_recipe
from whet.model.parts.unpadded import Unpadded
from whet.model.parts.words import ENGLISH
from whet.storage.commit import file_sha256


class OnnxEncoder(Encoder):
    """The model of a folder that `whet export` wrote, run by onnxruntime on the CPU."""

    def __init__(self, folder: Path, file: str = "onnx/model.onnx"):
        import onnxruntime

        nn.Module.__init__(self)
        self.backbone = nn.Identity()  # there is no transformer of torch's here
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        self.file = folder / file
        self.session = onnxruntime.InferenceSession(
            self.file, options, providers=["CPUExecutionProvider"]
        )
        self.inputs = [wanted.name for wanted in self.session.get_inputs()]
        self.dimension: int = self.session.get_outputs()[1].shape[-1]
        self.source = folder
        self.words, self.language = 0.0, ENGLISH  # a graph gives vectors alone
        self.tokenizer = load_tokenizer(folder)
        layout = read_layout(folder)
        self.recipe = read_recipe(layout, ModelConfig(name=str(folder)), longest=LONGEST)
        prepare(self.tokenizer, self.recipe)
        pad = self.tokenizer.pad_token_id
        self.pad_id = 0 if pad is None else pad
        self.eval()

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return torch.device("cpu")

    def odd_tensor(self) -> str | None:
        """None: the weights are in the graph, which has no way to hide NaN."""
        return None

    def in_16_bits(self, dtype: torch.dtype) -> OnnxEncoder:
        """Itself: the graph has the precision it was exported with, and runs on the CPU."""
        return self

    def compiled(self) -> OnnxEncoder:
        """Itself: the graph is compiled when it is opened."""
        return self

    def forward(
        self,
        ids_BL: Tensor,
        mask_BL: Tensor | None = None,
        *,
        full: bool | None = None,
        unpadded: Unpadded | None = None,
    ) -> Tensor:
        """Vectors [B, D] as the graph gives them; on a CPU texts are always padded."""
        assert mask_BL is not None
        fed = {"input_ids": ids_BL.numpy(), "attention_mask": mask_BL.numpy()}
        if TOKEN_TYPES in self.inputs:
            fed[TOKEN_TYPES] = np.zeros_like(fed["input_ids"])
        return torch.from_numpy(self.session.run([OUTPUTS[1]], fed)[0])

    def fingerprint(self) -> str:
        """A hash of the file and of what is done with a text before it."""
        digest = self._digest_of_reading()
        for file in sorted(self.file.parent.glob(f"{self.file.name}*")):  # large weights lie beside
            digest.update(file_sha256(file).encode())
        whole: str = digest.hexdigest()
        return whole
