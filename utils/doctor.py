"""Check an installation, and a command before it runs.

    python -m utils.doctor
    python -m utils.doctor [--all_images] train_simCLR.py EXPERIMENT --dataset digits ...

Of a training script's command line it tells whether data, lists, images, checkpoint and folder are right, whether
memory and disk suffice, and how long it takes; after an error it goes on with the rest. Exit code 0, or 2 with errors.
Of several processes, tell it their number as torchrun does: WORLD_SIZE=2 LOCAL_WORLD_SIZE=2 python -m utils.doctor ...
Nothing is written but what the run would fetch or make first: missing lists, and data with --download True.
"""

import sys
from pathlib import Path

from utils.cli import Parser
from utils.errors import InputError, run
from utils.machine import Report, device, installation

SCRIPTS = ("train_simCLR.py", "train_cifar.py", "train_imagenet.py")


def main() -> None:
    words = sys.argv[1:]
    at = next((i for i, word in enumerate(words) if word.endswith(".py")), len(words))
    parser = Parser(__doc__)
    parser.add_flag("--all_images", help="open all image files of the lists, not some hundreds of each")
    args = parser.parse_args(words[:at])
    script = Path(words[at]).name if words[at:] else ""
    if script and script not in SCRIPTS:
        raise InputError(f"{words[at]} is not one of the scripts {', '.join(SCRIPTS)}")
    report = Report()
    if report.attempt("packages", installation, report):
        report.attempt("machine", device, report, Path.cwd())
        if script:
            from utils.preflight import Preflight

            sys.argv = words[at:]  # where the scripts' parsers look
            report.attempt("command", Preflight(report, script, args.all_images).run)
    errors, warnings = report.counts["error"], report.counts["warning"]
    print(f"{sum(report.counts.values())} checks: {errors} error(s), {warnings} warning(s)")
    if errors:
        sys.exit(2)


if __name__ == "__main__":
    sys.exit(run(main))
