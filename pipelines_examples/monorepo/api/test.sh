#!/bin/sh
test "$(pwd | sed s,.*/,,)" = api && echo "the api holds"
