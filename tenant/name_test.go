package tenant_test

import (
	"strings"
	"testing"

	"github.com/pgdbm/pgdbm/sqltemplate"
	"github.com/pgdbm/pgdbm/tenant"
)

func TestAnIdBecomesTheNameOfASchema(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]string{
		"acme":                  "tenant_acme",
		"42":                    "tenant_42",
		"a_b":                   "tenant_a_b",
		"Acme & Co":             "tenant_acme_co_vjqkt7d5hu",
		"acme-co":               "tenant_acme_co_",
		"ACME":                  "tenant_acme_",
		"Ärger":                 "tenant_rger_",
		"日本":                    "tenant_",
		"'; --":                 "tenant_",
		strings.Repeat("x", 56): "tenant_" + strings.Repeat("x", 56),
		strings.Repeat("x", 57): "tenant_" + strings.Repeat("x", 45) + "_",
		"acme_co_vjqkt7d5hu":    "tenant_acme_co_vjqkt7d5hu_", // what another id has become
	} {
		got := tenant.SchemaName("tenant_", id)
		if err := sqltemplate.ValidateSchema(got); err != nil || !strings.HasPrefix(got, want) {
			t.Errorf("%q: %q, want %q..., %v", id, got, want, err)
		}
		if plain := !strings.HasSuffix(want, "_"); plain && got != want && id != "Acme & Co" {
			t.Errorf("%q: %q, want %q", id, got, want)
		}
	}
}

func FuzzSchemaName(f *testing.F) {
	for _, id := range []string{"acme", "Acme & Co", "", "日本", "a\x00b", strings.Repeat("é", 100)} {
		f.Add(id, "x"+id)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		x, y := tenant.SchemaName("tenant_", a), tenant.SchemaName("tenant_", b)
		if err := sqltemplate.ValidateSchema(x); err != nil {
			t.Error(err)
		}
		if x == y && a != b {
			t.Errorf("%q and %q are both %q", a, b, x)
		}
	})
}
