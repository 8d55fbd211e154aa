# Sourced by the scripts, which then hand over to Python in the project's folder.
# shellcheck shell=bash
set -euo pipefail

# Help is the comment at the top of the script, so that it needs no Python.
for word; do
    case $word in
        -h | --help)
            sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$0"
            printf '\nOptions: docs/recipes.md\n'
            exit 0
            ;;
    esac
done

export RECIPE_CALLER=$PWD  # the user's relative paths start here
unset CDPATH               # cd would search its folders first
unset PYTHONSAFEPATH       # with it, Python would not search the project's folder for packages
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
if [ -z "${PYTHON:-}" ]; then
    PYTHON=python
    if [ -x .venv/bin/python ]; then PYTHON=.venv/bin/python; fi
fi
export PYTHON
