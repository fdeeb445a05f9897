#!/usr/bin/env bash
# Greets whom it is told to greet.
echo "hello, ${1:-world}"
