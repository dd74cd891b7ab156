package sqllint

import "slices"

// Severity says how bad a finding is.
type Severity int

// From what is a matter of taste to what takes production down.
const (
	Notice Severity = iota
	Warning
	Error
)

// String returns "notice", "warning" or "error".
func (s Severity) String() string { return [...]string{"notice", "warning", "error"}[s] }

// ParseSeverity is the reverse of String.
func ParseSeverity(text string) (s Severity, ok bool) {
	for s = Notice; s <= Error; s++ {
		if s.String() == text {
			return s, true
		}
	}
	return 0, false
}

// Rule is one thing that is looked for.
type Rule struct {
	Name     string
	Severity Severity
	Says     string // in a few words, what a finding means
	Lock     string // the table lock that the statement takes, as PostgreSQL's manual names it; empty: none that matters
	Rewrites bool   // the table is written anew while the lock is held
	Why      string // what happens
	Safe     string // what to do instead
	Example  string // a statement that it finds, on a table t (id int, x int, s varchar(9)) with an index i, a trigger tt and a policy pt
}

// Rules returns all rules, sorted by name. The caller may change the slice.
func Rules() []Rule { return slices.Clone(rules) }

func ruleNamed(name string) (Rule, bool) {
	i := slices.IndexFunc(rules, func(r Rule) bool { return r.Name == name })
	if i < 0 {
		return Rule{}, false
	}
	return rules[i], true
}

const (
	accessExclusive = "ACCESS EXCLUSIVE"
	shareRow        = "SHARE ROW EXCLUSIVE"
	share           = "SHARE"
)
