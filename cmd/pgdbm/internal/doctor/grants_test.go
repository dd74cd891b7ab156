package doctor_test

import (
	"strings"
	"testing"

	"github.com/pgdbm/pgdbm"
	"github.com/pgdbm/pgdbm/cmd/pgdbm/internal/doctor"
)

func TestItFindsWhatALoginLacksAndTheFixGrantsIt(t *testing.T) {
	t.Parallel()
	s := start(t, healthy) // roles are the whole server's
	_, url := create(t, s, "")
	pool, _ := furnish(t, url)
	db, err := pool.Isolate(t.Context(), pgdbm.HandleConfig{Schema: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(t.Context(), "SELECT 1"); err != nil {
		t.Fatal(err)
	}
	attach(t, url, module("billing", "001_b.sql", "CREATE TABLE {{tables.invoices}} (id serial)"))
	execute(t, url, "CREATE ROLE app LOGIN", "REVOKE CONNECT ON DATABASE "+db.Pool().Pgx().Config().ConnConfig.Database+" FROM public")
	o := doctor.Options{Login: "app", Only: []string{"missing-grant", "tenant-grant"}}
	r := look(t, url, o)
	one(t, r, "missing-grant", "may not connect", doctor.Error)
	one(t, r, "missing-grant", "schema pgdbm", doctor.Error)
	one(t, r, "missing-grant", "pgdbm.migrations", doctor.Error)
	one(t, r, "missing-grant", "pgdbm.tenants", doctor.Error)
	one(t, r, "missing-grant", "schema billing", doctor.Warning)
	f := one(t, r, "missing-grant", "take its role", doctor.Warning) // shop's
	var version int
	if err := connect(t, url).QueryRow(t.Context(), "SELECT current_setting('server_version_num')::int").Scan(&version); err != nil {
		t.Fatal(err)
	}
	if told := strings.Contains(f.What, `unless ALTER ROLE "app" NOINHERIT`); told != (version < 160000) {
		t.Error(f.What)
	}
	one(t, r, "tenant-grant", "tenant 'acme'", doctor.Error)
	one(t, r, "tenant-grant", "tenant 'Bolt & Co'", doctor.Error)
	if len(r.Findings) != 8 {
		t.Errorf("%d findings: %+v", len(r.Findings), r.Findings)
	}
	for _, f := range r.Findings {
		execute(t, url, f.Fix.SQL...)
	}
	if r := look(t, url, o); len(r.Findings) > 0 {
		t.Errorf("%+v", r.Findings)
	}
}

func TestALoginThatIsNotThereIsAnError(t *testing.T) {
	t.Parallel()
	_, url := create(t, shared(t), "")
	pool := open(t, pgdbm.Config{URL: url})
	if _, err := doctor.Look(t.Context(), pool, doctor.Options{Login: "nobody"}); err == nil || err.Error() != `doctor: login "nobody": no such role` {
		t.Error(err)
	}
}
