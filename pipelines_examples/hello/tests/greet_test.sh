#!/usr/bin/env bash
set -e
test "$(bash greet.sh)" = "hello, world"
test "$(bash greet.sh Ada)" = "hello, Ada"
echo "2 greetings are right"
