package choose

import (
	"fmt"
	"strconv"
)

// Decide returns the pattern for c. It is a pure function.
func Decide(c Context) Answer {
	d := decision{Context: c}
	d.fill()
	switch {
	case d.dualMode():
		d.answer.Pattern = DualMode
	case d.sharedPool():
		d.answer.Pattern = SharedPool
	default:
		d.standalone()
		d.answer.Pattern = Standalone
	}
	d.against()
	d.flags()
	d.finish()
	return d.answer
}

// decision is a Context with nothing left open, and the answer so far.
type decision struct {
	Context
	tenants bool
	// knownServices says that the number of services was given.
	knownServices bool
	uncounted     bool // more than one, at least Services
	answer        Answer
}

func (d *decision) why(format string, args ...any) {
	d.answer.Why = append(d.answer.Why, fmt.Sprintf(format, args...))
}

func (d *decision) assume(text string) { d.answer.Assumed = append(d.answer.Assumed, text) }

// fill decides what nobody said.
func (d *decision) fill() {
	if d.Building == "" {
		switch {
		case d.ImportedBy != "" && d.ImportedBy != Nobody:
			d.Building = Package
		default:
			d.Building = Program
		}
		d.assume("you build a " + string(d.Building))
	}
	if d.ImportedBy == "" {
		switch {
		case d.saw(ReadmeImport):
			d.ImportedBy = Several
			d.assume("several programs import the code, as its README invites them to")
		case d.Building == Package:
			d.ImportedBy = Several
			d.assume("several programs import the package")
		default:
			d.ImportedBy = Nobody
			d.assume("nobody imports the code")
		}
	}
	d.knownServices = d.Services != 0
	if d.Services == Many {
		d.Services, d.uncounted = 2, true
	}
	if !d.knownServices {
		d.Services = 1
		if d.Building == Worker && d.Processes == OneProcess {
			d.Services = 2
		}
		if d.ImportedBy != Several && d.ImportedBy != Anyone {
			d.assume(count(d.Services, "service or module uses", "services or modules use") + " the database")
		}
	}
	if d.Processes == "" {
		d.Processes = OneProcess
		switch {
		case d.Building == Worker:
			d.Processes = EachItsOwn
			d.assume("the worker is a process of its own")
		case d.Services > 1:
			d.assume("they run in one process")
		}
	}
	if d.Tenants != nil {
		d.tenants = *d.Tenants
	}
	if d.Database == "" {
		d.Database = OwnDatabase
		if d.Processes == EachItsOwn {
			d.Database = SharedDatabase
			d.assume("the processes share the database")
		}
	}
}

func (d *decision) dualMode() bool {
	switch d.ImportedBy {
	case Anyone:
		d.why("The code is published: you do not know who imports it, nor whether they have a pool.")
	case Several:
		d.why("Several programs import the code, and each has a database configuration of its own. Not being published does not change that.")
	default:
		return false
	}
	d.why("One program gives it a URL, another one the pool that it has already; the code is the same.")
	if d.tenants || d.Services > 1 {
		d.why("Its host may give it a handle for each tenant or a schema for each module; the package itself does not see that.")
	}
	return true
}

func (d *decision) sharedPool() bool {
	if d.ImportedBy == One {
		d.why("Only one application imports the code, so it is a part of that application.")
	}
	inOneProcess := d.Processes == OneProcess && d.Services > 1
	switch {
	case d.Building == Worker && d.Processes == OneProcess:
		d.why("The worker's goroutines live in the program's process, so they use the program's pool, through a handle of their own.")
	case inOneProcess:
		number := strconv.Itoa(d.Services)
		if d.uncounted {
			number = "Several"
		}
		d.why("%s services or modules use the database in one process: one pool serves them all, one schema each keeps them apart.", number)
	}
	if d.tenants {
		d.why("Each tenant gets a schema, and a handle of the one pool; handles cost nothing, pools cost connections.")
		if d.Processes == EachItsOwn {
			d.why("Pools cannot be shared between processes: this process opens one, and all tenants share it.")
		}
	}
	crowded := d.saw(ManyOpens) || d.saw(PoolWarning)
	if crowded {
		d.why("This process opens more than one pool to the same database; it needs one.")
	}
	// Without a number of services, a full server tells of too many pools.
	full := d.saw(MaxConnections) && !d.knownServices && d.Processes == OneProcess
	if full && !crowded {
		d.why("The server runs out of connections: one pool for the whole process is what uses fewest.")
	}
	return inOneProcess || d.tenants || crowded || full || d.Building == Worker && d.Processes == OneProcess
}

func (d *decision) standalone() {
	switch {
	case d.Building == Worker:
		d.why("The worker is a process of its own, and pools cannot be shared between processes: it opens its own.")
	case d.Processes == EachItsOwn:
		d.why("Each service is a process of its own, and pools cannot be shared between processes: each opens its own.")
	default:
		d.why("One service uses the database, so the call that migrates it can open its pool as well.")
	}
	if d.Database == SharedDatabase {
		d.why("Others use the same database: the module's name gives it a schema of its own, which keeps the tables apart.")
	}
}

// against says what speaks against the patterns that were not chosen.
func (d *decision) against() {
	p := d.answer.Pattern
	d.answer.Not = make(map[Pattern]string)
	switch p {
	case DualMode:
		d.answer.Not[Standalone] = "It would open a pool beside its host's: never two pools to one database in one process."
		d.answer.Not[SharedPool] = "It would demand a pool from programs that have none."
	case SharedPool:
		d.answer.Not[Standalone] = "Each part would open a pool of its own: never standalone twice in one process on one database."
	case Standalone:
		if d.Processes == EachItsOwn {
			d.answer.Not[SharedPool] = "There is nobody in the process to share a pool with."
		} else {
			d.answer.Not[SharedPool] = "There is nothing to share yet. It is a small step when a second module comes: Open, then AttachAll."
		}
	}
	if p != DualMode {
		d.answer.Not[DualMode] = "Never for code that nobody imports: you would write for hosts that do not exist."
		if d.ImportedBy == One {
			d.answer.Not[DualMode] = "One application is not worth it; when a second one imports the code, it becomes dual-mode."
		}
	}
}

func (d *decision) flags() {
	d.answer.RedFlags = []Flag{}
	for _, s := range Signs {
		if d.saw(s) {
			d.answer.RedFlags = append(d.answer.RedFlags, Flag{Sign: signs[s], Do: d.remedy(s)})
		}
	}
}

var signs = map[Sign]string{
	ManyOpens:      "several pools to one database are opened in one process",
	PoolWarning:    `the log has the warning "Creating another connection pool"`,
	MaxConnections: "the server has reached max_connections",
	ReadmeImport:   "a README says to import the code",
}

func (d *decision) remedy(s Sign) string {
	switch s {
	case ManyOpens:
		return "Open one pool in main and attach every module to it."
	case PoolWarning:
		return "The warning names where the first pool was opened: pass that pool to the second place. OnDuplicate: pgdbm.DuplicateFail makes it an error."
	case MaxConnections:
		if d.Processes == EachItsOwn {
			return "Add up MaxConns of all processes and replicas; it must stay below max_connections. Lower it, or put a pooler before the server."
		}
		return "Count the pools of the process: there should be one for each database. Then set its MaxConns."
	default:
		if d.answer.Pattern == DualMode {
			return "Take a pgdbm.Source and leave the pool to whoever imports you."
		}
		return "At most one program imports it, as far as is known. Change the README, or choose again with --imported-by several."
	}
}

func (d *decision) finish() {
	a := &d.answer
	a.Next = next[a.Pattern]
	if a.Pattern == SharedPool {
		if d.tenants {
			a.Next.Command += " --tenants"
			a.Next.Page = "docs/tenants.md"
		}
		if d.Building == Worker {
			a.Next.Command += " --module api --module worker"
		}
	}
	a.Comparison = comparison
	a.SelfCheck = []Check{
		{"Who creates the pool?", map[Pattern]string{
			Standalone: "the service itself, in Attach",
			SharedPool: "main, once",
			DualMode:   "either: the caller passes a pool, or Attach opens one",
		}[a.Pattern]},
		{"How many services use the database, in how many processes?", d.spread()},
		{"Who imports the code?", map[Importers]string{
			Nobody: "nobody", One: "one application", Several: "several applications", Anyone: "anyone",
		}[d.ImportedBy]},
	}
	if a.Assumed == nil {
		a.Assumed = []string{}
	}
}

func (d *decision) spread() string {
	if d.answer.Pattern == DualMode {
		return "the importing programs know"
	}
	services := count(d.Services, "service", "services")
	if d.uncounted {
		services = "several services"
	}
	switch {
	case d.Processes == EachItsOwn && d.Services == 1:
		return services + ", in a process of its own"
	case d.Processes == EachItsOwn:
		return services + ", in a process each"
	default:
		return services + ", in one process"
	}
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
