package engine_test

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdbm/pgdbm/internal/engine"
	"github.com/pgdbm/pgdbm/internal/testdb"
)

// kills is how many runs of each kind the race test kills; make soak asks for more.
var kills = flag.Int("kills", 5, "processes to kill in each kind of deploy race")

// A raceKind is what sixteen processes deploy at once.
type raceKind struct {
	name  string
	setup string
	files []string
	check map[string]string // query to value, when all is over
}

func raceKinds(way string) []raceKind {
	var plain []string
	for i := 1; i <= 6; i++ {
		plain = append(plain, fmt.Sprintf("%d_x.sql", i), fmt.Sprintf("create table {{tables.t%[1]d}} as select generate_series(1, 3000) as x;\n"+
			"create index on t%[1]d (x);\ninsert into {{tables.log}} values (%[1]d);", i))
	}
	outside := outsideHead
	for i := 1; i <= 8; i++ {
		outside += fmt.Sprintf("insert into {{tables.log}} values (%[1]d);\nvacuum {{tables.log}};\ncreate table {{tables.t%[1]d}} as select generate_series(1, 2000) as x;\n", i)
	}
	index := outsideHead + "create index concurrently big_a on {{tables.big}} (x);\ncreate unique index concurrently if not exists big_b on big (x, y);\n" +
		"reindex table concurrently big;\ndrop index concurrently big_a;\ninsert into log values (1);\ncreate index concurrently \"Big C\" on app.\"big\" (y);\n"
	if way == "pgbouncer" { // where no search_path is set for such statements
		index = strings.NewReplacer(" on big ", " on {{tables.big}} ", "concurrently big;", "concurrently {{tables.big}};",
			"drop index concurrently big_a", "drop index concurrently {{tables.big_a}}").Replace(index)
	}
	const ledger = "select count(*) filter (where state = 'applied') || ' of ' || count(*) from pgdbm.migrations"
	const log = "select count(*) || ' ' || sum(n) from app.log"
	return []raceKind{
		{"transactional", "create table app.log (n int)", plain, map[string]string{
			ledger: "6 of 6", log: "6 21", "select sum(attempts) from pgdbm.migrations": "6",
			"select count(*) from pg_tables where schemaname = 'app'": "7",
		}},
		{"no-transaction", "create table app.log (n int)", []string{"1_a.sql", outside, "2_b.sql", "insert into log values (100);"}, map[string]string{
			ledger: "2 of 2", log: "9 136", "select count(*) from pg_tables where schemaname = 'app'": "9",
			"select stmt_done || ' ' || stmt_total from pgdbm.migrations where version = '1'": "24 24",
		}},
		{"concurrent index", "create table app.log (n int); create table app.big as select x, -x as y from generate_series(1, 30000) x",
			[]string{"1_a.sql", index}, map[string]string{
				ledger: "1 of 1", log: "1 1",
				"select string_agg(indexname, ' ' order by indexname) from pg_indexes where schemaname = 'app'": "Big C big_b",
				"select count(*) from pg_index where not indisvalid":                                            "0",
			}},
	}
}

// A route leads the programs of a race to a database: straight, or through something. Queries that check go straight.
type route struct {
	url    func(direct string) string
	change func(r *engine.Runner)
}

// routes are known by name to the process that is killed.
var routes = map[string]route{
	"straight": {url: func(direct string) string { return direct }, change: func(*engine.Runner) {}},
	"pgbouncer": {
		url:    func(direct string) string { return bouncer(direct) },
		change: func(r *engine.Runner) { r.ThroughPooler = true },
	},
}

// bouncer is the way through PgBouncer, once a test has started it.
var bouncer func(direct string) string

func TestDeployRaces(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"straight", "pgbouncer"} {
		t.Run(way, func(t *testing.T) {
			if way == "pgbouncer" {
				bouncer = testdb.PgBouncer(t, testdb.URL(t))
			}
			for _, kind := range raceKinds(way) {
				t.Run(kind.name, func(t *testing.T) { // one after the other: each takes 32 connections
					kind.run(t, way, *kills)
				})
			}
		})
	}
}

// run deploys once undisturbed, to know how long a process takes, and then until as many as said have been killed in the
// middle, at random moments.
func (k raceKind) run(t *testing.T, way string, kills int) {
	// Each deploys in a test of its own, whose database goes with it.
	deploy := func(after time.Duration) (took time.Duration, interrupted bool) {
		t.Run("deploy", func(t *testing.T) { took, interrupted = k.deploy(t, way, after) })
		return took, interrupted
	}
	whole, _ := deploy(0)
	interrupted, rounds := 0, 0
	for ; interrupted < kills && rounds < 4*kills && !t.Failed(); rounds++ {
		if _, ok := deploy(1 + rand.N(whole)); ok {
			interrupted++
		}
	}
	t.Logf("%d of %d processes were killed before they had done, within %v", interrupted, rounds, whole.Round(time.Millisecond))
	if interrupted < kills {
		t.Errorf("%d kills, want %d", interrupted, kills)
	}
}

// deploy runs sixteen programs on a new database. One of them is a process of its own, which is killed after a while
// unless that is 0. Afterwards every other one must have succeeded, and all must be as it should. It returns how long
// the process took, and whether it was killed before it had done.
func (k raceKind) deploy(t *testing.T, way string, after time.Duration) (took time.Duration, interrupted bool) {
	t.Helper()
	d := newDatabase(t)
	d.exec("create schema app; " + k.setup)
	url := routes[way].url(d.url)
	const others = 15
	programs := make([]*program, others)
	for i := range programs {
		programs[i] = (&database{t, url}).program(two)
		routes[way].change(programs[i].Runner)
		engine.Poll(programs[i].Runner, 2*time.Millisecond, 50*time.Millisecond, time.Hour)
	}
	tg := target(t, "app", "app", k.files...)
	v := startVictim(t, k.name, way, url)
	began := time.Now()
	v.start()
	if after > 0 {
		timer := time.AfterFunc(after, v.kill)
		defer timer.Stop()
	}
	if rand.N(3) > 0 { // give it a start, so that it is the one that works
		for d.value("select to_regclass('pgdbm.migrations') is not null") != "true" && !v.gone() {
		}
	}
	together(t, others, func(i int) error {
		_, err := programs[i].Up(t.Context(), tg)
		return err
	})
	<-v.ended
	if after == 0 && v.err != nil {
		t.Errorf("victim: %v", v.err)
	}
	for _, p := range programs {
		p.pool.Close()
	}
	for query, want := range k.check {
		d.want(want, query)
	}
	if t.Failed() {
		t.Fatalf("with a kill after %v, of a process that said %q", after, v.said)
	}
	return v.done.Sub(began), v.done.IsZero()
}

// A victim is this test's program, run again to deploy and to be killed.
type victim struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	ended chan struct{}

	// To be read when it has ended.
	done time.Time // when it had deployed; zero when it never had
	said []string
	err  error
}

const victimEnv = "PGDBM_ENGINE_TEST_VICTIM" // "KIND\tROUTE\tURL"

// startVictim returns when the process is connected; it waits for start.
func startVictim(t *testing.T, kind, way, url string) *victim {
	t.Helper()
	v := &victim{cmd: exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestDeployRaceVictim$"), ended: make(chan struct{})}
	v.cmd.Env = append(os.Environ(), victimEnv+"="+kind+"\t"+way+"\t"+url)
	var err error
	if v.stdin, err = v.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := v.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := v.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	go func() { // ends with the process
		defer close(v.ended)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			switch lines.Text() {
			case "ready":
				close(ready)
			case "done":
				v.done = time.Now()
			default:
				v.said = append(v.said, lines.Text())
			}
		}
		v.err = v.cmd.Wait()
	}()
	select {
	case <-ready:
	case <-v.ended:
		t.Fatalf("victim: %v: %q", v.err, v.said)
	}
	return v
}

func (v *victim) start() { fmt.Fprintln(v.stdin) }

// kill is kill -9.
func (v *victim) kill() { v.cmd.Process.Kill() }

func (v *victim) gone() bool {
	select {
	case <-v.ended:
		return true
	default:
		return false
	}
}

// TestDeployRaceVictim is no test of its own: TestDeployRaces runs it in a process.
func TestDeployRaceVictim(t *testing.T) {
	parts := strings.Split(os.Getenv(victimEnv), "\t")
	if len(parts) != 3 {
		t.Skip("runs in a process of TestDeployRaces only")
	}
	name, way, url := parts[0], parts[1], parts[2]
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close(context.Background())
	for _, k := range raceKinds(way) {
		if k.name != name {
			continue
		}
		p := (&database{t, url}).program(two)
		routes[way].change(p.Runner)
		if err := p.pool.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
		tg := target(t, "app", "app", k.files...)
		fmt.Println("ready")
		if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Up(t.Context(), tg); err != nil {
			t.Fatal(err)
		}
		fmt.Println("done")
	}
}
