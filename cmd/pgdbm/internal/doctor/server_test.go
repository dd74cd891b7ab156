package doctor_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pgdbm/pgdbm/cmd/pgdbm/internal/doctor"
)

func TestItFindsWhatIsWrongWithAServer(t *testing.T) {
	t.Parallel()
	// The cluster of a test has autovacuum, fsync and full_page_writes off.
	s := start(t, map[string]string{"max_locks_per_transaction": "10", "max_connections": "20", "wal_level": "replica"})
	name, url := create(t, s, "")
	var tables []string
	for i := range 150 {
		tables = append(tables, fmt.Sprintf("CREATE TABLE t%d ()", i))
	}
	execute(t, url, tables...)
	execute(t, url, "SELECT pg_create_physical_replication_slot('standby', true)")
	o := doctor.Options{XIDAge: 2, RetainedWAL: 1}
	execute(t, url, "CREATE TABLE more ()")
	r := look(t, url, o)
	one(t, r, "autovacuum-off", "autovacuum", doctor.Warning)
	one(t, r, "fsync-off", "fsync", doctor.Warning)
	one(t, r, "fsync-off", "full_page_writes", doctor.Warning)
	one(t, r, "wraparound", name, doctor.Warning)
	one(t, r, "replication-slot", "standby", doctor.Warning)
	if f := one(t, r, "lock-table", name, doctor.Warning); !strings.Contains(f.What, "room for 200 locks") {
		t.Errorf("%+v", f)
	}
	for _, f := range r.Findings {
		if f.Code != "lock-table" {
			execute(t, url, f.Fix.SQL...)
		}
	}
	for _, f := range look(t, url, o).Findings {
		if f.Code != "wraparound" && f.Code != "lock-table" && f.Code != "autovacuum-off" && f.Code != "fsync-off" {
			t.Errorf("%+v", f)
		}
	}
}

// Nobody has the days that so many transactions take: the numbers that the server
// keeps of them are set back instead.
func TestItFindsDatabasesThatComeNearTheWraparound(t *testing.T) {
	t.Parallel()
	s := start(t, healthy)
	for _, c := range []struct {
		column, next string
		age          int64
		severity     doctor.Severity // empty: no finding
	}{
		{"datfrozenxid", "pg_snapshot_xmax(pg_current_snapshot())::text::bigint", 999_000_000, ""},
		{"datfrozenxid", "pg_snapshot_xmax(pg_current_snapshot())::text::bigint", 1_001_000_000, doctor.Warning},
		{"datfrozenxid", "pg_snapshot_xmax(pg_current_snapshot())::text::bigint", 1_601_000_000, doctor.Error},
		{"datminmxid", "mxid_age('1')::bigint + 1", 1_001_000_000, doctor.Warning},
		{"datminmxid", "mxid_age('1')::bigint + 1", 1_601_000_000, doctor.Error},
	} {
		name, url := create(t, s, "")
		execute(t, url, fmt.Sprintf("UPDATE pg_database SET %s = ((%s - %d + 4294967296) %% 4294967296)::text::xid WHERE datname = '%s'", c.column, c.next, c.age, name))
		r := look(t, url, doctor.Options{Only: []string{"wraparound"}})
		if c.severity == "" {
			if found := find(r, "wraparound", name); len(found) > 0 {
				t.Errorf("%s %d: %+v", c.column, c.age, found)
			}
			continue
		}
		one(t, r, "wraparound", `"`+name+`"`, c.severity)
		// What vacuumdb --freeze does.
		execute(t, url, "VACUUM FREEZE")
		if found := find(look(t, url, doctor.Options{Only: []string{"wraparound"}}), "wraparound", name); len(found) > 0 {
			t.Errorf("%s %d: after VACUUM FREEZE: %+v", c.column, c.age, found)
		}
	}
}

func TestItFindsALocaleThatHasChanged(t *testing.T) {
	t.Parallel()
	s := shared(t)
	conn := connect(t, s.URL(""))
	var version int
	if err := conn.QueryRow(t.Context(), "SELECT current_setting('server_version_num')::int").Scan(&version); err != nil {
		t.Fatal(err)
	}
	if version < 150000 {
		t.Skip("PostgreSQL 14 does not record the version")
	}
	var icu bool
	if err := conn.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_collation WHERE collprovider = 'i')").Scan(&icu); err != nil || !icu {
		t.Skip("no ICU", err)
	}
	name, url := create(t, s, "TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'en-US'")
	o := doctor.Options{Only: []string{"collation-version"}}
	if r := look(t, url, o); len(r.Findings) > 0 {
		t.Errorf("%+v", r.Findings)
	}
	execute(t, url, "UPDATE pg_database SET datcollversion = '1' WHERE datname = current_database()")
	f := one(t, look(t, url, o), "collation-version", name, doctor.Error)
	execute(t, url, f.Fix.SQL...)
	if r := look(t, url, o); len(r.Findings) > 0 {
		t.Errorf("after %s: %+v", f.Fix.SQL, r.Findings)
	}
}

// Reading a sequence locks it, and so does a look at all of them in one transaction.
func TestItTakesNoMoreLocksThanThereAre(t *testing.T) {
	t.Parallel()
	s := start(t, map[string]string{"max_locks_per_transaction": "10", "max_connections": "10"})
	_, url := create(t, s, "")
	for i := range 20 {
		execute(t, url, fmt.Sprintf("DO $$ BEGIN FOR i IN 1..100 LOOP EXECUTE 'CREATE SEQUENCE s%d_' || i; END LOOP; END $$", i))
	}
	execute(t, url, "SELECT setval('s19_100', 9223372036854775807)")
	one(t, look(t, url, doctor.Options{Only: []string{"sequence-end"}}), "sequence-end", "s19_100", doctor.Error)
}
