//go:build !unix

package testdb

import "testing"

// PgBouncer skips the test: there is none on this system.
func PgBouncer(tb testing.TB, direct string) func(direct string) string {
	tb.Helper()
	tb.Skip("no PgBouncer on this system")
	return nil
}
