package examples_test

import (
	"os"
	"strings"
)

// Tests never read PGHOST, PGOPTIONS and the like: they may be somebody's
// production.
func init() {
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, "PG") && !strings.HasPrefix(name, "PGDBM_") {
			os.Unsetenv(name)
		}
	}
}
