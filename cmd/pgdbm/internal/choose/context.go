package choose

import (
	"fmt"
	"slices"
	"strings"
)

// Building is what the decision is made for.
type Building string

// The zero value of each of these types means that nobody said.
const (
	Program Building = "program" // a service or an application
	Worker  Building = "worker"  // background work that belongs to a program
	Package Building = "package" // code that programs import
)

// Importers are the programs that import the code.
type Importers string

const (
	Nobody  Importers = "nobody"
	One     Importers = "one"     // one application
	Several Importers = "several" // several applications, published or not
	Anyone  Importers = "anyone"  // published: nobody knows who
)

// Process is how the parts are spread over operating system processes.
type Process string

const (
	OneProcess Process = "one"  // all in one; a worker as goroutines of the program
	EachItsOwn Process = "each" // a process or container for each service, or for the worker
)

// Database is who else uses the database.
type Database string

const (
	OwnDatabase    Database = "own"
	SharedDatabase Database = "shared" // with other processes
)

// Sign is something that was seen and that tells of a wrong pattern.
type Sign string

const (
	ManyOpens      Sign = "opens"           // several pools to one database in one process
	PoolWarning    Sign = "warning"         // "Creating another connection pool" in the log
	MaxConnections Sign = "max-connections" // the server has no connection free
	ReadmeImport   Sign = "readme"          // a README that says: import me
)

// Context is where the code will run. The zero value of a field means that
// nobody said, and the decision says what it took instead.
type Context struct {
	Building   Building
	ImportedBy Importers
	// Services counts the services and modules that use one database, this one
	// included; Many if nobody counted.
	Services  int
	Processes Process
	// Tenants says that tenants' data is kept apart, in a schema each; nil:
	// nobody said.
	Tenants  *bool
	Database Database
	Seen     []Sign
}

// Many is more than one service.
const Many = -1

func (c Context) saw(s Sign) bool { return slices.Contains(c.Seen, s) }

// Words of the command line, in the order in which they are listed.
var (
	Buildings    = []Building{Program, Worker, Package}
	ImportersAll = []Importers{Nobody, One, Several, Anyone}
	ProcessesAll = []Process{OneProcess, EachItsOwn}
	Databases    = []Database{OwnDatabase, SharedDatabase}
	Signs        = []Sign{ManyOpens, PoolWarning, MaxConnections, ReadmeImport}
)

// Parse returns the word of known that text is, or an error that lists them.
func Parse[T ~string](known []T, text string) (T, error) {
	if slices.Contains(known, T(text)) {
		return T(text), nil
	}
	return "", fmt.Errorf("%q is none of %s", text, Join(known, ", "))
}

// Join joins words.
func Join[T ~string](words []T, sep string) string {
	s := make([]string, len(words))
	for i, w := range words {
		s[i] = string(w)
	}
	return strings.Join(s, sep)
}
