echo "api holds"
