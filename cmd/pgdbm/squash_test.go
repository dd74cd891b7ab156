package main

import "testing"

func TestADumpBecomesATemplate(t *testing.T) {
	t.Parallel()
	const schema = "pgdbm_squash_x"
	for dump, want := range map[string]string{
		"CREATE SCHEMA pgdbm_squash_x;":                                                                   "\n",
		"CREATE TABLE pgdbm_squash_x.items (a text DEFAULT 'pgdbm_squash_x'::text);":                      "CREATE TABLE {{schema}}.items (a text DEFAULT {{schema:literal}}::text);\n",
		`ALTER TABLE ONLY "pgdbm_squash_x"."Mixed" ADD CHECK (a <> 'it''s');`:                             `ALTER TABLE ONLY {{schema}}."Mixed" ADD CHECK (a <> 'it''s');` + "\n",
		"SELECT nextval('pgdbm_squash_x.items_id_seq'::regclass);":                                        "SELECT nextval('{{schema}}.items_id_seq'::regclass);\n",
		`CREATE FUNCTION pgdbm_squash_x.f() RETURNS int AS $$ SELECT "pgdbm_squash_x".g() $$;`:            `CREATE FUNCTION {{schema}}.f() RETURNS int AS $$ SELECT {{schema}}.g() $$;` + "\n",
		"COMMENT ON SCHEMA pgdbm_squash_x IS 'x';":                                                        "COMMENT ON SCHEMA {{schema}} IS 'x';\n",
		`SELECT '"pgdbm_squash_x"'::text;`:                                                                "SELECT '{{schema}}'::text;\n",
		"ALTER DEFAULT PRIVILEGES FOR ROLE me IN SCHEMA pgdbm_squash_x GRANT SELECT ON TABLES TO PUBLIC;": "ALTER DEFAULT PRIVILEGES IN SCHEMA {{schema}} GRANT SELECT ON TABLES TO PUBLIC;\n",
		"SELECT 1; SELECT '{{1,2}}'::int[];":                                                              "SELECT 1;\n\nSELECT '{{1,2}}'::int[];\n",
	} {
		got, err := templated(dump, schema)
		if err != nil || got != want {
			t.Errorf("%s\ngot  %q, %v\nwant %q", dump, got, err, want)
		}
	}
	for _, bad := range []string{"SELECT 'xpgdbm_squash_x'", `CREATE TABLE pgdbm_squash_xy.t ()`, "SELECT 1 -- pgdbm_squash_x"} {
		if got, err := templated(bad, schema); err == nil {
			t.Errorf("%s: became %s", bad, got)
		}
	}
}
