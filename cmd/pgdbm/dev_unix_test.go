//go:build unix

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/pgdbm/pgdbm/localpg"
)

// devLimit is the time that a test waits for something to happen.
const devLimit = 2 * time.Minute

// dev is a running "pgdbm dev --json".
type dev struct {
	t      *testing.T
	cmd    *exec.Cmd
	lines  *bufio.Scanner
	stderr bytes.Buffer
}

func startDev(t *testing.T, dir string, args ...string) *dev {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), devLimit)
	t.Cleanup(cancel)
	d := &dev{t: t, cmd: exec.CommandContext(ctx, "pgdbm", append([]string{"dev", "--json"}, args...)...)} // testscript.Main put it on PATH
	d.cmd.Dir, d.cmd.Stderr = dir, &d.stderr
	d.cmd.Env = append(os.Environ(), "GORACE=exitcode=66", "PGHOST=nowhere.invalid", "DATABASE_URL=postgres://nowhere.invalid")
	out, err := d.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	d.lines = bufio.NewScanner(out)
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return d
}

// next returns the next event, which must be of a kind.
func (d *dev) next(kind string) devEvent {
	d.t.Helper()
	var e devEvent
	if !d.lines.Scan() {
		_ = d.cmd.Wait()
		d.t.Fatalf("dev ended: %s", &d.stderr)
	}
	if err := json.Unmarshal(d.lines.Bytes(), &e); err != nil || e.Event != kind || e.Version != 1 {
		d.t.Fatalf("%s, %v, want an event %s", d.lines.Text(), err, kind)
	}
	return e
}

// end sends a signal and returns the exit code.
func (d *dev) end(signal os.Signal) int {
	d.t.Helper()
	if err := d.cmd.Process.Signal(signal); err != nil {
		d.t.Fatal(err)
	}
	for d.lines.Scan() {
		d.t.Errorf("at the end: %s", d.lines.Text())
	}
	_ = d.cmd.Wait() // the code says it
	return d.cmd.ProcessState.ExitCode()
}

// devFolder is a folder whose name no other run of the tests has. Its dev is to
// run with --durable: servers like that are used by these tests only.
func devFolder(t *testing.T, name string) (dir, database string) {
	t.Helper()
	mustServer(t)
	name = fmt.Sprintf("%s-%d", name, os.Getpid())
	return filepath.Join(t.TempDir(), name), strings.ReplaceAll(strings.ToLower(name), "-", "_") + "_dev"
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	// As editors do: no look sees half a file, and none an old time.
	if err := os.WriteFile(path+"~", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+"~", path); err != nil {
		t.Fatal(err)
	}
}

// began returns the event ready of a dev that migrates one module and watches.
func (d *dev) began() devEvent {
	d.t.Helper()
	ready := d.next("ready")
	d.next("migrated")
	d.next("watching")
	return ready
}

// interrupt ends dev as Ctrl-C does.
func (d *dev) interrupt() {
	d.t.Helper()
	if code := d.end(os.Interrupt); code != exitInterrupted {
		d.t.Errorf("exit code %d: %s", code, &d.stderr)
	}
}

func (d *dev) query(url, sql, want string) {
	d.t.Helper()
	conn, err := pgx.Connect(d.t.Context(), url)
	if err != nil {
		d.t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var got string
	if err := conn.QueryRow(d.t.Context(), sql).Scan(&got); err != nil || got != want {
		d.t.Errorf("%s: %q, %v, want %q", sql, got, err, want)
	}
}

func TestDevMigratesWhatIsWrittenUntilItIsInterrupted(t *testing.T) {
	t.Parallel()
	dir, name := devFolder(t, "My-Shop")
	write(t, dir, "migrations/001_items.sql", "CREATE TABLE {{tables.items}} (id int);\n")
	d := startDev(t, dir, "--module", "shop", "--durable")
	ready := d.next("ready")
	if ready.Database != name {
		t.Errorf("%+v", ready)
	}
	if e := d.next("migrated"); e.Module != "shop" || len(e.Applied) != 1 || e.Applied[0].File != "001_items.sql" {
		t.Errorf("%+v", e)
	}
	if e := d.next("watching"); !slices.Equal(e.Folders, []string{"migrations"}) {
		t.Errorf("%+v", e)
	}
	held, err := pgx.Connect(t.Context(), ready.URL) // a program that is being written
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close(context.Background())

	// An error says where, and does not end it.
	write(t, dir, "migrations/002_price.sql", "SELECT 1;\nSELECT x;\n")
	if e := d.next("failed"); e.File != filepath.Join("migrations", "002_price.sql") || e.Line != 2 || e.Column != 8 || !strings.Contains(e.Error, `column "x" does not exist`) {
		t.Errorf("%+v", e)
	}
	d.next("watching")
	write(t, dir, "migrations/002_price.sql", "ALTER TABLE {{tables.items}} ADD price int;\n")
	if e := d.next("migrated"); len(e.Applied) != 1 {
		t.Errorf("%+v", e)
	}
	d.next("watching")

	// A file that was applied and changes.
	write(t, dir, "migrations/001_items.sql", "CREATE TABLE {{tables.items}} (id bigint);\n")
	if e := d.next("anew"); !strings.Contains(e.Error, "001_items.sql") && !strings.Contains(e.File, "001_items.sql") {
		t.Errorf("%+v", e)
	}
	if e := d.next("migrated"); len(e.Applied) != 2 {
		t.Errorf("%+v", e)
	}
	d.next("watching")
	d.query(ready.URL, "SELECT format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = 'shop.items'::regclass AND attname = 'id'", "bigint")
	if err := held.Ping(t.Context()); err != nil {
		t.Error(err)
	}

	// A file that was applied and goes.
	if err := os.Remove(filepath.Join(dir, "migrations", "002_price.sql")); err != nil {
		t.Fatal(err)
	}
	if e := d.next("anew"); e.File != filepath.Join("migrations", "002_price.sql") {
		t.Errorf("%+v", e)
	}
	if e := d.next("migrated"); len(e.Applied) != 1 {
		t.Errorf("%+v", e)
	}
	d.next("watching")

	// Another one beside it has a database of its own.
	other := startDev(t, dir, "--module", "shop", "--durable")
	second := other.next("ready")
	if second.Database != name+"2" || second.Server != ready.Server {
		t.Errorf("%+v", second)
	}
	other.next("migrated")
	other.next("watching")
	if code := other.end(syscall.SIGHUP); code != exitInterrupted { // its terminal is closed
		t.Errorf("exit code %d: %s", code, &other.stderr)
	}
	d.query(ready.URL, "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database WHERE starts_with(datname, '"+name+"')", name)

	if code := d.end(os.Interrupt); code != exitInterrupted || d.stderr.String() != "pgdbm: interrupted\n" {
		t.Errorf("exit code %d: %s", code, &d.stderr)
	}
	for deadline := time.Now().Add(devLimit); ; {
		list, err := localpg.List()
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(list, func(i localpg.Info) bool { return i.ID == ready.Server }) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the server is there still")
		}
		<-time.After(10 * time.Millisecond) // it ends within a second after its last user
	}
}

func TestDevFollowsItsProjectFile(t *testing.T) {
	t.Parallel()
	dir, _ := devFolder(t, "file")
	shop := "[modules.shop]\nmigrations_path = \"shop\"\n"
	write(t, dir, "pgdbm.toml", shop)
	write(t, dir, "shop/001_items.sql", "CREATE TABLE {{tables.items}} (id int PRIMARY KEY);\n")
	d := startDev(t, dir, "--durable")
	ready := d.began()

	// Mistakes are told with their place, each of them, and do not end it.
	write(t, dir, "pgdbm.toml", shop+"shcema = 1\n[porject]\n")
	for i, want := range []string{"unknown key modules.shop.shcema", "unknown key porject"} {
		if e := d.next("failed"); e.File != "pgdbm.toml" || e.Line != 3+i || e.Column != 1+i || e.Error != want {
			t.Errorf("%+v", e)
		}
	}
	d.next("watching")
	// What was there before is looked after meanwhile.
	write(t, dir, "shop/002_more.sql", "ALTER TABLE {{tables.items}} ADD more int;\n")
	d.next("failed")
	d.next("failed")
	if e := d.next("migrated"); e.Module != "shop" {
		t.Errorf("%+v", e)
	}
	d.next("watching")

	// A new module, whose folder comes later.
	both := "[modules.bills]\nmigrations_path = \"bills\"\ndepends_on = [\"shop\"]\n" + shop
	write(t, dir, "pgdbm.toml", both)
	if e := d.next("failed"); e.File != "pgdbm.toml" || e.Line != 2 || e.Column != 1 || e.Error != "modules.bills.migrations_path: no folder bills" {
		t.Errorf("%+v", e)
	}
	d.next("watching")
	write(t, dir, "bills/001_bills.sql", "CREATE TABLE {{tables.bills}} (item int REFERENCES {{tables.shop.items}});\n")
	if e := d.next("migrated"); e.Module != "bills" || e.Schema != "bills" {
		t.Errorf("%+v", e)
	}
	if e := d.next("watching"); !slices.Equal(e.Folders, []string{"shop", "bills"}) {
		t.Errorf("%+v", e)
	}

	// Another folder and another schema.
	write(t, dir, "sold/001_bills.sql", "CREATE TABLE {{tables.bills}} (item int REFERENCES {{tables.shop.items}}, sold date);\n")
	write(t, dir, "pgdbm.toml", strings.Replace(both, "\"bills\"", "\"sold\"\nschema = \"accounts\"", 1))
	if e := d.next("anew"); e.Module != "bills" {
		t.Errorf("%+v", e)
	}
	d.next("migrated")
	if e := d.next("migrated"); e.Module != "bills" || e.Schema != "accounts" {
		t.Errorf("%+v", e)
	}
	if e := d.next("watching"); !slices.Equal(e.Folders, []string{"shop", "sold"}) {
		t.Errorf("%+v", e)
	}
	d.query(ready.URL, "SELECT concat(to_regclass('bills.bills'), ' ', to_regclass('accounts.bills'))", " accounts.bills")

	// A module less, and its files are no concern any more; and no file at all.
	write(t, dir, "pgdbm.toml", shop)
	if e := d.next("watching"); !slices.Equal(e.Folders, []string{"shop"}) {
		t.Errorf("%+v", e)
	}
	if err := os.Remove(filepath.Join(dir, "pgdbm.toml")); err != nil {
		t.Fatal(err)
	}
	if e := d.next("failed"); !strings.Contains(e.Error, "there is no pgdbm.toml") {
		t.Errorf("%+v", e)
	}
	d.next("watching")
	write(t, dir, "pgdbm.toml", both)
	d.next("anew") // bills is as it was at first
	d.next("migrated")
	d.next("migrated")
	d.next("watching")
	d.interrupt()
}

func TestDevGoesOnWithoutTheFilesOfAModule(t *testing.T) {
	t.Parallel()
	dir, _ := devFolder(t, "empty")
	write(t, dir, "pgdbm.toml", "[modules.shop]\nmigrations_path = \"shop\"\n[modules.bills]\nmigrations_path = \"bills\"\ndepends_on = [\"shop\"]\n")
	if err := os.Mkdir(filepath.Join(dir, "shop"), 0o777); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "bills/001_bills.sql", "CREATE TABLE {{tables.bills}} (id int);\n")
	d := startDev(t, dir, "--durable")
	ready := d.next("ready")
	if e := d.next("no_files"); e.Module != "shop" || !slices.Equal(e.Folders, []string{"shop"}) {
		t.Errorf("%+v", e)
	}
	if e := d.next("migrated"); e.Module != "bills" {
		t.Errorf("%+v", e)
	}
	d.next("watching")
	write(t, dir, "shop/001_items.sql", "CREATE TABLE {{tables.items}} (id int);\n")
	if e := d.next("migrated"); e.Module != "shop" {
		t.Errorf("%+v", e)
	}
	d.next("watching")
	// Files that are gone are so in the database, too.
	if err := os.Remove(filepath.Join(dir, "shop", "001_items.sql")); err != nil {
		t.Fatal(err)
	}
	d.next("anew")
	d.next("no_files")
	d.next("migrated")
	d.next("watching")
	d.query(ready.URL, "SELECT concat(to_regclass('shop.items'), ' ', to_regclass('bills.bills'))", " bills.bills")
	d.interrupt()
}

func TestDevKeepsDataWhenAsked(t *testing.T) {
	t.Parallel()
	dir, _ := devFolder(t, "keep")
	write(t, dir, "migrations/001_items.sql", "CREATE TABLE {{tables.items}} (id int);\n")
	d := startDev(t, dir, "--module", "shop", "--schema", "public", "--durable", "--keep-data")
	ready := d.began()
	write(t, dir, "migrations/001_items.sql", "CREATE TABLE {{tables.items}} (id bigint);\n")
	if e := d.next("failed"); e.Module != "shop" || e.Schema != "public" || !strings.Contains(e.Error, "changed since it was applied") {
		t.Errorf("%+v", e)
	}
	d.next("watching")
	d.query(ready.URL, "SELECT format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = 'public.items'::regclass AND attname = 'id'", "integer")
	d.interrupt()
}

func TestDevEndsWithItsServer(t *testing.T) {
	t.Parallel()
	dir, name := devFolder(t, "lost")
	write(t, dir, "migrations/001_items.sql", "CREATE TABLE {{tables.items}} (id int);\n")
	d := startDev(t, dir, "--module", "shop", "--durable")
	ready := d.began()
	conn, err := pgx.Connect(t.Context(), ready.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	// The server may have ended with dev before it answers; what becomes of dev tells.
	_, _ = conn.Exec(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1", "pgdbm dev of "+name)
	if d.lines.Scan() {
		t.Error(d.lines.Text())
	}
	_ = d.cmd.Wait() // the code says it
	if code := d.cmd.ProcessState.ExitCode(); code != exitFailed || !strings.HasPrefix(d.stderr.String(), "pgdbm: connection to the server: ") {
		t.Errorf("exit code %d: %s", code, &d.stderr)
	}
}

func TestDevTakesAwayWhatAKilledOneLeft(t *testing.T) {
	t.Parallel()
	dir, name := devFolder(t, "app")
	write(t, dir, "migrations/001_items.sql", "CREATE TABLE {{tables.items}} (id int);\n")
	server, err := localpg.Start(t.Context(), &localpg.Options{Shared: true, Fetch: true, Durable: true})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop(context.Background())
	foreign, err := pgx.Connect(t.Context(), server.URL(""))
	if err != nil {
		t.Fatal(err)
	}
	defer foreign.Close(context.Background())
	d := startDev(t, dir, "--module", "shop", "--durable")
	if e := d.next("ready"); e.Database != name {
		t.Errorf("%+v", e)
	}
	d.next("migrated")
	d.next("watching")
	if code := d.end(syscall.SIGKILL); code != -1 {
		t.Errorf("exit code %d", code)
	}
	d = startDev(t, dir, "--module", "shop", "--durable")
	e := d.next("ready")
	if e.Database != name {
		t.Errorf("%+v", e)
	}
	d.next("migrated")
	d.next("watching")
	if code := d.end(syscall.SIGTERM); code != exitInterrupted {
		t.Errorf("exit code %d", code)
	}
	// So does a later one of another name.
	d = startDev(t, dir, "--module", "shop", "--durable", "--database", name+"_left")
	d.began()
	d.end(syscall.SIGKILL)
	for lives := true; lives; {
		if err := foreign.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name LIKE 'pgdbm dev%' || $1)", name+"_left").Scan(&lives); err != nil {
			t.Fatal(err)
		}
	}
	d = startDev(t, dir, "--module", "shop", "--durable")
	d.next("ready")
	d.query(server.URL(""), "SELECT count(*)::text FROM pg_database WHERE datname = '"+name+"_left'", "0")
	d.next("migrated")
	d.next("watching")
	d.end(os.Interrupt)
	// What somebody else made of that name stays.
	if _, err := foreign.Exec(t.Context(), "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	d = startDev(t, dir, "--module", "shop", "--durable")
	if e := d.next("ready"); e.Database != name+"2" {
		t.Errorf("%+v", e)
	}
	d.next("migrated")
	d.next("watching")
	d.end(os.Interrupt)
	d.query(server.URL(name), "SELECT current_database()", name)
	if _, err := foreign.Exec(t.Context(), "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
		t.Error(err)
	}
}

// untilDev waits until a query on a database of a private server says t: untildev
// DATABASE SQL.
func untilDev(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: untildev DATABASE SQL")
	}
	ctx, cancel := context.WithTimeout(context.Background(), devLimit)
	defer cancel()
	for ctx.Err() == nil {
		servers, err := localpg.List()
		ts.Check(err)
		for _, s := range servers {
			conn, err := pgx.Connect(ctx, s.DatabaseURL(args[0]))
			if err != nil {
				continue // it is not there yet
			}
			done := false
			_ = conn.QueryRow(ctx, args[1]).Scan(&done) // nor may be what it is about
			conn.Close(ctx)
			if done {
				return
			}
		}
		<-time.After(10 * time.Millisecond)
	}
	ts.Fatalf("%s never came true in %s", args[1], args[0])
}

func TestDevFollowsLinksAndOpensNoPipes(t *testing.T) {
	t.Parallel()
	dir, _ := devFolder(t, "links")
	write(t, dir, "elsewhere/items.sql", "CREATE TABLE {{tables.items}} (id int);\n")
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "migrations"), 0o755), os.Symlink("../elsewhere/items.sql", filepath.Join(dir, "migrations", "001_items.sql"))); err != nil {
		t.Fatal(err)
	}
	d := startDev(t, dir, "--module", "shop", "--durable")
	d.began()
	write(t, dir, "elsewhere/items.sql", "CREATE TABLE {{tables.items}} (id bigint);\n")
	d.next("anew")
	d.next("migrated")
	d.next("watching")
	if err := syscall.Mkfifo(filepath.Join(dir, "migrations", "002_pipe.sql"), 0o644); err != nil {
		t.Fatal(err)
	}
	if e := d.next("failed"); !strings.Contains(e.Error, "002_pipe.sql: is no regular file") {
		t.Errorf("%+v", e)
	}
	d.next("watching")
	d.interrupt()
}

func TestDevTriesAgainWhatOthersHaveLocked(t *testing.T) {
	t.Parallel()
	dir, _ := devFolder(t, "locked")
	write(t, dir, "migrations/001_items.sql", "CREATE TABLE {{tables.items}} (id int);\n")
	d := startDev(t, dir, "--module", "shop", "--durable")
	ready := d.began()
	conn, err := pgx.Connect(t.Context(), ready.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.PgConn().Exec(t.Context(), "BEGIN; LOCK TABLE shop.items").ReadAll(); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "migrations/002_more.sql", "-- pgdbm:lock-timeout 10ms\nALTER TABLE {{tables.items}} ADD more int;\n")
	if e := d.next("failed"); !strings.Contains(e.Error, "blocked") {
		t.Errorf("%+v", e)
	}
	d.next("watching")
	if _, err := conn.Exec(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	d.next("migrated") // without a change
	d.next("watching")
	d.interrupt()
}

func TestPeopleAreToldWhenNothingFailsAnyMore(t *testing.T) {
	t.Parallel()
	var out, errs bytes.Buffer
	o := &devOutput{out: &out, errs: &errs}
	list := []chosen{{dir: "shop"}}
	o.watching(list)
	o.failed(nil, errors.New("why"))
	o.watching(list)
	o.watching(list)
	o.watching(list)
	if got := strings.Count(out.String(), "watching  shop"); got != 2 {
		t.Error(out.String())
	}
}

// A pipe for pgdbm.toml is read, as in a process substitution, and Ctrl-C ends the
// wait for it.
func TestAPipeForTheProjectFileCanBeInterrupted(t *testing.T) {
	t.Parallel()
	pipe := filepath.Join(t.TempDir(), "pgdbm.toml")
	if err := syscall.Mkfifo(pipe, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"", "[modules.x]\nnonsense = 1\n"} {
		var stderr bytes.Buffer
		cmd := exec.CommandContext(t.Context(), "pgdbm", "db", "info", "--config", pipe)
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var w *os.File
		for err := error(syscall.ENXIO); errors.Is(err, syscall.ENXIO); { // nobody reads yet
			w, err = os.OpenFile(pipe, os.O_WRONLY|syscall.O_NONBLOCK, 0)
			if err != nil && !errors.Is(err, syscall.ENXIO) {
				t.Fatal(err)
			}
		}
		want, code := "pgdbm: interrupted\n", exitInterrupted
		if text == "" {
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
		} else {
			want, code = "unknown key modules.x.nonsense", exitUsage
			if _, err := w.WriteString(text); err != nil {
				t.Fatal(err)
			}
			w.Close()
		}
		_ = cmd.Wait() // the code says it
		w.Close()
		if cmd.ProcessState.ExitCode() != code || !strings.Contains(stderr.String(), want) {
			t.Errorf("%d, %s", cmd.ProcessState.ExitCode(), &stderr)
		}
	}
}
