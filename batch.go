package pgdbm

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// expandBatch returns a batch to send in place of b, which stays as it is: pgx
// writes into the queries that it sends, and a caller may send b again through
// another handle.
func (h *handle) expandBatch(b *pgx.Batch) (*pgx.Batch, error) {
	copied := *b
	queries := make([]pgx.QueuedQuery, len(b.QueuedQueries))
	copied.QueuedQueries = make([]*pgx.QueuedQuery, len(b.QueuedQueries))
	for i, q := range b.QueuedQueries {
		text, err := h.expand(q.SQL)
		if err != nil {
			return nil, err
		}
		queries[i] = *q
		queries[i].SQL = text
		copied.QueuedQueries[i] = &queries[i]
	}
	return &copied, nil
}

// checkBatch reports what of a batch is no statement of the handle's.
func (h *handle) checkBatch(b *pgx.Batch) error {
	for _, q := range b.QueuedQueries {
		if _, err := h.shape(q.SQL); err != nil {
			return err
		}
	}
	return nil
}

// sendBatch sends b on a connection that the caller holds, by pgx's own means
// where those are asked for.
func (h *handle) sendBatch(ctx context.Context, conn *pgx.Conn, b *pgx.Batch) pgx.BatchResults {
	c := h.core.statements
	if !c.Batches(conn, h.ns.Namespace, b) {
		expanded, err := h.expandBatch(b)
		if err != nil {
			return pgx.FailedBatchResults(b, err)
		}
		if err := c.Check(ctx, conn); err != nil {
			return pgx.FailedBatchResults(b, err)
		}
		if err := c.TakeRole(ctx, conn, h.ns.Namespace); err != nil {
			return pgx.FailedBatchResults(b, err)
		}
		if err := c.CheckBatch(conn, h.ns.Namespace, b); err != nil {
			return pgx.FailedBatchResults(b, err)
		}
		return conn.SendBatch(ctx, expanded)
	}
	if !begins(b) {
		return c.SendBatch(ctx, conn, h.ns.Namespace, b, nil)
	}
	// pgx would give the statements names of its own, which a pooler does not carry
	// over and a changed table makes stale. A round trip more begins the transaction.
	tx, err := c.Begin(ctx, conn, h.ns.Namespace, batchTxOptions(b))
	if err != nil {
		return pgx.FailedBatchResults(b, err)
	}
	return c.SendBatch(ctx, conn, h.ns.Namespace, b, tx)
}

// begins reports whether a batch begins a transaction.
func begins(b *pgx.Batch) bool { return pgx.FailedBatchResults(b, nil).Tx() != nil }

// batchTxOptions are the options of a batch's transaction. pgx keeps them to
// itself, so the one that is not in the text of the first query is read by
// reflection; a test says when that no longer works.
func batchTxOptions(b *pgx.Batch) pgx.TxOptions {
	o := pgx.TxOptions{BeginQuery: b.QueuedQueries[0].SQL}
	if f := reflect.ValueOf(b).Elem().FieldByName("txOptions"); f.Kind() == reflect.Pointer && !f.IsNil() {
		if q := f.Elem().FieldByName("CommitQuery"); q.Kind() == reflect.String {
			o.CommitQuery = q.String()
		}
	}
	return o
}

// tracedBatch logs each text of b once, however often it was queued.
func (h *handle) tracedBatch(ctx context.Context, b *pgx.Batch) func(error) {
	if !h.core.log().Enabled(ctx, slog.LevelDebug) {
		return nil
	}
	var texts []string
	for _, q := range b.QueuedQueries {
		if !slices.Contains(texts, q.SQL) {
			texts = append(texts, q.SQL)
		}
	}
	return h.traced(ctx, fmt.Sprintf("batch of %d: %s", b.Len(), strings.Join(texts, "; ")))
}

// failedBatch reports err for a batch that was not sent.
func (h *handle) failedBatch(b *pgx.Batch, err error) pgx.BatchResults {
	br := &batchResults{BatchResults: pgx.FailedBatchResults(b, err)}
	if t := br.BatchResults.Tx(); t != nil {
		br.tx = newTx(h, t, nil, nil)
	}
	return br
}

// batchResults gives its connection back when it is closed, unless the batch
// began a transaction, which then holds the connection.
type batchResults struct {
	pgx.BatchResults
	lease  *lease
	tx     *Tx
	done   func(error)
	closed bool
	err    error // of Close
}

func (br *batchResults) Close() (err error) {
	if br.closed {
		return br.err // pgx would touch the connection, which another may have now
	}
	br.closed = true
	defer func() { // a callback of the caller's may panic
		br.err = err
		if l := br.lease; l != nil {
			br.lease = nil
			l.release()
		}
		if done := br.done; done != nil {
			br.done = nil
			done(err)
		}
	}()
	return br.BatchResults.Close()
}

func (br *batchResults) Tx() pgx.Tx {
	if br.tx == nil {
		return br.BatchResults.Tx()
	}
	return br.tx
}
