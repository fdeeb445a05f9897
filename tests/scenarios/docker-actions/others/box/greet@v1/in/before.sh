#!/bin/bash
echo "before the first step: $INPUT_WHO, $(ls)"
echo "seen=before" >> "$GITHUB_STATE"
