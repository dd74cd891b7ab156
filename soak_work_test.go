package pgdbm_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pgdbm/pgdbm"
)

// check looks at a row that was asked for in the schema of db.
func (s *soak) check(db session, id int64, got thing) {
	s.rows.Add(1)
	if want := newThing(db.Schema(), id, got.Rev); !got.equal(want) {
		s.wrong.Add(1)
		s.t.Errorf("wrong row, of %s:\n got %+v\nwant %+v", db.Schema(), got, want)
	}
}

func (s *soak) checkMap(db session, id int64, m map[string]any) error {
	got, err := thingOf(m)
	if err == nil {
		s.check(db, id, got)
	}
	return err
}

// job is one piece of work: on one row, in one schema.
type job struct {
	s       *soak
	rand    *rand.Rand
	id      int64
	rev     int64 // to write
	other   *pgdbm.DB
	mayDrop bool              // the schema
	lines   map[string]string // written to logs, and where
}

// soakWork is what is done, by name.
var soakWork = map[string]func(ctx context.Context, j *job, db *pgdbm.DB) error{
	"reads": func(ctx context.Context, j *job, db *pgdbm.DB) error { return j.reads(ctx, db) },
	"reads of SELECT *": func(ctx context.Context, j *job, db *pgdbm.DB) error {
		return j.readAny(ctx, db)
	},
	"All": func(ctx context.Context, j *job, db *pgdbm.DB) error {
		rows, err := pgdbm.All[thing](ctx, db, `SELECT `+thingColumns+` FROM {{tables.things}} WHERE id >= $1 ORDER BY id`, j.id)
		if err == nil && len(rows) != soakRows-int(j.id)+1 {
			j.s.t.Errorf("%d rows from %d on in %s", len(rows), j.id, db.Schema())
		}
		for i, got := range rows {
			j.s.check(db, j.id+int64(i), got)
		}
		return err
	},
	"Each, left early": func(ctx context.Context, j *job, db *pgdbm.DB) error {
		id := int64(0)
		for got, err := range pgdbm.Each[thing](ctx, db, `SELECT `+thingColumns+` FROM {{tables.things}} ORDER BY id`) {
			if err != nil {
				return err
			}
			if id++; id > j.id {
				break
			}
			j.s.check(db, id, got)
		}
		return nil
	},
	"reads by words": func(ctx context.Context, j *job, db *pgdbm.DB) error {
		rows, err := pgdbm.All[thing](ctx, db, `SELECT `+thingColumns+` FROM {{tables.things}} WHERE word = $1 AND mood = $2 AND amount >= $3 AND at >= $4`,
			thingWords[j.rev%4], thingMoods[j.rev%3], 0.5, thingEpoch)
		for _, got := range rows {
			j.s.check(db, got.ID, got)
			if got.Word != thingWords[j.rev%4] || got.Mood != thingMoods[j.rev%3] {
				j.s.t.Errorf("asked for %s and %s, got %+v", thingWords[j.rev%4], thingMoods[j.rev%3], got)
			}
		}
		return err
	},
	"named arguments": func(ctx context.Context, j *job, db *pgdbm.DB) error {
		got, err := pgdbm.One[thing](ctx, db, `SELECT `+thingColumns+` FROM {{tables.things}} WHERE id = @id AND owner = @owner`,
			pgx.NamedArgs{"id": j.id, "owner": db.Schema()})
		if err == nil {
			j.s.check(db, j.id, got)
		}
		return err
	},
	"a column that may not be there": func(ctx context.Context, j *job, db *pgdbm.DB) error {
		column := soakColumns[j.rand.IntN(len(soakColumns))]
		got, err := pgdbm.Value[*string](ctx, db, `SELECT `+column+`::text FROM {{tables.things}} WHERE id = $1`, j.id)
		if state(err) == "42703" { // undefined_column
			return nil
		}
		if want := soakValues[column]; err == nil && (got == nil || *got != want) {
			j.s.t.Errorf("%s of %s: %v, want %s", column, db.Schema(), got, want)
		}
		return err
	},
	"writes": func(ctx context.Context, j *job, db *pgdbm.DB) error { return j.writes(ctx, db) },
	"writes with named arguments": func(ctx context.Context, j *job, db *pgdbm.DB) error {
		v := newThing(db.Schema(), j.id, j.rev)
		tag, err := db.Exec(ctx, `UPDATE {{tables.things}} SET rev = @rev, n = @n, word = @word, mood = @mood, amount = @amount,
			data = @data, tags = @tags, at = @at WHERE id = @id`, pgx.NamedArgs{"rev": v.Rev, "n": v.N, "word": v.Word, "mood": v.Mood,
			"amount": v.Amount, "data": v.Data, "tags": v.Tags, "at": v.At, "id": v.ID})
		if err == nil && tag.RowsAffected() != 1 {
			err = fmt.Errorf("%v", tag)
		}
		return err
	},
	"UPDATE RETURNING *": func(ctx context.Context, j *job, db *pgdbm.DB) error {
		m, err := pgdbm.One[map[string]any](ctx, db, soakUpdate+` RETURNING *`, j.values(db)...)
		if err != nil {
			return err
		}
		return j.written(db, m)
	},
	"INSERT RETURNING": func(ctx context.Context, j *job, db *pgdbm.DB) error { return j.logs(ctx, db) },
	"CopyFrom":         func(ctx context.Context, j *job, db *pgdbm.DB) error { return j.copies(ctx, db) },
	"batch":            func(ctx context.Context, j *job, db *pgdbm.DB) error { return j.batch(ctx, db) },
	"batch with BeginTx": func(ctx context.Context, j *job, db *pgdbm.DB) error {
		var b pgx.Batch
		b.BeginTx(pgx.TxOptions{})
		b.Queue(soakUpdate, j.values(db)...)
		br := db.SendBatch(ctx, &b)
		err := br.Close()
		tx := br.Tx()
		if err == nil {
			err = j.readBack(ctx, tx.(*pgdbm.Tx))
		}
		if err != nil {
			_ = tx.Rollback(context.WithoutCancel(ctx)) // err says why
			return err
		}
		return tx.Commit(ctx)
	},
	"InTx": func(ctx context.Context, j *job, db *pgdbm.DB) error {
		return db.InTx(ctx, func(ctx context.Context, tx *pgdbm.Tx) error {
			return errors.Join(j.writes(ctx, tx), j.readBack(ctx, tx), j.logs(ctx, tx))
		})
	},
	"InTx and a savepoint": func(ctx context.Context, j *job, db *pgdbm.DB) error {
		undo := errors.New("undo")
		return db.InTx(ctx, func(ctx context.Context, tx *pgdbm.Tx) error {
			if err := j.writes(ctx, tx); err != nil {
				return err
			}
			err := tx.InTx(ctx, func(ctx context.Context, tx *pgdbm.Tx) error {
				later := *j
				later.rev++
				return errors.Join(later.writes(ctx, tx), later.readBack(ctx, tx), undo)
			})
			if _, ok := err.(interface{ Unwrap() []error }); !ok || !errors.Is(err, undo) || state(err) != "" {
				return err
			}
			return j.readBack(ctx, tx)
		})
	},
	"InTxOptions with retries": func(ctx context.Context, j *job, db *pgdbm.DB) error {
		// Not REPEATABLE READ: its snapshot may be older than a table that was
		// written anew, which is empty to it.
		return db.InTxOptions(ctx, pgdbm.TxOptions{Retries: 10}, func(ctx context.Context, tx *pgdbm.Tx) error {
			clear(j.lines) // of an earlier try
			for _, use := range []func(context.Context, session) error{j.reads, j.writes, j.logs, j.copies} {
				if err := use(ctx, tx); err != nil {
					return err
				}
			}
			return j.readBack(ctx, tx)
		})
	},
	"InTxOptions over two schemas": func(ctx context.Context, j *job, db *pgdbm.DB) error {
		return db.InTxOptions(ctx, pgdbm.TxOptions{Retries: 10}, func(ctx context.Context, tx *pgdbm.Tx) error {
			clear(j.lines)
			other, err := tx.In(j.other)
			if err != nil {
				return err
			}
			for _, tx := range []*pgdbm.Tx{tx, other} {
				if err := j.writes(ctx, tx); err != nil {
					return err
				}
				if err := j.logs(ctx, tx); err != nil {
					return err
				}
			}
			if err := j.readBack(ctx, other); err != nil {
				return err
			}
			return j.readAny(ctx, tx)
		})
	},
	"WithConn": func(ctx context.Context, j *job, db *pgdbm.DB) error {
		return db.WithConn(ctx, func(ctx context.Context, c *pgdbm.Conn) error {
			for _, use := range []func(context.Context, session) error{j.reads, j.writes, j.batch, j.logs, j.copies} {
				if err := use(ctx, c); err != nil {
					return err
				}
			}
			return c.InTx(ctx, func(ctx context.Context, tx *pgdbm.Tx) error {
				if err := j.writes(ctx, tx); err != nil {
					return err
				}
				return j.readBack(ctx, tx)
			})
		})
	},
	"looks for named statements": func(ctx context.Context, j *job, db *pgdbm.DB) error {
		n, err := pgdbm.Value[int](ctx, db, `SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'pgdbm%'`)
		if n > 0 {
			j.s.note("named statements")
		}
		return err
	},
	"the same in every schema": func(ctx context.Context, j *job, db *pgdbm.DB) error {
		got, err := pgdbm.Value[int64](ctx, db, `SELECT $1::bigint + 1`, j.rev)
		if err == nil && got != j.rev+1 {
			j.s.t.Errorf("%d and 1 is %d", j.rev, got)
		}
		return err
	},
}

// atomic says which of that is a transaction, which a changed table may fail.
var soakAtomic = map[string]bool{"batch": true, "batch with BeginTx": true, "InTx": true, "InTx and a savepoint": true, "WithConn": true}

func (j *job) reads(ctx context.Context, db session) error {
	got, err := pgdbm.One[thing](ctx, db, `SELECT `+thingColumns+` FROM {{tables.things}} WHERE id = $1`, j.id)
	if err == nil {
		j.s.check(db, j.id, got)
	}
	return err
}

func (j *job) readAny(ctx context.Context, db session) error {
	m, err := pgdbm.One[map[string]any](ctx, db, `SELECT * FROM {{tables.things}} WHERE id = $1`, j.id)
	if err != nil {
		return err
	}
	return j.s.checkMap(db, j.id, m)
}

// readBack reads what was written in the same transaction.
func (j *job) readBack(ctx context.Context, db session) error {
	m, err := pgdbm.One[map[string]any](ctx, db, `SELECT * FROM {{tables.things}} WHERE id = $1`, j.id)
	if err != nil {
		return err
	}
	return j.written(db, m)
}

func (j *job) written(db session, m map[string]any) error {
	if got := fmt.Sprint(m["rev"]); got != strconv.FormatInt(j.rev, 10) {
		j.s.t.Errorf("wrote revision %d in %s, got %s", j.rev, db.Schema(), got)
	}
	return j.s.checkMap(db, j.id, m)
}

const soakUpdate = `UPDATE {{tables.things}} SET rev = $2, n = $3, word = $4, mood = $5, amount = $6, data = $7, tags = $8, at = $9 WHERE id = $1`

func (j *job) values(db session) []any {
	v := newThing(db.Schema(), j.id, j.rev)
	return []any{v.ID, v.Rev, v.N, v.Word, v.Mood, v.Amount, v.Data, v.Tags, v.At}
}

func (j *job) writes(ctx context.Context, db session) error {
	tag, err := db.Exec(ctx, soakUpdate, j.values(db)...)
	if err == nil && tag.RowsAffected() != 1 {
		err = fmt.Errorf("%v", tag)
	}
	return err
}

func (j *job) batch(ctx context.Context, db session) error {
	var b pgx.Batch
	one := func(rows pgx.Rows) error {
		got, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[thing])
		if err == nil {
			j.s.check(db, j.id, got)
		}
		return err
	}
	const read = `SELECT ` + thingColumns + ` FROM {{tables.things}} WHERE id = $1`
	b.Queue(soakUpdate, j.values(db)...)
	b.Queue(`INSERT INTO {{tables.log}} (owner, note) VALUES ($1, $2)`, db.Schema(), j.line(db))
	b.Queue(read, j.id).Query(one)
	b.Queue(read, j.id).Query(one)
	b.Queue(`SELECT * FROM {{tables.things}} WHERE id = @id`, pgx.NamedArgs{"id": j.id}).Query(func(rows pgx.Rows) error {
		m, err := pgx.CollectExactlyOneRow(rows, pgx.RowToMap)
		if err != nil {
			return err
		}
		return j.written(db, m)
	})
	return db.SendBatch(ctx, &b).Close()
}

// logs writes a line and reads it.
func (j *job) logs(ctx context.Context, db session) error {
	line := j.line(db)
	id, err := pgdbm.Value[int64](ctx, db, `INSERT INTO {{tables.log}} (owner, note) VALUES ($1, $2) RETURNING id`, db.Schema(), line)
	if err != nil {
		return err
	}
	got, err := pgdbm.Value[string](ctx, db, `SELECT owner || ' ' || note FROM {{tables.log}} WHERE id = $1`, id)
	if errors.Is(err, pgx.ErrNoRows) && j.mayDrop { // in between
		return nil
	}
	if want := db.Schema() + " " + line; err == nil && got != want {
		j.s.t.Errorf("wrote %s, read %s", want, got)
	}
	return err
}

// line is a new line for the log of a schema.
func (j *job) line(db session) string {
	line := fmt.Sprintf("%s/%d", db.Schema(), j.s.lines.Add(1))
	j.lines[line] = db.Schema()
	return line
}

func (j *job) copies(ctx context.Context, db session) error {
	const lines = 5
	rows := pgx.CopyFromSlice(lines, func(int) ([]any, error) { return []any{db.Schema(), j.line(db)}, nil })
	n, err := db.CopyFrom(ctx, pgx.Identifier{"log"}, []string{"owner", "note"}, rows)
	if err == nil && n != lines {
		j.s.t.Errorf("%d lines copied", n)
	}
	return err
}

// soakDraw draws a schema. Most work is in a few of them, so that statements get
// names there.
func soakDraw(r *rand.Rand) int {
	if r.IntN(4) > 0 {
		return r.IntN(2)
	}
	return r.IntN(soakSchemas)
}

// work does one thing after the other.
func (s *soak) work(r *rand.Rand) {
	names := slices.Sorted(maps.Keys(soakWork))
	for !s.done() {
		name := names[r.IntN(len(names))]
		n := soakDraw(r)
		j := &job{s: s, rand: r, id: 1 + r.Int64N(soakRows), rev: r.Int64N(1_000_000), other: s.dbs[r.IntN(soakSchemas-soakDropped)],
			mayDrop: n >= soakSchemas-soakDropped, lines: make(map[string]string)}
		// Cancel requests now and then end PgBouncer 1.18 itself: "server in bad
		// state". What is cancelled through it is for other tests.
		cancelled := s.jobs.Add(1)%80 == 0 && s.way == "straight"
		limit := time.Minute
		if cancelled {
			limit = rand.N(4 * time.Millisecond)
		}
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		err := soakWork[name](ctx, j, s.dbs[n])
		over := ctx.Err() != nil
		cancel()
		s.note(name)
		if err != nil {
			s.failed(name, n, cancelled && over, err)
			continue
		}
		s.mu.Lock()
		maps.Copy(s.written, j.lines)
		s.mu.Unlock()
	}
}

// failed says whether an error is one that may be.
func (s *soak) failed(name string, n int, cancelled bool, err error) {
	code := state(err)
	switch {
	case cancelled:
		s.note("cancelled")
	case s.lost(err):
		s.noteLost(err)
	case n >= soakSchemas-soakDropped && slices.Contains([]string{"42P01", "3F000", "42704"}, code): // no table, schema or type
		s.note("error: schema dropped")
	case soakAtomic[name] && errors.Is(err, pgdbm.ErrStalePlan):
		s.note("error: stale in a transaction")
	case errors.Is(err, pgdbm.ErrStalePlan): // the connection was lost at that moment
		s.note("error: stale when killed")
	default:
		s.t.Errorf("%s in %s: %v", name, s.dbs[n].Schema(), err)
	}
}
