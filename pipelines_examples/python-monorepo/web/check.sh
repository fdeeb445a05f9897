echo "web holds"
