package choose

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

func yes() *bool { b := true; return &b }
func no() *bool  { b := false; return &b }

var scenarios = []struct {
	name string
	c    Context
	want Pattern
	why  string // a part of the reasons
}{
	// One service, one database.
	{"nothing said", Context{}, Standalone, "One service"},
	{"one small web service", Context{Building: Program, Services: 1}, Standalone, "One service"},
	{"one service on a database of its own", Context{Building: Program, ImportedBy: Nobody, Services: 1, Processes: OneProcess, Tenants: no(), Database: OwnDatabase}, Standalone, "One service"},
	{"one service beside others on the database", Context{Building: Program, Services: 1, Database: SharedDatabase}, Standalone, "schema of its own"},
	{"a command-line tool that is run by hand", Context{Building: Program, ImportedBy: Nobody, Services: 1}, Standalone, "One service"},
	{"a job of cron on the application's database", Context{Building: Program, Services: 1, Processes: EachItsOwn, Database: SharedDatabase}, Standalone, "pools cannot be shared"},
	{"a prototype that may grow", Context{Building: Program}, Standalone, "One service"},

	// Processes of their own.
	{"a worker of which no more is known", Context{Building: Worker}, Standalone, "worker is a process"},
	{"a worker in a container, same database", Context{Building: Worker, Processes: EachItsOwn, Database: SharedDatabase}, Standalone, "schema of its own"},
	{"a worker in a container, own database", Context{Building: Worker, Processes: EachItsOwn, Database: OwnDatabase}, Standalone, "worker is a process"},
	{"a separate worker of a program with many services", Context{Building: Worker, Processes: EachItsOwn, Services: 6}, Standalone, "worker is a process"},
	{"five microservices, a container each", Context{Building: Program, Services: 5, Processes: EachItsOwn}, Standalone, "Each service is a process"},
	{"five microservices on one database", Context{Building: Program, Services: 5, Processes: EachItsOwn, Database: SharedDatabase}, Standalone, "schema of its own"},
	{"five microservices, a database each", Context{Building: Program, Services: 5, Processes: EachItsOwn, Database: OwnDatabase}, Standalone, "pools cannot be shared"},
	{"replicas of one service", Context{Building: Program, Services: 1, Processes: EachItsOwn}, Standalone, "pools cannot be shared"},
	{"microservices that fill the server", Context{Building: Program, Services: 12, Processes: EachItsOwn, Seen: []Sign{MaxConnections}}, Standalone, "pools cannot be shared"},
	{"microservices of unknown number that fill the server", Context{Processes: EachItsOwn, Seen: []Sign{MaxConnections}}, Standalone, "pools cannot be shared"},

	// One process, several parts.
	{"a worker as goroutines of the program", Context{Building: Worker, Processes: OneProcess}, SharedPool, "goroutines"},
	{"a worker as goroutines, counted as one", Context{Building: Worker, Processes: OneProcess, Services: 1}, SharedPool, "goroutines"},
	{"users, posts and comments in one program", Context{Building: Program, Services: 3, Processes: OneProcess}, SharedPool, "one schema each"},
	{"two modules, deployment not said", Context{Building: Program, Services: 2}, SharedPool, "one schema each"},
	{"modules that nobody counted", Context{Building: Program, Services: Many, Processes: OneProcess}, SharedPool, "Several services"},
	{"microservices that nobody counted", Context{Building: Program, Services: Many, Processes: EachItsOwn}, Standalone, "Each service is a process"},
	{"a monolith of forty modules", Context{Services: 40, Processes: OneProcess, Database: OwnDatabase}, SharedPool, "40 services"},
	{"a monolith on a database that others use", Context{Services: 4, Processes: OneProcess, Database: SharedDatabase}, SharedPool, "4 services"},
	{"an API and its scheduler in one process", Context{Building: Program, Services: 2, Processes: OneProcess, Tenants: no()}, SharedPool, "2 services"},

	// Tenants.
	{"one service with tenants", Context{Building: Program, Services: 1, Tenants: yes()}, SharedPool, "Each tenant gets a schema"},
	{"tenants and several modules", Context{Services: 4, Processes: OneProcess, Tenants: yes()}, SharedPool, "Each tenant gets a schema"},
	{"only that there are tenants", Context{Tenants: yes()}, SharedPool, "Each tenant gets a schema"},
	{"a separate worker that visits every tenant", Context{Building: Worker, Processes: EachItsOwn, Tenants: yes()}, SharedPool, "this process opens one"},
	{"microservices, each with all tenants", Context{Services: 3, Processes: EachItsOwn, Tenants: yes()}, SharedPool, "this process opens one"},
	{"a service whose tenants are rows", Context{Building: Program, Services: 1, Tenants: no()}, Standalone, "One service"},

	// Packages.
	{"a package of which no more is known", Context{Building: Package}, DualMode, "Several programs"},
	{"a published package", Context{Building: Package, ImportedBy: Anyone}, DualMode, "published"},
	{"an internal package of three applications", Context{Building: Package, ImportedBy: Several}, DualMode, "Not being published"},
	{"an internal package of one application", Context{Building: Package, ImportedBy: One}, Standalone, "part of that application"},
	{"an internal package of one application with more modules", Context{Building: Package, ImportedBy: One, Services: 3}, SharedPool, "part of that application"},
	{"an internal package of one application with tenants", Context{Building: Package, ImportedBy: One, Tenants: yes()}, SharedPool, "part of that application"},
	{"a package that only a separate worker imports", Context{Building: Package, ImportedBy: One, Processes: EachItsOwn}, Standalone, "part of that application"},
	{"a package that nobody imports", Context{Building: Package, ImportedBy: Nobody}, Standalone, "One service"},
	{"only that several import it", Context{ImportedBy: Several}, DualMode, "Several programs"},
	{"a service that others embed as a package", Context{Building: Program, ImportedBy: Several, Services: 1}, DualMode, "Several programs"},
	{"a published package with modules and tenants", Context{Building: Package, ImportedBy: Anyone, Services: 3, Tenants: yes()}, DualMode, "does not see that"},
	{"a published package that runs as a service too", Context{Building: Package, ImportedBy: Anyone, Processes: EachItsOwn}, DualMode, "published"},
	{"a worker that other programs import", Context{Building: Worker, ImportedBy: Several}, DualMode, "Several programs"},

	// Signs.
	{"a README that says import me", Context{Seen: []Sign{ReadmeImport}}, DualMode, "Several programs"},
	{"a service whose README says import me", Context{Building: Program, Services: 1, Seen: []Sign{ReadmeImport}}, DualMode, "Several programs"},
	{"such a README, but nobody does", Context{Building: Program, ImportedBy: Nobody, Seen: []Sign{ReadmeImport}}, Standalone, "One service"},
	{"one service that opens several pools", Context{Services: 1, Seen: []Sign{ManyOpens}}, SharedPool, "it needs one"},
	{"the warning in the log", Context{Seen: []Sign{PoolWarning}}, SharedPool, "it needs one"},
	{"the warning in the log of a worker", Context{Building: Worker, Seen: []Sign{PoolWarning}}, SharedPool, "it needs one"},
	{"the warning, from a package that several import", Context{ImportedBy: Several, Seen: []Sign{PoolWarning}}, DualMode, "Several programs"},
	{"a full server and no more known", Context{Seen: []Sign{MaxConnections}}, SharedPool, "runs out of connections"},
	{"a full server and only one service", Context{Services: 1, Seen: []Sign{MaxConnections}}, Standalone, "One service"},
	{"a full server and several services", Context{Services: 3, Seen: []Sign{MaxConnections}}, SharedPool, "3 services"},
	{"everything seen in one program", Context{Building: Program, ImportedBy: Nobody, Services: 5, Seen: Signs}, SharedPool, "5 services"},
}

func TestEveryScenarioGetsItsPattern(t *testing.T) {
	t.Parallel()
	if len(scenarios) < 40 {
		t.Errorf("%d scenarios, want at least 40", len(scenarios))
	}
	for _, s := range scenarios {
		a := Decide(s.c)
		if a.Pattern != s.want {
			t.Errorf("%s: %s, want %s", s.name, a.Pattern, s.want)
		}
		if why := strings.Join(a.Why, " "); !strings.Contains(why, s.why) {
			t.Errorf("%s: reasons %q lack %q", s.name, why, s.why)
		}
	}
}

// What holds for every context there is.
func TestEveryAnswerIsWholeAndKeepsTheRules(t *testing.T) {
	t.Parallel()
	n := 0
	for c := range contexts() {
		n++
		a := Decide(c)
		if len(a.Why) == 0 || len(a.Not) != 2 || a.Not[a.Pattern] != "" || len(a.SelfCheck) != 3 || len(a.Comparison) != 3 ||
			a.Next.Command == "" || a.Next.Page == "" || a.Next.Skill == "" || len(a.RedFlags) != len(c.Seen) {
			t.Fatalf("%+v: answer %+v", c, a)
		}
		for _, check := range a.SelfCheck {
			if check.Reply == "" {
				t.Fatalf("%+v: no reply to %q", c, check.Question)
			}
		}
		imported := c.ImportedBy == Several || c.ImportedBy == Anyone
		switch {
		case imported && a.Pattern != DualMode:
			t.Fatalf("%+v: %s for code that several import", c, a.Pattern)
		case c.ImportedBy != "" && !imported && a.Pattern == DualMode:
			t.Fatalf("%+v: dual-mode for code that is not imported", c)
		case a.Pattern == Standalone && c.Services > 1 && c.Processes == OneProcess:
			t.Fatalf("%+v: standalone several times in one process", c)
		case a.Pattern == Standalone && (c.saw(ManyOpens) || c.saw(PoolWarning)):
			t.Fatalf("%+v: standalone although the process has two pools", c)
		}
	}
	if n < 10000 {
		t.Errorf("%d contexts", n)
	}
}

// contexts returns all combinations of words.
func contexts() func(yield func(Context) bool) {
	return func(yield func(Context) bool) {
		for _, building := range append(slices.Clone(Buildings), "") {
			for _, by := range append(slices.Clone(ImportersAll), "") {
				for services := range 4 {
					for _, processes := range append(slices.Clone(ProcessesAll), "") {
						for _, tenants := range []*bool{nil, yes(), no()} {
							for _, database := range append(slices.Clone(Databases), "") {
								for seen := range 1 << len(Signs) {
									c := Context{building, by, services, processes, tenants, database, nil}
									for i, s := range Signs {
										if seen>>i&1 == 1 {
											c.Seen = append(c.Seen, s)
										}
									}
									if !yield(c) {
										return
									}
								}
							}
						}
					}
				}
			}
		}
	}
}

func TestTheJSONFormHasNoNulls(t *testing.T) {
	t.Parallel()
	text, err := json.Marshal(Decide(Context{Building: Program, ImportedBy: Nobody, Services: 1, Processes: OneProcess, Database: OwnDatabase}))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "null") {
		t.Errorf("%s", text)
	}
}

func TestNoLineOfAnAnswerIsLongerThan80Columns(t *testing.T) {
	t.Parallel()
	for _, s := range scenarios {
		var b strings.Builder
		if err := Decide(s.c).WriteText(&b, false); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(b.String()) {
			if len([]rune(strings.TrimSuffix(line, "\n"))) > 80 {
				t.Errorf("%s: %q", s.name, line)
			}
			if strings.Contains(line, "\x1b") {
				t.Errorf("%s: colour in %q", s.name, line)
			}
		}
	}
}
