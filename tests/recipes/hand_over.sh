#!/bin/sh
# As PYTHON of a script: print what it hands to Python, a zero byte after each word.
printf '%s\0' "$@"
