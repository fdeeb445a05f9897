#!/bin/bash
set -e
echo "$1|$2|$#"
echo "$INPUT_WHO $INPUT_HOW $LEVEL $OF_IMAGE $OF_ACTION $OWN"
echo "$PWD $GITHUB_WORKSPACE $HOME $GITHUB_EVENT_PATH"
[ -d "$RUNNER_TEMP" ] && [ -f "$GITHUB_EVENT_PATH" ] && [ ! -e /var/run/docker.sock ]
cat out/file
echo "of the container" > out/made
echo "said=$1 $INPUT_WHO" >> "$GITHUB_OUTPUT"
echo "EXPORTED=exported" >> "$GITHUB_ENV"
echo "### Greeted" >> "$GITHUB_STEP_SUMMARY"
echo "seen=state" >> "$GITHUB_STATE"
echo "::warning file=a.txt,line=2::careful"
echo "::add-mask::hush"
echo "a hush of $TOKEN"
