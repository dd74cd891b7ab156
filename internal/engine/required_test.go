package engine_test

import (
	"fmt"
	"strings"
	"testing"
)

func TestARequiredModulesSchemaIsTheOnlyOneThatItIsRecordedIn(t *testing.T) {
	t.Parallel()
	d := newDatabase(t)
	p := d.program()
	const file = "create table {{tables.a}} ()"
	p.up(target(t, "one", "first", "1_a.sql", file))
	for i := range 7 {
		p.up(target(t, "many", fmt.Sprintf("s%d", i), "1_a.sql", file))
	}
	if got, err := p.Required(t.Context(), []string{"one"}, "X.Aliases"); err != nil || got["one"] != "first" || len(got) != 1 {
		t.Errorf("%v, %v", got, err)
	}
	for module, want := range map[string]string{
		"none": "required module none is recorded in no schema of this database; attach it first, or name its schema in X.Aliases",
		"many": "required module many is recorded in s0, s1, s2, s3, s4, 2 more; name the one that is meant in X.Aliases",
	} {
		if _, err := p.Required(t.Context(), []string{"one", module}, "X.Aliases"); err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
	// A fleet takes the schema at hand first.
	f := fleetOf(2, load(t, "app", "1_x.sql", "create table {{tables.x}} ()"))
	f.Requires = []string{"many"}
	f.Schemas = []string{"s1", "other"}
	f.MaxFailures = -1
	res, err := p.Fleet(t.Context(), f)
	if err != nil || res.Migrated != 1 || len(res.Failed) != 1 || res.Failed[0].Schema != "other" ||
		!strings.Contains(res.Failed[0].Error(), "required module many is recorded in s0, s1, s2, s3, s4, 2 more; name the one that is meant in FleetOptions.Aliases") {
		t.Errorf("%+v, %v", res, err)
	}
	f.Requires = []string{"none"}
	f.Schemas = []string{"new"}
	if _, err := p.Fleet(t.Context(), f); err == nil || !strings.Contains(err.Error(), "required module none is recorded in no schema") {
		t.Errorf("got %v", err)
	}
}
