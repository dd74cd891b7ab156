package engine_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pgdbm/pgdbm/internal/engine"
	"github.com/pgdbm/pgdbm/sqltemplate"
)

// grant runs what a privilege error says an administrator runs.
func (d *database) grant(err error) *engine.PrivilegeError {
	d.t.Helper()
	var p *engine.PrivilegeError
	if !errors.As(err, &p) || len(p.Statements) == 0 {
		d.t.Fatalf("got %v, want a privilege error with statements", err)
	}
	for _, s := range p.Statements {
		d.exec(s)
	}
	return p
}

func TestAPrivilegeErrorTellsAllThatIsMissing(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	role := d.role("nothing")
	p := d.program(asRole(role))
	tg := target(t, "app", "app", "1_a.sql", "create table a ();")
	_, err := p.Up(t.Context(), tg)
	privilege := d.grant(err)
	quoted := sqltemplate.Quote(role)
	want := []string{
		`CREATE SCHEMA "app"`, `GRANT USAGE, CREATE ON SCHEMA "app" TO ` + quoted,
		`CREATE SCHEMA "pgdbm"`, `GRANT USAGE, CREATE ON SCHEMA "pgdbm" TO ` + quoted,
	}
	if !slices.Equal(privilege.Statements, want) || privilege.Role != role || privilege.Schema != "app" {
		t.Errorf("got %+v", privilege)
	}
	if want := `migrate app: role "` + role + `" lacks privileges on schema "app"`; err.Error() != want {
		t.Errorf("got %s, want %s", err, want)
	}
	if got := versions(p.up(tg)); got != "1" {
		t.Errorf("applied %q", got)
	}
}

func TestARoleThatMayNotCreateSchemasWorksInItsOwn(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	role := d.role("nothing")
	d.program().up(target(t, "other", "other", "1_a.sql", "create table a ();"))
	d.exec("create schema app authorization " + sqltemplate.Quote(role))
	p := d.program(asRole(role))
	tg := target(t, "app", "app", "1_a.sql", "create table a ();")

	_, err := p.Up(t.Context(), tg)
	privilege := d.grant(err)
	want := []string{"GRANT USAGE ON SCHEMA \"pgdbm\" TO " + sqltemplate.Quote(role),
		"GRANT SELECT, INSERT, UPDATE ON pgdbm.migrations TO " + sqltemplate.Quote(role)}
	if privilege.Schema != "pgdbm" || !slices.Equal(privilege.Statements, want) {
		t.Errorf("got %+v", privilege)
	}
	p.up(tg)
	if err := p.EnsureSchema(t.Context(), "app"); err != nil {
		t.Error(err)
	}
	_, err = p.Up(t.Context(), target(t, "app", "second", "1_a.sql", "create table a ();"))
	if privilege := d.grant(err); privilege.Schema != "second" {
		t.Errorf("got %+v", privilege)
	}
	if err := p.EnsureSchema(t.Context(), "third"); err == nil {
		t.Error("no error")
	} else if privilege := d.grant(err); privilege.Schema != "third" {
		t.Errorf("got %+v", privilege)
	}
}

func TestReadingTheLedgerTakesSelectAndItsErrorSaysSo(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	role := d.role("nothing")
	tg := target(t, "app", "app", "1_a.sql", "create table a ();")
	d.program().up(tg)
	p := d.program(asRole(role))
	for name, read := range map[string]func() error{
		"Status":  func() error { _, err := p.Status(t.Context(), tg); return err },
		"Plan":    func() error { _, err := p.Plan(t.Context(), tg); return err },
		"Up":      func() error { _, err := p.Up(t.Context(), tg); return err },
		"History": func() error { _, err := p.History(t.Context(), engine.Filter{}); return err },
		"Schemas": func() error { _, err := p.Schemas(t.Context(), []string{"app"}); return err },
	} {
		var privilege *engine.PrivilegeError
		if err := read(); !errors.As(err, &privilege) || privilege.Schema != "pgdbm" {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := p.History(t.Context(), engine.Filter{})
	d.grant(err)
	if history, err := p.History(t.Context(), engine.Filter{}); err != nil || len(history) != 1 {
		t.Errorf("history %v, %v", history, err)
	}
	p.up(tg) // nothing to do, so reading is enough
}

func TestAFileThatTheRoleMayNotRunSaysWhereAndWhatToGrant(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	role := d.role("create on database")
	d.exec("create schema app; grant usage on schema app to " + sqltemplate.Quote(role) + "; create table public.private ()")
	p := d.program(asRole(role))
	tg := target(t, "app", "app", "1_a.sql", "select 1;\ncreate table {{tables.a}} ();")
	_, err := p.Up(t.Context(), tg)
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) || pgErr.Code != "42501" {
		t.Fatalf("got %v", err)
	}
	contains(t, err.Error(), `migrate app/1_a.sql:2:14: role "`+role+`" lacks privileges on schema "app": ERROR: permission denied for schema app (SQLSTATE 42501)`)
	d.grant(err)
	p.up(tg)

	_, err = p.Up(t.Context(), target(t, "app", "app", "1_a.sql", "select 1;\ncreate table {{tables.a}} ();", "2_b.sql", "select * from public.private"))
	var privilege *engine.PrivilegeError
	if err == nil || errors.As(err, &privilege) {
		t.Errorf("got %v: what the file needs elsewhere is not known", err)
	}
}
