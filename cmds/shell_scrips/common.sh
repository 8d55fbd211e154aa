# Sourced by the scripts, which then hand over to Python in the project's folder.
# shellcheck shell=bash
set -euo pipefail

# The comment at the top of the script, which needs no Python.
for word; do
    case $word in
        -h | --help)
            sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$0"
            printf '\nOptions: docs/recipes.md\n'
            exit 0
            ;;
    esac
done

export RECIPE_CALLER=$PWD  # relative paths of the user mean this folder
unset CDPATH               # cd would look there first
unset PYTHONSAFEPATH       # Python would not look for the project's packages in its folder
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
if [ -z "${PYTHON:-}" ]; then
    PYTHON=python
    if [ -x .venv/bin/python ]; then PYTHON=.venv/bin/python; fi
fi
export PYTHON
