# Runs initdb and postgres for one owner, in a session of its own, and removes
# everything when the owner is gone. Arguments: the run directory, the store
# (parent of the data directory, perhaps the run directory itself), the folder of
# the programs, then the arguments of initdb. PGDBM_SETTINGS and PGDBM_HBA are
# what goes into postgresql.conf and pg_hba.conf. File names without a directory
# are in the run directory.
#
# Standard input is a pipe whose write end only the owner holds: a line on it
# names a signal for postgres, and its end means that the owner ended,
# in whatever way. Standard output tells the owner "made" when the directories
# are there, "start" before postgres starts and "exit PROGRAM STATUS" after the
# last program ended; other lines are complaints.
umask 077
ulimit -c 0
trap : HUP INT TERM PIPE # end with the owner only, even when nobody listens

settings=$PGDBM_SETTINGS hba=$PGDBM_HBA
unset PGDBM_SUPERVISOR PGDBM_SETTINGS PGDBM_HBA
run=$1 store=$2 bin=$3 data=$2/data
shift 3

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

# Sends postgres what the owner asks for. Once the owner is gone it ends postgres,
# and the file "stop" keeps it from starting: postgres' process writes its id and
# then looks for "stop", so one of both always sees the other.
watch() {
	exec <&3 >/dev/null 2>&1 3<&- 4<&-
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

# C.UTF-8 is not everywhere; C is, but knows letters of ASCII only. Nothing cuts
# initdb short: its children would lose their files and leave shared memory.
initialise() {
	for locale in C.UTF-8 C; do
		rm -rf "$data"
		[ ! -e stop ] || return
		"$bin/initdb" -D "$data" --locale="$locale" "$@" >>log 2>&1
		status=$?
		[ $status -ne 0 ] && grep -q 'invalid locale' log || break
	done
	[ $status -eq 0 ] || return $status
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
echo made

watch &
watcher=$!
exec 3<&-

if initialise "$@"; then
	echo start
	serve
	echo "exit postgres $?"
else
	echo "exit initdb $?"
fi

# The log stays readable until the owner lets go.
while wait "$watcher"; [ $? -gt 128 ]; do :; done
