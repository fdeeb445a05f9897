# Kills every process that carries a mark in its environment, with all that descend from one or share
# its session. Argument: the mark. The sweeper itself must not carry it.
#
# Each is stopped as soon as it is found: it cannot fork any more, so that the search comes to an end,
# and its children still have it as their parent, so that they are found.
mark=$1

inspect() {
  read -r line <"$1" || return
  pid=${line%% *}
  set -- ${line##*) }
  state=$1 parent=$2 its_session=$4
}

take() {
  case "$ours" in *" $pid "*) return ;; esac
  [ "$pid" != $$ ] && kill -STOP "$pid" || return
  ours="$ours$pid " more=1
}

gather() {
  ours=' ' more=1
  while [ "$more" ]; do
    more=
    for file in $(grep -lsF "$mark" /proc/[0-9]*/environ); do
      pid=${file#/proc/}
      pid=${pid%/environ}
      take
    done
    for stat in /proc/[0-9]*/stat; do
      inspect "$stat" && [ "$state" != Z ] || continue
      case "$ours" in *" $parent "* | *" $its_session "*) take ;; esac
    done
  done
}

round=0
while gather; [ "$ours" != ' ' ] && [ $round -lt 20 ]; do
  for pid in $ours; do kill -KILL "$pid"; done
  round=$((round + 1))
done 2>/dev/null
