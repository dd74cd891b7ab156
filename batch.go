package pgdbm

import (
	"context"
	"fmt"
	"log/slog"
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
