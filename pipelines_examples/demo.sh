#!/usr/bin/env bash
# The whole path in one terminal: a server, a repository, a push, a run. Everything is temporary.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
home=$(mktemp -d "${TMPDIR:-/tmp}/runner-demo.XXXXXX")
# Sandboxes run as another user, who must be able to pass through.
chmod 711 "$home"
export RUNNER_HOME=$home/home RUNNER_GIT_PROTOCOLS=https:ssh:file
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
unset RUNNER_URL RUNNER_TOKEN
server=
if ! bwrap --unshare-user --ro-bind / / true 2>/dev/null; then
  echo "bubblewrap does not work here; the demo's own steps run without a sandbox"
  export RUNNER_EXECUTOR=host
fi

finish() {
  status=$?
  # A second Ctrl-C must not leave the server behind.
  trap '' INT TERM HUP
  # A first one may come before the server's id was noted.
  server=${server:-${!:-}}
  if [ -n "$server" ]; then
    kill -TERM "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
  fi
  [ "$status" = 0 ] || { echo; echo "the server's log:"; tail -n 20 "$home/serve.log" 2>/dev/null || true; } >&2
  rm -rf "$home"
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM HUP

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
show() { printf '\033[2m$ %s\033[0m\n' "$*"; "$@"; }

say "1. An embedded server: one process, SQLite, nothing else to install"
runner serve --port 0 >"$home/serve.out" 2>"$home/serve.log" &
server=$!
until [ -e "$RUNNER_HOME/server.json" ] && grep -q "listens on" "$home/serve.out"; do
  kill -0 "$server" 2>/dev/null || { server=; exit 1; }
  sleep 0.1
done
sed 's/^/  /' "$home/serve.out"

say "2. A bare git repository made of pipelines_examples/hello, registered"
git init --quiet --bare --initial-branch=main "$home/hello.git"
show runner repo add demo/hello --url "$home/hello.git"
runner repo hook demo/hello >"$home/hello.git/hooks/post-receive"
chmod 700 "$home/hello.git/hooks/post-receive"

say "3. A real git push; its post-receive hook posts a signed webhook"
cp -R "$here/hello" "$home/work"
git -C "$home/work" init --quiet --initial-branch=main
git -C "$home/work" -c user.name=Ada -c user.email=ada@example.com add --all
git -C "$home/work" -c user.name=Ada -c user.email=ada@example.com commit --quiet -m "Greet politely"
show git -C "$home/work" push --quiet "$home/hello.git" main

say "4. The run, live"
show runner runs watch

say "5. What happened"
show runner runs view
show runner runs list
badge=$(sed -n 's/^runner listens on //p' "$home/serve.out")/badges/demo/hello.svg
echo
echo "its badge: $badge"
python3 -c 'import sys,urllib.request; print(urllib.request.urlopen(sys.argv[1]).read().decode()[:160] + "…")' "$badge"

say "Where to look next"
cat <<'NEXT'
  make serve                     a server that stays, with pages at its address
  runner doctor                  which executors work on this machine, and why not
  runner repo add NAME --url …   your own repository; `runner repo hook NAME` prints its hook
  pipelines_examples/            workflows to start from
NEXT
