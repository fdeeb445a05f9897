#!/bin/bash
echo "at the end: $STATE_seen of $INPUT_WHO, $1"
cat out/moved
