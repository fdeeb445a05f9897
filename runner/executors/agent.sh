# The worker's hand inside one job's sandbox: starts its steps, signals them, ends when the worker does.
#
# stdin: one command a line. stdout: what the steps print. stderr: answers, one a line.
# Arguments: the start of a launch file's path; how a step gets a process group of its own: `-` by this
# shell's job control, else by the setsid named, or any; the most processes, with = before it as the PID
# namespace's own limit, or nothing; then, where there is no PID namespace, the mark of the job's processes
# and the path of sweep.sh; then the files that take a process into the job's cgroups.
#
# Two processes: `watch` hears the worker even while a step runs, `work` is the parent of the steps.
# They are a pipeline, not a background job, because a shell has background jobs ignore SIGINT and
# SIGQUIT, and a step would inherit that. Meanwhile this shell waits for the pipeline, which, where it
# is PID 1, also reaps orphans. When it ends, a PID namespace or a container ends with it.
files=$1 session=$2 processes=$3 mark=$4 sweep=$5
shift 5
for tasks; do echo 0 >"$tasks" || exit 1; done
case $processes in
  "") ;;
  =*) echo "${processes#=}" >/proc/sys/kernel/pid_max || exit 1 ;;
  *) ulimit -u "$processes" 2>/dev/null || ulimit -p "$processes" || exit 1 ;;
esac
if [ ! "$session" ]; then session=$(command -v setsid) || { echo "there is no setsid" >&2; exit 1; }; fi
unset PWD OLDPWD SHLVL
exec 3>&2 2>/dev/null

# Reads a process's line in /proc by builtins alone: a fork may fail when a step has used them all up.
inspect() {
  read -r line <"$1" || return
  pid=${line%% *}
  set -- ${line##*) }
  state=$1 parent=$2 group=$3
}

lead() {
  for stat in /proc/[0-9]*/stat; do
    inspect "$stat" && [ "$parent" = "$worker" ] && leader=$pid && return
  done
}

# PIDs are handed out in order, so a group younger than the step's belongs to something the step started,
# and the services of earlier steps are spared. (Where a job has used all PIDs once, this may take too many
# or too few; `close` takes all.) Outside a PID namespace the mark must agree.
ours() {
  [ "$pid" = "$leader" ] || [ "$group" = "$leader" ] && return
  [ "$group" -gt "$leader" ] || return
  [ ! "$mark" ] || grep -qsF "$mark" "/proc/$pid/environ"
}

signal() {
  found=0
  [ "$leader" ] || lead
  [ "$leader" ] && for stat in /proc/[0-9]*/stat; do
    inspect "$stat" && [ "$state" != Z ] && ours && kill "-$1" "$pid" && found=$((found + 1))
  done
  echo "found $found" >&3
}

watch() {
  while read -r verb what; do
    case $verb in
      worker) worker=$what ;;
      signal) signal "$what" ;;
      run) leader=; echo "run $what" ;;
      mark) echo "mark $what" ;;
      # Writing to `work` when it is dead ends this process, and with it the agent.
      *) echo ;;
    esac
  done
  [ ! "$sweep" ] || { unset RUNNER_TRACKING_ID; exec sh "$sweep" "$mark"; }
  [ ! "$worker" ] || kill -9 "$worker"
}

work() {
  read -r pid rest </proc/self/stat
  if [ "$session" = - ]; then set -m; session=; fi
  echo "ready $pid" >&3
  while read -r verb what; do
    case $verb in
      run) ( . "$files$what" ) </dev/null 2>&1 3>&-; echo "end $?" >&3 ;;
      mark) echo "$what" ;;
    esac
  done
}

watch | work
