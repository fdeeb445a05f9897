#!/bin/bash
echo "after all: $STATE_seen"
