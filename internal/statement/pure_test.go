package statement

import "testing"

func TestOnlyTextsThatReadArePure(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]bool{
		`SELECT id FROM "s"."t" WHERE id = $1`: true,
		`  -- a comment
		select count(*), max(a) FROM "s"."t" WHERE (a, b) IN (SELECT 1, 2) AND x = ANY($1)`: true,
		`VALUES (1), ($1)`: true,
		`TABLE "s"."t"`:    true,
		`WITH x AS (SELECT 1) SELECT * FROM x WHERE EXISTS (SELECT FROM "s"."t")`: true,
		`SELECT 'update' FROM "s"."t" WHERE "delete" = $1`:                        true,
		`SELECT a FROM "s"."t" FOR UPDATE`:                                        false,
		`WITH x AS (DELETE FROM "s"."t" RETURNING a) SELECT * FROM x`:             false,
		`WITH x AS (INSERT INTO "s"."t" VALUES (1) RETURNING a) SELECT * FROM x`:  false,
		`SELECT a INTO "s"."u" FROM "s"."t"`:                                      false,
		`SELECT nextval('s')`:                                                     false,
		`SELECT "s"."f"($1)`:                                                      false,
		`SELECT s.f ($1)`:                                                         false,
		`SELECT "s".format($1)`:                                                   false, // of s, whatever it does
		`SELECT s . /* */ count($1)`:                                              false,
		`SELECT t.id FROM "s"."t" t WHERE t.id IN ($1)`:                           true,
		`SELECT "count"(*) FROM "s"."t"`:                                          false, // it is, but who would write that
		`SELECT pg_advisory_lock($1)`:                                             false,
		`INSERT INTO "s"."t" VALUES ($1)`:                                         false,
		`UPDATE "s"."t" SET a = $1`:                                               false,
		`MERGE INTO "s"."t" USING "s"."u" ON true WHEN MATCHED THEN DO NOTHING`:   false,
		`CALL "s"."p"($1)`:                                                        false,
		`EXPLAIN ANALYZE DELETE FROM "s"."t"`:                                     false,
		`SET x = 1`:                                                               false,
		``:                                                                        false,
		`SELECT 'open`:                                                            false,
	} {
		if got := pure(sql); got != want {
			t.Errorf("%s: %v", sql, got)
		}
	}
}
