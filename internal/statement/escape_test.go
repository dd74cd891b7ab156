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

		`SET LOCAL roles.x = 'a'`: "",
		`SELECT set_config('request.claims', '{"role": "x"}', true), set_config('a.b', 'role', true)`: "",
		`EXPLAIN (ANALYZE, COSTS off) (SELECT 1)`:                                                     "",
		`EXPLAIN ANALYZE CREATE TABLE x AS SELECT 1`:                                                  "",

		`SET LOCAL "role" = 'x'`:                                       "SET of role",
		`SET LOCAL "ROLE" TO x`:                                        "SET of role",
		`SET session_authorization = x`:                                "SET of session_authorization",
		`SET LOCAL U&"r\006fle" = x`:                                   "SET of a name in escapes",
		`SELECT 1 AS a INTO LOCAL TEMP x`:                              "INTO TEMPORARY",
		`EXPLAIN ANALYZE CREATE TEMP TABLE x AS SELECT 1`:              "CREATE TEMPORARY",
		`EXPLAIN (ANALYZE, COSTS off) CREATE TEMP TABLE x AS SELECT 1`: "CREATE TEMPORARY",
		`EXPLAIN (ANALYZE) (SELECT set_config('role', 'x', true))`:     "set_config of role",
		"-- x\nlisten a":                                               "LISTEN",
		`Unlisten *`:                                                   "UNLISTEN",
		`SELECT 1; NOTIFY a`:                                           "NOTIFY",
		`SELECT pg_catalog.pg_notify('a', 'b')`:                        "pg_notify",
		`set /* x */ role a`:                                           "SET of role",
		`SET SESSION ROLE a`:                                           "SET of role",
		`SET LOCAL SESSION AUTHORIZATION a`:                            "SET SESSION AUTHORIZATION",
		`RESET ROLE`:                                                   "RESET",
		`RESET SESSION AUTHORIZATION`:                                  "RESET",
		`SELECT set_config('ROLE', $1, false)`:                         "set_config of role",
		`SELECT "set_config"('session_authorization', 'x', false)`:     "set_config of session_authorization",
		`DISCARD TEMP`:                                                 "DISCARD",
		`SELECT 1; END`:                                                "END",
		`BEGIN; SELECT 1`:                                              "BEGIN",
		`ABORT; SELECT 1`:                                              "ABORT",
		`ROLLBACK AND CHAIN; SELECT 1`:                                 "ROLLBACK",
		`COMMIT WORK AND CHAIN`:                                        "COMMIT AND CHAIN",
		`END AND CHAIN`:                                                "END AND CHAIN",
		`PREPARE TRANSACTION 'x'; SELECT 1`:                            "PREPARE",
		`CREATE LOCAL TEMP TABLE x ()`:                                 "CREATE TEMPORARY",
		`CREATE OR REPLACE TEMPORARY VIEW x AS SELECT 1`:               "CREATE TEMPORARY",
		`CREATE TEMP SEQUENCE x`:                                       "CREATE TEMPORARY",
		`SELECT 1 AS a INTO TEMPORARY TABLE x`:                         "INTO TEMPORARY",
		`SELECT * FROM "pg_temp".x`:                                    "pg_temp",
	} {
		got := readScript(sql).escape
		if (got == "") != (want == "") || !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q, want %q", sql, got, want)
		}
	}
}

func TestWhatStaysWithASessionIsFoundInATextsWords(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]string{
		`SET LOCAL work_mem = '1MB'`:                           "",
		`SET TRANSACTION READ ONLY`:                            "",
		`SET CONSTRAINTS ALL DEFERRED`:                         "",
		`UPDATE x SET a = 1`:                                   "",
		`PREPARE TRANSACTION 'x'`:                              "",
		`SELECT set_config('a.b', 'x', is_local => true)`:      "",
		`SELECT set_config('a.b', (1 = 2)::text, true)`:        "",
		`SELECT set_config('a.b', f(1, false), true), (false)`: "",
		`SELECT pg_try_advisory_xact_lock_shared(1)`:           "",
		`DECLARE a CURSOR WITHOUT HOLD FOR SELECT 1`:           "",
		`DECLARE a CURSOR FOR WITH hold AS (SELECT 1) SELECT`:  "",
		`SELECT 'SET a = 1; PREPARE x'`:                        "",
		`CREATE FUNCTION f() RETURNS int SET a = 1`:            "",

		`SELECT 1; set a = 1`: "SET without LOCAL",
		`SET TIME ZONE 'UTC'`: "SET without LOCAL",
		`SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY`: "SET without LOCAL",
		`RESET work_mem`:                                                "RESET",
		`PREPARE a (int) AS SELECT $1`:                                  "PREPARE",
		`DEALLOCATE PREPARE a`:                                          "DEALLOCATE",
		`LOAD 'x'`:                                                      "LOAD",
		`SELECT f(set_config('a.b', g(1), false))`:                      "set_config, whose third argument is not true,",
		`DECLARE a NO SCROLL CURSOR WITH HOLD FOR SELECT 1`:             "a cursor WITH HOLD",
		`SELECT pg_advisory_lock_shared(1)`:                             "pg_advisory_lock_shared",
		`SELECT set_config('a.b', 'x', not true)`:                       "set_config, whose third argument is not true,",
		`SELECT set_config('a.b', set_config('a.c', 'x', true), false)`: "set_config, whose third argument is not true,",
		`SELECT set_config('a.b', 'x', 'f')`:                            "set_config, whose third argument is not true,",
		`UPDATE pg_catalog.pg_settings SET setting = 'x'`:               "UPDATE of pg_settings",
		`SELECT "pg_try_advisory_lock"(1)`:                              "pg_try_advisory_lock",
	} {
		if got := readScript(sql).leaves; got != want {
			t.Errorf("%s: %q, want %q", sql, got, want)
		}
	}
}
