#!/bin/sh
echo "kit says: $1"
