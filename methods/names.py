"""Names of the methods on the command line, and their labels in tables."""

METHODS = {
    "untrained": "untrained",
    "simclr": "SimCLR",
    "focal": "Focal",
    "sdclr": "SDCLR",
    "bcl-i": "BCL-I",
    "bcl-d": "BCL-D",
}
