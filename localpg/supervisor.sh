# Runs postgres on a copy of a cluster, in a session of its own, and removes
# everything when the last user is gone. Arguments: the run directory, the store
# (parent of the data directory, perhaps the run directory itself), the folder of
# the programs, the cluster to copy, and "shared" or "owned". PGDBM_SETTINGS and
# PGDBM_HBA are what goes into postgresql.conf and pg_hba.conf, PGDBM_INFO what
# the file "info" says to others. File names without a directory are in the run
# directory.
#
# Standard input is a pipe whose write end only the owner holds: its end means
# that the owner ended, in whatever way. An owned server ends with it. A shared
# one ends with the last that holds the FIFO "users" open for writing, where the
# owner has been one before it closed the pipe. Both carry requests, one a line:
#
#	INT       a fast shutdown
#	join ID   I hold "users"
#	keep ID   live on without users
#	keep ID N the same, for N seconds at least
#	free ID   no longer
#	end       end now
#
# A request with an ID is done when the file "done.ID" is there. Nobody else
# knows whether the end of the server has begun, so who gets no answer starts
# another one.
#
# Standard output tells the owner "made" when the directories are there, "start"
# before postgres starts and "exit PROGRAM STATUS" after the last program ended;
# other lines are complaints.
umask 077
ulimit -c 0
trap : HUP INT TERM PIPE # end with the users only, even when nobody listens

until=0 settings=$PGDBM_SETTINGS hba=$PGDBM_HBA info=$PGDBM_INFO
unset PGDBM_SUPERVISOR PGDBM_SETTINGS PGDBM_HBA PGDBM_INFO
run=$1 store=$2 bin=$3 cluster=$4 kind=$5 data=$2/data

# The parent is shared by all runs of this user. In a sticky directory like
# /tmp nobody else can replace it once it is ours and is no link.
make() {
	parent=${1%/*}
	for try in 1 2 3 4 5; do # another run's end may remove the empty parent
		mkdir "$parent" 2>/dev/null
		if [ -d "$parent" ] && [ ! -L "$parent" ] && [ -O "$parent" ] && chmod 700 "$parent"; then
			mkdir "$1" && return
		fi
	done 2>/dev/null
	echo "$1: not made: $parent is not a directory of user $(id -u), or not writable"
	exit 1
}

# The file postmaster.pid outlives a postgres that was killed with SIGKILL, and
# then line 7 names the System V segment it left.
remove() {
	cd /
	segment=$(sed -n '7s/^ *[0-9]* *\([0-9][0-9]*\) *$/\1/p' "$data/postmaster.pid" 2>/dev/null)
	[ -z "$segment" ] || ipcrm -m "$segment" 2>/dev/null
	tries=0
	until rm -rf "$store" "$run" 2>/dev/null; do # backends may still write
		tries=$((tries + 1))
		[ $tries -lt 50 ] || { echo "not removed: $store, $run"; return 1; }
		sleep 0.1 || sleep 1
	done
	rmdir "${store%/*}" "${run%/*}" 2>/dev/null
}

# Does what users ask for until the last one is gone, or one wants the end.
requests() {
	while read -r word id seconds; do
		case $word$seconds in
		INT) kill -s INT "$(cat pid)" ;;
		keep) exec 5>users && : >kept ;;
		keep*)
			if [ $(($(date +%s) + seconds)) -gt "$until" ]; then
				until=$(($(date +%s) + seconds))
				exec 7>users # before the one who asks may leave
				rm -f kept.* && : >"kept.$id"
				keep "kept.$id" "$seconds" </dev/null 3<&- 5>&- 6<&- &
				exec 7>&-
			fi
			;;
		free) rm -f kept kept.* && exec 5>&- && until=0 ;;
		end) return 1 ;;
		esac
		case $id in *[!0-9a-f]* | '') ;; *) : >"done.$id" ;; esac
	done
}

# Is a user for so many seconds, or as long as the file is there.
keep() {
	seconds=$2
	while [ -e "$1" ] && [ "$seconds" -gt 0 ]; do
		sleep 1
		seconds=$((seconds - 1))
	done
	rm -f "$1"
}

# Once the users are gone it ends postgres, and the file "stop" keeps it from
# starting: postgres' process writes its id and then looks for "stop", so one of
# both always sees the other.
watch() {
	exec 4<&- >/dev/null 2>&1
	if requests <&3 && [ $kind = shared ]; then
		exec 3<&- 5>&- # from here on 6 ends when nobody writes
		requests <&6
	fi
	exec 3<&- 5>&- 6<&- # who comes now finds no reader
	: >stop
	signal=QUIT tries=0
	while [ -e pid ]; do
		kill -s $signal "$(cat pid)" || kill -0 $$ || break
		tries=$((tries + 1))
		[ $tries -lt 200 ] || signal=KILL
		sleep 0.05 || sleep 1
	done
}

initialise() {
	[ ! -e stop ] && cp -R "$cluster" "$data" >>log 2>&1 &&
		printf '%s' "$settings" >>"$data/postgresql.conf" && printf '%s' "$hba" >"$data/pg_hba.conf"
}

# Runs in the foreground: in the background a shell would make it ignore SIGINT
# and SIGQUIT until it has handlers of its own.
serve() {
	/bin/sh -c 'echo $$ >pid; [ ! -e stop ] && exec "$@"' serve "$bin/postgres" -D "$data" >>log 2>&1
	status=$?
	rm -f pid
	return $status
}

exec 3<&0 </dev/null
make "$run"
trap remove EXIT
[ "$store" = "$run" ] || make "$store"
cd "$run" || exit 1

# "alive" has a reader as long as this shell, postgres or one of its children
# lives, and gets its name when it has one: another run's sweep looks at it.
mkfifo alive.new && exec 4<>alive.new && mv alive.new alive || exit 1
if [ $kind = shared ]; then
	mkfifo users && exec 5<>users 6<users || exit 1
fi
printf '%s' "$info" >info.new && mv info.new info || exit 1
echo made

watch &
watcher=$!
exec 3<&- 5<&- 6<&-

if initialise; then
	echo start
	serve
	echo "exit postgres $?"
else
	echo "exit copy 1"
fi

# The log stays readable until the users let go.
while wait "$watcher"; [ $? -gt 128 ]; do :; done
