package statement

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// batchResults are the results of a batch; they behave as pgx's do.
type batchResults struct {
	ctx      context.Context
	cache    *Cache
	conn     *pgx.Conn
	tracer   pgx.BatchTracer
	items    []item
	at       int // of the next item
	pipeline *pgconn.Pipeline
	taken    []*copiedRows // the results from the next item on, where they are in memory
	last     *batchRows
	tx       pgx.Tx
	sentTx   bool // the result of BEGIN is still to be told
	err      error
	closed   bool
}

var errBatchClosed = errors.New("batch already closed")

// next returns the next item, or why there is none.
func (r *batchResults) next() (*item, error) {
	switch {
	case r.err != nil:
		return nil, r.err
	case r.closed:
		return nil, errBatchClosed
	case r.last != nil && r.last.Err() != nil:
		r.err = r.last.Err()
		return nil, r.err
	case r.at == len(r.items):
		return nil, errors.New("no more results in batch")
	}
	r.at++
	return &r.items[r.at-1], nil
}

// began reports whether the next result is that of the BEGIN sent beforehand.
func (r *batchResults) began() bool {
	if !r.sentTx || r.err != nil || r.closed {
		return false
	}
	r.sentTx = false
	return true
}

// read gets the next item's result.
func (r *batchResults) read(it *item) (pgx.Rows, error) {
	if r.taken != nil {
		rows := r.taken[0]
		r.taken = r.taken[1:]
		if rows.err != nil {
			return nil, r.fail(it, rows.err)
		}
		return rows, nil
	}
	reader, err := r.receive(it)
	if err != nil {
		return nil, r.fail(it, err)
	}
	if !it.description.reads(r.conn.TypeMap(), reader.FieldDescriptions()) {
		it.keepOwn(doubtful)
		r.take(reader)
		return r.read(it)
	}
	return pgx.RowsFromResultReader(r.conn.TypeMap(), reader), nil
}

// receive gets an item's result from the server.
func (r *batchResults) receive(it *item) (*pgconn.ResultReader, error) {
	if it.parsed {
		if _, err := r.pipeline.GetResults(); err != nil {
			return nil, err
		}
	}
	return next[*pgconn.ResultReader](r.pipeline)
}

// take reads what is left of the batch, from reader on, into memory: one of its
// columns has to be converted, and the connection is free for that only when the
// batch has ended.
func (r *batchResults) take(reader *pgconn.ResultReader) {
	for at := r.at; ; at++ {
		rows := readAll(r.conn, reader)
		r.taken = append(r.taken, rows)
		if rows.err != nil || at == len(r.items) {
			break
		}
		var err error
		if reader, err = r.receive(&r.items[at]); err != nil {
			r.taken = append(r.taken, &copiedRows{conn: r.conn, err: err})
			break
		}
	}
	err := r.pipeline.Close()
	r.pipeline = nil
	for _, rows := range r.taken {
		if rows.err == nil && err == nil {
			rows.convert(r.ctx)
		}
	}
	if last := r.taken[len(r.taken)-1]; last.err == nil {
		last.err = err
	}
}

// fail keeps an error, and forgets what it shows to be wrong. The server has
// undone the batch, or the transaction that it is in has failed.
func (r *batchResults) fail(it *item, err error) error {
	if verdict := judge(err, it.holds); verdict != fresh {
		it.distrust(verdict)
		if verdict == surely {
			err = asStale(err)
		}
	}
	r.err = err
	return err
}

func (r *batchResults) Exec() (pgconn.CommandTag, error) {
	if r.began() {
		return pgconn.NewCommandTag("BEGIN"), nil
	}
	it, err := r.next()
	if err != nil {
		return pgconn.CommandTag{}, err
	}
	start := time.Now()
	var tag pgconn.CommandTag
	rows, err := r.read(it)
	if err == nil {
		rows.Close()
		if tag, err = rows.CommandTag(), rows.Err(); err != nil {
			err = r.fail(it, err)
		}
	}
	r.traced(it, start, tag, err)
	return tag, err
}

func (r *batchResults) Query() (pgx.Rows, error) {
	if r.began() {
		return endedRows{conn: r.conn, tag: pgconn.NewCommandTag("BEGIN")}, nil
	}
	it, err := r.next()
	if err != nil {
		return endedRows{conn: r.conn, err: err}, err
	}
	start := time.Now()
	rows, err := r.read(it)
	if err != nil {
		r.traced(it, start, pgconn.CommandTag{}, err)
		return endedRows{conn: r.conn, err: err}, err
	}
	r.last = &batchRows{plainRows: plainRows{rows, r.conn}}
	if r.tracer != nil {
		r.last.ended = func(tag pgconn.CommandTag, err error) { r.traced(it, start, tag, err) }
	}
	return r.last, nil
}

func (r *batchResults) QueryRow() pgx.Row {
	rows, err := r.Query()
	return NewRow(rows, err)
}

func (r *batchResults) Close() error {
	if r.closed {
		return r.err
	}
	if r.err == nil && r.last != nil {
		r.last.Close()
		r.err = r.last.Err()
	}
	r.sentTx = false
	for r.err == nil && r.at < len(r.items) {
		if fn := r.items[r.at].query.Fn; fn != nil {
			if err := fn(r); err != nil && r.err == nil {
				r.err = err
			}
		} else {
			_, _ = r.Exec() // keeps its error
		}
	}
	r.closed = true
	if r.pipeline != nil {
		if err := r.pipeline.Close(); r.err == nil {
			r.err = err
		}
	}
	if r.tx != nil && r.conn.PgConn().TxStatus() == 'I' {
		_ = r.tx.Rollback(r.ctx) // so that it knows that it has ended
	}
	if r.tracer != nil {
		r.tracer.TraceBatchEnd(r.ctx, r.conn, pgx.TraceBatchEndData{Err: r.err})
	}
	return r.err
}

// Tx returns the transaction that the batch began.
func (r *batchResults) Tx() pgx.Tx { return r.tx }

func (r *batchResults) traced(it *item, start time.Time, tag pgconn.CommandTag, err error) {
	if r.tracer != nil {
		r.tracer.TraceBatchQuery(r.ctx, r.conn, pgx.TraceBatchQueryData{
			SQL: it.sql, Args: it.args, CommandTag: tag, Err: err, ReadStartTime: start})
	}
}

// batchRows tell the tracer when they end.
type batchRows struct {
	plainRows
	ended func(pgconn.CommandTag, error)
}

func (r *batchRows) Close() {
	r.Rows.Close()
	if ended := r.ended; ended != nil {
		r.ended = nil
		ended(r.CommandTag(), r.Err())
	}
}

func (r *batchRows) Next() bool {
	if r.Rows.Next() {
		return true
	}
	r.Close()
	return false
}
