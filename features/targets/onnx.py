"""ONNX: the network as a graph that normalises its input itself, for any number and size of images.

Input `images` [batch, 3, height, width] float32, RGB in [0, 1]; output `features` [batch, features]. The model's
metadata describe the weights as torchvision's target does; what is no string is in JSON.
"""

import json
import warnings
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import nn

from features.targets.base import Features, Network, Target

if TYPE_CHECKING:
    from onnx import ModelProto
    from onnxruntime import InferenceSession

AXES = {0: "batch", 2: "height", 3: "width"}
INPUT = "images: RGB in [0, 1], normalised inside"


def graph_of(network: Network) -> nn.Module:
    """The network as it is exported, [N, 3, H, W] in [0, 1] -> [N, features]."""
    m = network.model
    if not network.small:
        return m
    # With the small ResNets' own pooling the exported window would have a constant size.
    stages = (m.normalize, m.conv1, m.bn1, nn.ReLU(), m.layer1, m.layer2, m.layer3)
    return nn.Sequential(*stages, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()


def _forget_places(model: "ModelProto") -> None:
    """Remove the exporter's own notes, which are lines of code with paths of source files."""
    for part in (model, model.graph, *model.functions):
        del part.metadata_props[:]
    for part in (model.graph, *model.functions):
        for item in part.node:
            del item.metadata_props[:]
            item.ClearField("doc_string")
    for item in (*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer):
        del item.metadata_props[:]


def _session(content: bytes) -> "InferenceSession":
    import onnxruntime  # not in requirements.txt

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors only
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


class Onnx(Target):
    """All of our networks."""

    needs: ClassVar[tuple[str, ...]] = ("onnx", "onnxscript", "onnxruntime")
    install: ClassVar[str] = "onnx==1.23.2 onnxscript==0.7.2 onnxruntime==1.32.0"
    suffix: ClassVar[str] = ".onnx"
    inside: ClassVar[bool] = True

    def has(self, name: str) -> bool:
        return True

    def encode(self, network: Network) -> bytes:
        size = network.sizes[0]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # by torch about its own exporter
            program = torch.onnx.export(
                graph_of(network),
                # All sizes different and above 1: others would be taken for constants, or for the same axis.
                (torch.rand(2, 3, size, size - 3),),
                input_names=["images"],
                output_names=["features"],
                dynamic_shapes=(AXES,),
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        model = program.model_proto
        _forget_places(model)
        model.doc_string = INPUT
        for key, value in network.description.items():
            model.metadata_props.add(key=key, value=value if isinstance(value, str) else json.dumps(value))
        return model.SerializeToString(deterministic=True)

    def read(self, content: bytes, network: Network) -> Features:
        session = _session(content)
        return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])

    def reader(self, network: Network) -> str:
        return "onnxruntime"

    def lines(self, path: str, network: Network) -> str:
        size = network.usual_size
        return (
            "import numpy, onnxruntime\n"
            f"session = onnxruntime.InferenceSession({path!r})\n"
            f'images = numpy.random.rand(2, 3, {size}, {size}).astype("float32")  # yours: RGB in [0, 1]\n'
            'features = session.run(None, {"images": images})[0]'
        )
