"""safetensors: the weights by torchvision's names, those of the small ResNets by ours; the rest in the metadata.

The metadata are strings: `architecture`, `stem`, `mean`, `std`, `features`, `source` and `provenance` as in
torchvision's target, what is no string in JSON; and `format`, "pt", as other programs write it.
"""

import json
from typing import ClassVar

from features.targets.base import NAMES, Features, Network, Target, normalised, usage
from features.targets.torchvision import model_lines, torchvision_model
from models.resnet import build_backbone


def encoded(state: dict, metadata: dict[str, str]) -> bytes:
    """A safetensors file: the same bytes for the same content, though the library writes metadata in random order.

    Args:
        state: name -> tensor. metadata: of the file's header: eight bytes of its length, then JSON.
    """
    from safetensors.torch import save

    content = save({k: v.contiguous() for k, v in state.items()}, metadata)
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the tensors are aligned
    return len(text).to_bytes(8, "little") + text + content[end:]


class Safetensors(Target):
    """All of our networks."""

    needs: ClassVar[tuple[str, ...]] = ("safetensors",)
    suffix: ClassVar[str] = ".safetensors"

    def has(self, name: str) -> bool:
        return True

    def encode(self, network: Network) -> bytes:
        metadata = {k: v if isinstance(v, str) else json.dumps(v) for k, v in network.description.items()}
        return encoded(network.state(), {"format": "pt", **metadata})

    def read(self, content: bytes, network: Network) -> Features:
        from safetensors.torch import load

        model = (build_backbone if network.small else torchvision_model)(network.name, network.stem)
        model.load_state_dict(load(content), strict=True)
        return model.eval() if network.small else normalised(model.eval(), network)

    def reader(self, network: Network) -> str:
        return f"our {network.name}" if network.small else f"torchvision's {NAMES[network.name]}"

    def lines(self, path: str, network: Network) -> str:
        if network.small:
            imports = ["from models.resnet import build_backbone  # in this project's folder"]
            model = [f"model = build_backbone({network.name!r})"]
        else:
            imports, model = [], model_lines(network.name, network.stem)
        first = "import torch" if network.small else "import torch, torchvision"
        load_it = f"model.load_state_dict(load_file({path!r}), strict=True)"
        lines = [first, "from safetensors.torch import load_file", *imports, *model, load_it]
        return "\n".join([*lines, usage(network, inside=network.small)])
