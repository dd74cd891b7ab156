package choose

// Pattern is one of the three ways to use pgdbm.
type Pattern string

const (
	Standalone Pattern = "standalone"
	SharedPool Pattern = "shared-pool"
	DualMode   Pattern = "dual-mode"
)

// Patterns are all of them, from the simplest.
var Patterns = []Pattern{Standalone, SharedPool, DualMode}

// Answer is a pattern with its reasons. Its JSON form is the command's.
type Answer struct {
	Pattern  Pattern            `json:"pattern"`
	Why      []string           `json:"why"`
	Not      map[Pattern]string `json:"not"` // what speaks against the others
	RedFlags []Flag             `json:"red_flags"`
	Next     Next               `json:"next"`
	// Assumed is what nobody said and what was taken instead.
	Assumed    []string               `json:"assumed"`
	SelfCheck  []Check                `json:"self_check"`
	Comparison map[Pattern]Comparison `json:"comparison"`
	// Project is what was found in a project, nil without one.
	Project *Project `json:"project,omitempty"`
}

// Flag is a sign of a wrong pattern, with what to do and where it was seen.
type Flag struct {
	Sign   string   `json:"sign"`
	Do     string   `json:"do"`
	Places []string `json:"places,omitempty"` // file:line
}

// Next is where to go from here.
type Next struct {
	Command string `json:"command"` // that scaffolds it
	Page    string `json:"page"`    // of the documentation
	Skill   string `json:"skill"`   // for coding agents
}

// Check is a question of the self-check with this answer's reply.
type Check struct {
	Question string `json:"question"`
	Reply    string `json:"reply"`
}

// Comparison is a pattern's column in the comparison of all three.
type Comparison struct {
	Complexity  string `json:"complexity"`
	Flexibility string `json:"flexibility"`
	Connections string `json:"connection_efficiency"`
	Pool        string `json:"pool_creation"`
	Migrations  string `json:"migrations"`
	BestFor     string `json:"best_for"`
}

var comparison = map[Pattern]Comparison{
	Standalone: {
		Complexity: "low", Flexibility: "low", Connections: "a pool a process",
		Pool: "Attach opens it", Migrations: "its own", BestFor: "services, workers",
	},
	SharedPool: {
		Complexity: "medium", Flexibility: "medium", Connections: "best: one pool",
		Pool: "main opens one", Migrations: "each module's own", BestFor: "modules, tenants",
	},
	DualMode: {
		Complexity: "medium", Flexibility: "high", Connections: "the host's choice",
		Pool: "caller or Attach", Migrations: "always its own", BestFor: "packages",
	},
}

var next = map[Pattern]Next{
	Standalone: {Command: "pgdbm new service NAME", Page: "docs/standalone.md", Skill: "standalone-service"},
	SharedPool: {Command: "pgdbm new app NAME", Page: "docs/shared-pool.md", Skill: "shared-pool-pattern"},
	DualMode:   {Command: "pgdbm new library NAME", Page: "docs/dual-mode.md", Skill: "dual-mode-library"},
}
