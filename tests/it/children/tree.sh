#!/bin/sh
# A child with a family. Prints `child <pid>` and `grandchild <pid>` for one in its group, one in a session of its own,
# and one whose parent has ended; with `deaf`, none of them hears SIGTERM. Then does as told: `stay` or `leave`.
[ "$2" = deaf ] && trap '' TERM
sleep 1000 & echo "grandchild $!"
setsid sleep 1000 & echo "grandchild $!"
sh -c 'sleep 1000 & echo "grandchild $!"'
echo "child $$"
[ "$1" = leave ] && exit 3
wait
# A handler or a signal ends `wait`; only the signal's default ends this script.
while :; do sleep 1000; done
