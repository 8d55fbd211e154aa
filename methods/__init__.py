"""One file per method; each is an nn.Module with forward(views, index) -> loss of each sample.

Here are only their names on the command line, and their labels in tables: what reads these imports no torch.
"""

METHODS = {
    "untrained": "untrained",
    "simclr": "SimCLR",
    "focal": "Focal",
    "sdclr": "SDCLR",
    "bcl-i": "BCL-I",
    "bcl-d": "BCL-D",
}
