"""Transfer of a checkpoint to fine-grained sets, then BCL's table 4 with all there is: cmds/shell_scrips/transfer.sh.

    python -m recipes.transfer --checkpoint FILE --data DIR [--sets cub cars aircraft dogs nabirds]

Each set is one `python -m probe` with --resume True, in folders below ROOT/checkpoints_transfer_tune: run again,
sgd-transfer goes on where it stopped, and bcl-transfer, whose classifier is trained in minutes, begins anew. DRY_RUN=1
prints the commands.
"""

import shlex
import sys

from data.sets.registry import data_set
from recipes.running import Programs, dry_run, end, program
from recipes.transfer.flags import Transfers, parse
from run.names import name_of_file
from utils.errors import InputError, run_main


def commands(wanted: Transfers) -> list[list[str]]:
    """The command of each set's probe."""
    probes = []
    for name in wanted.sets:
        folder = wanted.root / f"{data_set(name).checkpoints}_tune"
        words = ["--checkpoint", str(wanted.checkpoint), "--dataset", name, "--data", str(wanted.data)]
        words += ["--protocol", *wanted.protocols, "--save-dir", str(folder), *wanted.others]
        probes.append([program(), "-m", "probe", *words])
    return probes


def check_sets(wanted: Transfers) -> None:
    """Refuse missing or incomplete sets before the first set is probed, which takes long.

    Raises:
        InputError: one is missing, damaged or half unpacked.
    """
    for dataset in map(data_set, wanted.sets):
        dataset.lists(dataset.place(str(wanted.data)))


def main() -> None:
    wanted = parse(__doc__)
    probes = commands(wanted)
    table = [program(), "exp_analyse.py", "--paper", "bcl", "--table", "4", "--root", str(wanted.root)]
    table += ["--probe", *wanted.protocols]
    if dry_run():
        print(*(shlex.join(command) for command in [*probes, table]), sep="\n")
        return
    if not wanted.checkpoint.is_file():
        raise InputError(
            f"{wanted.checkpoint} does not exist: give the checkpoint of a pre-training, or another library's"
        )
    check_sets(wanted)
    with Programs() as programs:
        for name, command in zip(wanted.sets, probes, strict=True):
            print(f"== transfer to {name}", flush=True)
            programs.run(command, go_on=wanted.checks)
        if programs.failed:
            end(2)
        if wanted.checks:
            return
        programs.run(table, go_on=True)
        if programs.failed:  # several pre-trainings of a method, say, have been probed: then a table of this one
            programs.run([*table, "--contains", wanted.name or name_of_file(wanted.checkpoint)])


if __name__ == "__main__":
    sys.exit(run_main(main))
