set -eu
case $1 in
build) mkdir -p dist && echo "made of $GITHUB_SHA" >dist/package ;;
publish) cp dist/package "public/$2" && echo "published $2" ;;
withdraw) rm "public/$2" && echo "withdrew $2, latest is $(cat public/latest)" ;;
try) grep -q "$GITHUB_SHA" "public/$(cat public/latest)" && [ ! -e broken ] && echo "it holds" ;;
esac
