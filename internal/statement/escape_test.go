package statement

import (
	"strings"
	"testing"
)

func TestWhatReachesBeyondASchemaIsFoundInItsText(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]string{
		`SELECT 1`:                   "",
		`SET LOCAL work_mem = '1MB'`: "",
		`RESET work_mem`:             "",
		`SELECT set_config('app.tenant', 'x', true)`: "",
		`SELECT 'role'`:                       "",
		`COMMENT ON TABLE x IS 'LISTEN'`:      "",
		`ROLLBACK TO SAVEPOINT a; SELECT 1`:   "",
		`ROLLBACK WORK TO a; SELECT 1`:        "",
		`COMMIT`:                              "",
		`COMMIT AND NO CHAIN`:                 "",
		`CREATE TABLE temp (id int)`:          "",
		`INSERT INTO temperatures VALUES (1)`: "",
		`SELECT "listen" FROM x`:              "",

		"-- x\nlisten a":                        "LISTEN",
		`Unlisten *`:                            "UNLISTEN",
		`SELECT 1; NOTIFY a`:                    "NOTIFY",
		`SELECT pg_catalog.pg_notify('a', 'b')`: "pg_notify",
		`set /* x */ role a`:                    "SET ROLE",
		`SET SESSION ROLE a`:                    "SET ROLE",
		`SET LOCAL SESSION AUTHORIZATION a`:     "SET ROLE",
		`RESET ROLE`:                            "RESET ROLE",
		`RESET SESSION AUTHORIZATION`:           "RESET ROLE",
		`SELECT set_config('ROLE', $1, false)`:  "set_config of role",
		`SELECT "set_config"('session_authorization', 'x', false)`: "set_config of session_authorization",
		`DISCARD TEMP`:                                   "DISCARD",
		`SELECT 1; END`:                                  "END",
		`BEGIN; SELECT 1`:                                "BEGIN",
		`ABORT; SELECT 1`:                                "ABORT",
		`ROLLBACK AND CHAIN; SELECT 1`:                   "ROLLBACK",
		`COMMIT WORK AND CHAIN`:                          "COMMIT AND CHAIN",
		`END AND CHAIN`:                                  "END AND CHAIN",
		`PREPARE TRANSACTION 'x'; SELECT 1`:              "PREPARE",
		`CREATE LOCAL TEMP TABLE x ()`:                   "CREATE TEMPORARY",
		`CREATE OR REPLACE TEMPORARY VIEW x AS SELECT 1`: "CREATE TEMPORARY",
		`CREATE TEMP SEQUENCE x`:                         "CREATE TEMPORARY",
		`SELECT 1 AS a INTO TEMPORARY TABLE x`:           "INTO TEMPORARY",
		`SELECT * FROM "pg_temp".x`:                      "pg_temp",
	} {
		got := readScript(sql).escape
		if (got == "") != (want == "") || !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q, want %q", sql, got, want)
		}
	}
}
