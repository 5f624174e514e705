#!/bin/sh
# Makes everything ready to run; the name is the one that courses ask for.
cd "$(dirname "$0")" && exec make setup
