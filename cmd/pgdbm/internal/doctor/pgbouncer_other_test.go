//go:build !unix

package doctor_test

import "testing"

func throughPgBouncer(t *testing.T, _, _ string) string {
	t.Helper()
	t.Skip("PgBouncer is started on Unix only")
	return ""
}
