# Runs initdb and postgres as children of one shell in a session of its own,
# and removes everything when the owner is gone. Arguments: the run directory,
# the store (the data directory's parent, which may be the run directory), the
# folder of the programs, postgresql.conf lines, pg_hba.conf lines, and then
# the arguments of initdb. All file names below are relative to the run
# directory.
#
# Standard input is a pipe whose write end only the owner holds: a line on it
# is the name of a signal for the running program, and its end means that the
# owner ended, in whatever way. Standard output tells the owner "start" before
# postgres starts and "exit PROGRAM STATUS" after the last program ended; other
# lines are complaints.
umask 077
ulimit -c 0
trap : HUP INT TERM PIPE # nobody may read what we say any more

run=$1 store=$2 bin=$3 settings=$4 hba=$5
shift 5
data=$store/data

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

# Sends the running program what the owner asks for. Once the owner is gone it
# ends any program, and "stop" keeps others from starting: a program writes its
# pid and then looks for "stop", so one of both sides always sees the other.
watch() {
	while read -r signal; do kill -s "$signal" "$(cat pid)"; done
	: >stop
	signal=QUIT tries=0
	while [ -e pid ]; do
		kill -s $signal "$(cat pid)" || kill -0 $$ || break
		tries=$((tries + 1))
		[ $tries -lt 200 ] || signal=KILL
		sleep 0.05 || sleep 1
	done
}

# Programs run in the foreground: a shell makes those in the background ignore
# SIGINT and SIGQUIT, until they have handlers of their own.
program() {
	/bin/sh -c 'echo $$ >"$0"; [ ! -e stop ] && exec "$@"' pid "$@" </dev/null >>log 2>&1
	status=$?
	rm -f pid
	return $status
}

# C.UTF-8 is not everywhere; C is, but knows letters of ASCII only.
initialise() {
	name=initdb
	for locale in C.UTF-8 C; do
		if program "$bin/initdb" -D "$data" --locale="$locale" "$@"; then
			printf '%s' "$settings" >>"$data/postgresql.conf" && printf '%s' "$hba" >"$data/pg_hba.conf"
			return
		fi
		[ ! -e stop ] || return
		rm -rf "$data"
	done
	return 1
}

exec 3<&0 </dev/null
make "$run"
trap remove EXIT
[ "$store" = "$run" ] || make "$store"
cd "$run" || exit 1

# "alive" has a reader as long as this shell, postgres or one of its children
# lives, and gets its name when it has one: another run's sweep looks at it.
mkfifo alive.new && exec 4<>alive.new && mv alive.new alive || exit 1

watch <&3 >/dev/null 2>&1 4<&- &
watcher=$!
exec 3<&-

if initialise "$@"; then
	name=postgres
	echo start
	program "$bin/postgres" -D "$data" 4<&4
fi
echo "exit $name $status"

# The log stays readable until the owner lets go.
while wait "$watcher"; [ $? -gt 128 ]; do :; done
